//! The `sealwire` command: parse, hand over, tell how it ended.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    sealwire_proto::install_crypto_provider();
    sealwire_agent::cli::Cli::parse().execute()
}
