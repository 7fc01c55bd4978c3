//! `sealwire-bench-sessions ADDRESS ROOTS COUNT`: the sessions of `make bench-swap`, in a process of their own.

// The other process reads what is printed.
#![allow(clippy::print_stdout)]

use std::path::Path;

use anyhow::{Context, Result, bail};
use sealwire_bench::sessions;

#[tokio::main]
async fn main() -> Result<()> {
    sealwire_proto::install_crypto_provider();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, roots, count] = &arguments[..] else {
        bail!("usage: sealwire-bench-sessions ADDRESS ROOTS COUNT");
    };
    let address = address.parse().context("ADDRESS")?;
    let count = count.parse().context("COUNT")?;
    sessions::hold(address, Path::new(roots), count, |line| println!("{line}")).await
}
