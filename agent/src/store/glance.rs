//! A look at what is stored that neither takes the lock nor makes or mends anything.

use std::path::Path;

use super::{CertificateStore, Journal, Loaded, Place, StoreError, durable};

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
}
