//! `sealwire config`

use clap::Subcommand;

use super::{Global, Outcome};
use crate::config::EXAMPLE;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Tell whether the configuration is sound.
    Check,
    /// Print a commented configuration to start from.
    Example,
}

impl ConfigCommand {
    pub(super) fn run(self, global: &Global) -> Outcome {
        match self {
            Self::Example => print!("{EXAMPLE}"),
            Self::Check => {
                let config = global.load()?;
                println!(
                    "{}: sound; {} certificate(s), {} issuer(s)",
                    global.config.display(),
                    config.certificates.len(),
                    config.internal.len() + config.acme.len()
                );
            }
        }
        Ok(())
    }
}
