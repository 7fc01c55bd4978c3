//! The bare accept loop that `make bench-handshake` measures our node beside: `sealwire-bench-bare ADDRESS CHAIN KEY`.

use std::path::PathBuf;

use anyhow::{Result, bail};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, chain, key] = &arguments[..] else { bail!("arguments: ADDRESS CHAIN KEY") };
    sealwire_bench::handshake::serve_bare(address, &PathBuf::from(chain), &PathBuf::from(key)).await
}
