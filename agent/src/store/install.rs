//! What another replica has stored, put into our own state directory.

use super::{CertificateStore, Generation, Journal, StoreError, durable};
use crate::replicas::contents::{self, Contents};

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
