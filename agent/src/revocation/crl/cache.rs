//! CRLs on disk: what was fetched serves until it is due again, restarts included, and its number is remembered by
//! being kept. A file is believed as little as the network: it is parsed and verified each time.

use std::path::{Path, PathBuf};

use sealwire_proto::validate::sha256;

use crate::revocation::Id;
use crate::store::{StoreError, durable};

/// Names a CRL: its URL and its issuer.
pub type CrlId = [u8; 32];

/// The name of the CRL at `url` by `issuer`: two issuers that publish at one place do not mix their numbers.
#[must_use]
pub fn crl_id(url: &str, issuer: &Id) -> CrlId {
    let mut both = issuer.to_vec();
    both.extend_from_slice(url.as_bytes());
    sha256(&both)
}

/// A directory of CRLs.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// Below `state_dir`; made when the first CRL is kept.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("revocation/crl") }
    }

    /// The file of a CRL, as seen from the state directory.
    #[must_use]
    pub fn file(id: &CrlId) -> String {
        format!("revocation/crl/{}", Self::name(id))
    }

    fn name(id: &CrlId) -> String {
        format!("{}.crl", sealwire_proto::hex(&id[..16]))
    }

    /// What is kept; `None` if nothing is, or nothing that is worth reading.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn load(&self, id: &CrlId, max_bytes: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.dir.join(Self::name(id));
        match std::fs::metadata(&path) {
            Ok(found) if found.len() > max_bytes as u64 => Ok(None),
            _ => durable::read(&path),
        }
    }

    /// Keeps a CRL in place of the one before.
    ///
    /// # Errors
    /// [`StoreError::System`]; the one before is still there.
    pub fn save(&self, id: &CrlId, bytes: &[u8]) -> Result<(), StoreError> {
        durable::create_dir(&self.dir)?;
        durable::write(&self.dir.join(Self::name(id)), bytes, 0o600)
    }

    /// Removes all but these, and what a crash left.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn retain(&self, wanted: impl Iterator<Item = CrlId>) -> Result<(), StoreError> {
        let wanted: std::collections::HashSet<_> = wanted.map(|id| Self::name(&id)).collect();
        let entries = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(StoreError::system("list", &self.dir))?,
        };
        for entry in entries {
            let entry = entry.map_err(StoreError::system("list", &self.dir))?;
            if entry.file_name().to_str().is_none_or(|name| !wanted.contains(name)) {
                durable::remove(&entry.path())?;
            }
        }
        Ok(())
    }
}
