//! The bare loops that our node is measured beside: `sealwire-bench-bare ADDRESS CHAIN KEY` accepts (`make bench-handshake`),
//! `sealwire-bench-bare fanout ADDRESS CHAIN KEY` publishes (`make bench-fanout`).

use std::path::PathBuf;

use anyhow::{Result, bail};

const USAGE: &str = "arguments: [fanout] ADDRESS CHAIN KEY";
/// Ten thousand subscribers, and what is open besides.
const DESCRIPTORS: u64 = 10_500;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (chain, key) = match &arguments[..] {
        [.., chain, key] => (PathBuf::from(chain), PathBuf::from(key)),
        _ => bail!(USAGE),
    };
    match &arguments[..] {
        [address, _, _] => sealwire_bench::handshake::serve_bare(address, &chain, &key).await,
        [what, address, _, _] if what == "fanout" => {
            sealwire_bench::descriptors::allow(DESCRIPTORS)?;
            sealwire_bench::fanout::serve_bare(address, &chain, &key).await
        }
        _ => bail!(USAGE),
    }
}
