//! The `wss-node` command: parse, hand over, tell how it ended.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    sealwire_proto::install_crypto_provider();
    wss_node::cli::Cli::parse().execute()
}
