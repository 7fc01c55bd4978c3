//! `sealwire ready`

use clap::Args;
use jiff::Timestamp;

use super::{Failure, Global, Outcome};
use crate::config::Config;
use crate::store::Glance;

#[derive(Debug, Args)]
pub(super) struct Ready {
    /// Certificates; none: all that are configured.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

impl Ready {
    pub(super) fn run(self, global: &Global) -> Outcome {
        let config = global.load()?;
        let names = wanted(&config, self.names)?;
        let now = Timestamp::now();
        let mut missing = false;
        for name in names {
            let glance = Glance::at(&config.state_dir, &name);
            match glance.map_err(|error| error.to_string()).and_then(|glance| glance.usable(now)) {
                Ok(generation) => {
                    println!(
                        "{name}: generation {}, valid until {}",
                        generation.number,
                        generation.not_after()
                    );
                }
                Err(obstacle) => {
                    missing = true;
                    eprintln!("sealwire: {name}: {obstacle}");
                }
            }
        }
        if missing { Err(Failure::Silent) } else { Ok(()) }
    }
}

/// The certificates that were named, or all.
fn wanted(config: &Config, names: Vec<String>) -> Result<Vec<String>, Failure> {
    let configured = || config.certificates.iter().map(|certificate| &certificate.name);
    if let Some(unknown) = names.iter().find(|name| !configured().any(|known| known == *name)) {
        let known: Vec<_> = configured().map(String::as_str).collect();
        let known = known.join(", ");
        return Err(Failure::Usage(format!("no certificate is named \"{unknown}\"; configured: {known}")));
    }
    Ok(if names.is_empty() { configured().cloned().collect() } else { names })
}
