//! The roots of a CA and how far the change of them is: which issues, which are published.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rcgen::PKCS_ECDSA_P384_SHA384;

use super::authority::{Authority, Files, generate, load_key};
use super::identity::AuthorityId;
use super::make;
use super::rotation::Rotation;
use crate::config::InternalConfig;
use crate::issuer::IssueError;
use crate::store::{StoreError, durable};

/// The state of the change of the root.
const ROTATION: &str = "rotation.json";

/// The roots that are published.
pub(super) struct Roots {
    dir: PathBuf,
    rotation: Rotation,
    published: BTreeMap<u64, Arc<Authority>>,
}

impl Roots {
    /// Loads the published roots in `dir`, or makes the first one if there has been none.
    ///
    /// # Errors
    /// A root that is missing or damaged; nothing that is there is overwritten.
    pub(super) fn open(
        dir: PathBuf,
        name: &str,
        config: &InternalConfig,
        now: Timestamp,
    ) -> Result<Self, IssueError> {
        let rotation = load_rotation(&dir)?;
        let first = Files::new(&dir, AuthorityId::Root(1));
        let is_new = rotation == Rotation::Settled { root: 1 }
            && newest(&dir, is_intermediate)? == 0
            && Authority::load(&first)?.is_none();
        if is_new {
            // A key without a certificate is what a crash left; it was never used, but is not overwritten.
            let key = match load_key(&first)? {
                Some(key) => key,
                None => generate(&PKCS_ECDSA_P384_SHA384)?,
            };
            Authority::create(&first, key, &make::root(name, 1, config, now)?, None)?;
            tracing::info!(issuer = name, file = %first.certificate.display(), "root made; give it to every client");
        }
        let mut roots = Self { dir, rotation, published: BTreeMap::new() };
        roots.published = roots.load_published()?;
        Ok(roots)
    }

    fn load_published(&self) -> Result<BTreeMap<u64, Arc<Authority>>, IssueError> {
        let numbers = self.rotation.published();
        numbers.into_iter().map(|number| Ok((number, Arc::new(load_root(&self.dir, number)?)))).collect()
    }

    pub(super) fn rotation(&self) -> &Rotation {
        &self.rotation
    }

    /// The number of the root that issues, and the root.
    pub(super) fn issuing(&self) -> (u64, &Arc<Authority>) {
        let number = self.rotation.issuing();
        // Loaded with the state that names it.
        (number, &self.published[&number])
    }

    /// By number, the older one first.
    pub(super) fn published(&self) -> impl Iterator<Item = (u64, &Arc<Authority>)> {
        self.published.iter().map(|(number, root)| (*number, root))
    }

    /// The number of the published root that signed an intermediate.
    pub(super) fn signer_of(&self, intermediate: &Authority) -> Option<u64> {
        self.published().find(|(_, root)| intermediate.is_signed_by(root)).map(|(number, _)| number)
    }

    /// Makes a new root, under a number that no file has, and returns the number. Nobody knows it before
    /// [`Roots::set`] publishes it.
    ///
    /// # Errors
    /// It could not be written.
    pub(super) fn make_next(
        &self,
        name: &str,
        config: &InternalConfig,
        now: Timestamp,
    ) -> Result<u64, IssueError> {
        let number = newest(&self.dir, is_root)?.max(self.rotation.issuing()) + 1;
        let files = Files::new(&self.dir, AuthorityId::Root(number));
        let key = generate(&PKCS_ECDSA_P384_SHA384)?;
        Authority::create(&files, key, &make::root(name, number, config, now)?, None)?;
        tracing::info!(issuer = name, file = %files.certificate.display(), "new root made");
        Ok(number)
    }

    /// Goes on to another state; durable when it returns.
    ///
    /// # Errors
    /// It could not be written, or a root that it publishes cannot be read; it is as it was then.
    pub(super) fn set(&mut self, rotation: Rotation) -> Result<(), IssueError> {
        let before = std::mem::replace(&mut self.rotation, rotation);
        let done = self.load_published().and_then(|published| {
            let path = self.dir.join(ROTATION);
            let text = serde_json::to_vec_pretty(&self.rotation)
                .map_err(|error| StoreError::damaged(&path, format!("cannot be written: {error}")))?;
            durable::write(&path, &text, 0o600)?;
            Ok(published)
        });
        match done {
            Ok(published) => {
                self.published = published;
                Ok(())
            }
            Err(error) => {
                self.rotation = before;
                Err(error)
            }
        }
    }
}

fn load_root(dir: &Path, number: u64) -> Result<Authority, IssueError> {
    let files = Files::new(dir, AuthorityId::Root(number));
    match Authority::load(&files)? {
        Some(root) if root.is_signed_by(&root) => Ok(root),
        Some(_) => {
            let detail = "it is not signed by itself; restore it from a backup";
            Err(StoreError::damaged(&files.certificate, detail).into())
        }
        // A new root would cut off every client, so it must be plain that there has been none.
        None => {
            let detail = format!(
                "it is missing, but something was signed by it or it was published; restore it from a backup, or \
                 move {} away to start with a new CA",
                dir.display()
            );
            Err(StoreError::damaged(&files.certificate, detail).into())
        }
    }
}

/// The state on disk. A directory without one has one root, unless the file was lost: then the root above the
/// newest intermediate issues, and the one before it stays published.
///
/// # Errors
/// The file cannot be read, or is damaged.
pub(super) fn load_rotation(dir: &Path) -> Result<Rotation, IssueError> {
    let path = dir.join(ROTATION);
    if let Some(bytes) = durable::read(&path)? {
        return serde_json::from_slice(&bytes).map_err(|error| {
            let detail = format!("{error}; restore it from a backup, or remove it to have it found out anew");
            StoreError::damaged(&path, detail).into()
        });
    }
    let (root, intermediate) = (newest(dir, is_root)?, newest(dir, is_intermediate)?);
    if root <= 1 || intermediate == 0 {
        return Ok(Rotation::Settled { root: 1 });
    }
    let newest = Authority::load(&Files::new(dir, AuthorityId::Intermediate(intermediate)))?;
    let signed = |number: &u64| {
        let root = Authority::load(&Files::new(dir, AuthorityId::Root(*number))).ok().flatten();
        root.is_some_and(|root| newest.as_ref().is_some_and(|newest| newest.is_signed_by(&root)))
    };
    Ok(match (1..=root).rev().find(signed) {
        Some(root) if root > 1 => {
            let since = Timestamp::UNIX_EPOCH;
            let is_there = |number: &u64| Files::new(dir, AuthorityId::Root(*number)).certificate.exists();
            match (1..root).rev().find(is_there) {
                Some(old) => Rotation::Replacing { root, old, since },
                None => Rotation::Settled { root },
            }
        }
        _ => Rotation::Settled { root: 1 },
    })
}

pub(super) fn is_root(id: AuthorityId) -> Option<u64> {
    if let AuthorityId::Root(number) = id { Some(number) } else { None }
}

pub(super) fn is_intermediate(id: AuthorityId) -> Option<u64> {
    if let AuthorityId::Intermediate(number) = id { Some(number) } else { None }
}

/// The highest number of a kind of which there is a certificate; 0 if there is none.
///
/// # Errors
/// The directory cannot be listed.
pub(super) fn newest(dir: &Path, kind: fn(AuthorityId) -> Option<u64>) -> Result<u64, StoreError> {
    let mut newest = 0;
    for entry in std::fs::read_dir(dir).map_err(StoreError::system("list", dir))? {
        let name = entry.map_err(StoreError::system("list", dir))?.file_name();
        let id = name.to_str().and_then(|name| AuthorityId::of_file(name, ".pem"));
        newest = newest.max(id.and_then(kind).unwrap_or(0));
    }
    Ok(newest)
}
