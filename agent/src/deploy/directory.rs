//! A certificate as files for a server: each generation in a directory of its own, and `live` points to one of them, so
//! that chain and key change together by one rename, and going back is the same. The names are certbot's.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::store::{Generation, StoreError, durable, key_pem_of, pem_of};

/// The leaf and what stands above it.
pub(super) const FULL_CHAIN: &str = "fullchain.pem";
/// Its key, PKCS#8.
pub(super) const KEY: &str = "privkey.pem";
/// The leaf alone.
const LEAF: &str = "cert.pem";
/// What stands above it.
const ABOVE: &str = "chain.pem";
/// What servers are configured with.
const LIVE: &str = "live";

/// Who may read a key: the agent's user, and a group if there is one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readers(pub(super) Option<u32>);

impl Readers {
    const fn key_mode(self) -> u32 {
        if self.0.is_some() { 0o640 } else { 0o600 }
    }

    const fn directory_mode(self) -> u32 {
        if self.0.is_some() { 0o750 } else { 0o700 }
    }

    /// Whatever the umask of the agent is.
    fn let_in(self, path: &Path, mode: u32) -> Result<(), StoreError> {
        if let Some(gid) = self.0 {
            chown(path, None, Some(gid)).map_err(|error| {
                let text = format!("{error}; the agent's user must be a member of group {gid} (`gid`)");
                StoreError::system("give to the group", path)(std::io::Error::new(error.kind(), text))
            })?;
        }
        let permissions = Permissions::from_mode(mode);
        std::fs::set_permissions(path, permissions).map_err(StoreError::system("set the mode of", path))
    }

    /// A file that holds a key.
    pub(super) fn write_key(self, path: &Path, pem: &[u8]) -> Result<(), StoreError> {
        durable::write(path, pem, 0o600)?;
        self.let_in(path, self.key_mode())
    }

    fn make(self, path: &Path) -> Result<(), StoreError> {
        if path.is_dir() {
            return Ok(());
        }
        durable::create_dir(path)?;
        self.let_in(path, self.directory_mode())
    }
}

/// The directory of one target.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    path: PathBuf,
    readers: Readers,
}

/// Where `live` pointed before.
#[derive(Debug)]
pub(super) struct Before(Option<PathBuf>);

impl Directory {
    pub(super) fn new(path: PathBuf, gid: Option<u32>) -> Self {
        Self { path, readers: Readers(gid) }
    }

    /// The directory that servers are configured with.
    pub(super) fn live(&self) -> PathBuf {
        self.path.join(LIVE)
    }

    /// Whether `live` has exactly this, chain and key.
    pub(super) fn holds(&self, generation: &Generation) -> bool {
        let live = self.live();
        let is = |name: &str, wanted: &[u8]| {
            std::fs::read(live.join(name)).is_ok_and(|found| *Zeroizing::new(found) == *wanted)
        };
        is(FULL_CHAIN, pem_of(&generation.chain.to_vec()).as_bytes())
            && is(KEY, key_pem_of(&generation.key).as_bytes())
    }

    /// Makes it the live one; tells what was live before.
    pub(super) fn put(&self, generation: &Generation) -> Result<Before, StoreError> {
        self.readers.make(&self.path)?;
        let before = Before(std::fs::read_link(self.live()).ok());
        let name = name_of(generation);
        let own = self.path.join(&name);
        self.readers.make(&own)?;
        self.readers.write_key(&own.join(KEY), key_pem_of(&generation.key).as_bytes())?;
        let chain = generation.chain.to_vec();
        for (name, certificates) in [(FULL_CHAIN, &chain[..]), (LEAF, &chain[..1]), (ABOVE, &chain[1..])] {
            let path = own.join(name);
            durable::write(&path, pem_of(certificates).as_bytes(), 0o644)?;
            self.readers.let_in(&path, 0o644)?;
        }
        durable::point(&self.live(), Path::new(&name))?;
        Ok(before)
    }

    /// Makes live what was before, if that is still there; tells whether it was.
    pub(super) fn put_back(&self, before: &Before) -> Result<bool, StoreError> {
        let Some(target) = before.0.as_ref().filter(|target| self.path.join(target).is_dir()) else {
            return Ok(false);
        };
        durable::point(&self.live(), target)?;
        Ok(true)
    }

    /// The chain that was live before, in PEM.
    pub(super) fn chain_before(&self, before: &Before) -> Option<Vec<u8>> {
        std::fs::read(self.path.join(before.0.as_ref()?).join(FULL_CHAIN)).ok()
    }

    /// Removes generations that are neither live nor were before: only what we made, by its name.
    pub(super) fn tidy(&self, before: &Before) -> Result<(), StoreError> {
        let live = std::fs::read_link(self.live()).ok();
        let kept = |name: &Path| live.as_deref() == Some(name) || before.0.as_deref() == Some(name);
        let entries = std::fs::read_dir(&self.path).map_err(StoreError::system("read", &self.path))?;
        for entry in entries.flatten() {
            let name = PathBuf::from(entry.file_name());
            if is_ours(&entry.file_name().to_string_lossy()) && !kept(&name) {
                durable::remove_tree(&self.path.join(name))?;
            }
        }
        Ok(())
    }
}

/// With a part of the leaf's digest: numbers start again when somebody has emptied the store.
fn name_of(generation: &Generation) -> String {
    format!("{}-{}", generation.number, sealwire_proto::hex(&generation.leaf.sha256[..8]))
}

fn is_ours(name: &str) -> bool {
    name.split_once('-').is_some_and(|(number, digest)| {
        number.parse::<u64>().is_ok()
            && digest.len() == 16
            && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
