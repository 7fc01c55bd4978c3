//! The newest good OCSP response of each generation, on disk: a restart while the responder is down must not leave
//! nodes without one. What is loaded is verified like what comes from the network.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use sealwire_proto::ocsp::{MAX_RESPONSE_BYTES, Status, Verified, verify};

use super::at_second;
use super::subject::Issuer;
use crate::clock::unix_time;
use crate::delivery::Staple;
use crate::store::{StoreError, durable};

/// A response that may be presented, and its age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What is presented.
    pub staple: Arc<Staple>,
    /// When it was known to be so.
    pub this_update: Timestamp,
}

impl Kept {
    /// A response as a staple: a good one that says until when it holds.
    #[must_use]
    pub fn of(response: &[u8], verified: &Verified) -> Option<Self> {
        let next_update = at_second(verified.next_update?);
        let good = verified.status == Status::Good;
        good.then(|| Self {
            staple: Arc::new(Staple::new(response.to_vec(), next_update)),
            this_update: at_second(verified.this_update),
        })
    }
}

/// The directory of responses: `NAME/NUMBER.der`.
#[derive(Clone, Debug)]
pub struct Staples {
    dir: PathBuf,
}

impl Staples {
    /// Below `state_dir`; made when the first one is kept.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { dir: state_dir.join("revocation/staples") }
    }

    fn path(&self, name: &str, generation: u64) -> PathBuf {
        self.dir.join(name).join(format!("{generation:06}.der"))
    }

    /// The response of a generation, if it is still about this leaf, good, and not over.
    #[must_use]
    pub fn load(
        &self,
        name: &str,
        generation: u64,
        leaf: &CertificateDer<'_>,
        issuer: &Issuer,
        now: Timestamp,
    ) -> Option<Kept> {
        let path = self.path(name, generation);
        let long = std::fs::metadata(&path).is_ok_and(|found| found.len() > MAX_RESPONSE_BYTES as u64);
        let bytes = if long { return None } else { durable::read(&path) };
        let bytes = match bytes {
            Ok(found) => found?,
            Err(error) => {
                tracing::warn!(certificate = name, %error, "cannot read the OCSP response that was kept");
                return None;
            }
        };
        match verify(&bytes, leaf, &issuer.der, unix_time(now)) {
            Ok(verified) => Kept::of(&bytes, &verified),
            Err(error) => {
                tracing::debug!(certificate = name, generation, %error, "the OCSP response that was kept is of no use");
                None
            }
        }
    }

    /// Keeps a response in place of the one before.
    ///
    /// # Errors
    /// [`StoreError::System`]; the one before is still there.
    pub fn save(&self, name: &str, generation: u64, staple: &Staple) -> Result<(), StoreError> {
        durable::create_dir(&self.dir.join(name))?;
        durable::write(&self.path(name, generation), &staple.response, 0o600)
    }

    /// Removes the responses of certificates that are not to be kept.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn retain(&self, keep: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let entries = match std::fs::read_dir(&self.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(StoreError::system("list", &self.dir))?,
        };
        for entry in entries {
            let entry = entry.map_err(StoreError::system("list", &self.dir))?;
            if entry.file_name().to_str().is_none_or(|name| !keep(name)) {
                durable::remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Forgets the response of a generation.
    ///
    /// # Errors
    /// [`StoreError::System`].
    pub fn remove(&self, name: &str, generation: u64) -> Result<(), StoreError> {
        durable::remove(&self.path(name, generation))
    }
}

#[cfg(test)]
#[path = "staple_tests.rs"]
mod tests;
