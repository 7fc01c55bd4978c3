//! A look at what is stored that neither takes the lock nor makes or mends anything.

use std::path::Path;

use jiff::Timestamp;

use super::{CertificateStore, Generation, Journal, Loaded, Place, StoreError, durable};

/// What there is of one certificate.
#[derive(Debug, Default)]
pub(crate) struct Glance {
    /// The generation that the agent would serve, and damage.
    pub(crate) loaded: Loaded,
    /// An order is under way.
    pub(crate) ordering: bool,
}

impl Glance {
    /// Looks at the certificate `name` below the state directory.
    ///
    /// # Errors
    /// [`StoreError`]: a directory cannot be read, or others may read a key.
    pub(crate) fn at(state_dir: &Path, name: &str) -> Result<Self, StoreError> {
        let own = CertificateStore { name: name.into(), place: Place::new(state_dir) };
        let dir = own.dir();
        if !dir.join("generations").is_dir() {
            return Ok(Self::default());
        }
        // A damaged memory is the agent's to tell.
        let memory = durable::read(&dir.join("memory.json"))?;
        let memory = memory.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Ok(Self { loaded: own.load(&memory)?, ordering: Journal::is_in(&dir)? })
    }

    /// The generation that can be served at `now`, or what is in the way and what to do.
    pub(crate) fn usable(self, now: Timestamp) -> Result<Generation, String> {
        let Loaded { generation, damage } = self.loaded;
        let Some(generation) = generation else {
            return Err(match damage {
                Some(damage) => format!("no stored generation is whole: {damage}"),
                None if self.ordering => {
                    "no generation yet; an order is under way (sealwire status)".to_owned()
                }
                None => "no generation yet; is the agent running (sealwire run)?".to_owned(),
            });
        };
        let (number, begin, end) = (generation.number, generation.not_before(), generation.not_after());
        if generation.is_valid_at(now) {
            return Ok(generation);
        }
        Err(if now < begin {
            format!("generation {number} is not valid before {begin}, and it is {now}: check the clock")
        } else {
            format!("generation {number} has expired on {end}; sealwire why tells what holds up the next one")
        })
    }
}
