//! What replicas have of each other: files read for the Secret of a certificate, and put into our own state directory.

use std::path::Path;

use super::generation::required;
use super::{CertificateStore, Generation, Journal, Place, StoreError, durable};
use crate::replicas::contents::{self, Contents};

/// What the state directory has of a certificate: the order under way, the memory, and a generation; `None`: the
/// current one, if there is one.
///
/// # Errors
/// [`StoreError`]: a generation that is not whole is not for others.
pub(crate) fn contents(
    state_dir: &Path,
    name: &str,
    generation: Option<u64>,
) -> Result<Contents, StoreError> {
    let own = CertificateStore { name: name.into(), place: Place::new(state_dir) };
    let mut found = Contents::default();
    for name in [contents::ORDER, contents::ORDER_KEY, contents::MEMORY] {
        if let Some(bytes) = durable::read(&own.dir().join(name))? {
            found.insert(name, bytes);
        }
    }
    // A damaged link is told, and mended, by whoever loads what is current.
    let current = || own.current_number().ok().flatten();
    let Some(number) = generation.or_else(current) else { return Ok(found) };
    let place = own.generation_dir(number);
    for (name, file) in Generation::FILES {
        found.insert(name, required(&place.join(file))?);
    }
    found.insert(contents::GENERATION, number.to_string().into_bytes());
    Ok(found)
}

impl CertificateStore {
    /// Stores a generation under the number that it has elsewhere and makes it current. One that is not whole (key and
    /// chain do not belong together, a file is missing) touches nothing.
    ///
    /// # Errors
    /// [`StoreError`]; what was current is current still.
    pub fn install(&self, number: u64, files: &Contents) -> Result<Generation, StoreError> {
        let place = self.generation_dir(number);
        let new = self.dir().join("generations").join(".new");
        durable::remove_tree(&new)?;
        durable::create_dir(&new)?;
        let written = Generation::FILES.into_iter().try_for_each(|(name, file)| {
            let bytes =
                files.file(name).ok_or_else(|| StoreError::damaged(&place, format!("{name} is missing")))?;
            durable::write(&new.join(file), bytes, 0o600)
        });
        let whole = written.and_then(|()| Generation::read(&new, number));
        if let Err(error) = whole {
            let _ = durable::remove_tree(&new);
            return Err(error);
        }
        // Another generation of that number never became current anywhere else.
        durable::remove_tree(&place)?;
        durable::rename(&new, &place)?;
        self.make_current(number)?;
        self.generation(number)
    }

    /// Takes over the order that another replica had under way, or that it had none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn install_order(&self, files: &Contents) -> Result<(), StoreError> {
        match (files.file(contents::ORDER), files.file(contents::ORDER_KEY)) {
            (Some(order), Some(key)) => Journal::install(&self.dir(), order, key),
            _ => self.clear_journal(),
        }
    }
}
