//! The Secrets: copied from the state directory by the leader, and to it by the others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use super::News;
use super::api::{Api, ApiError};
use super::contents::Contents;
use super::election::Election;
use super::place::{Part, Place};
use super::secret::Secret;
use crate::store::{self, StoreError, durable};

/// Another leader's write, or an edit by hand, may come between reading and writing.
const TRIES: usize = 3;

/// Why something is not in the Secrets.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// Somebody else orders.
    #[error("this replica does not lead; {}", if .0.is_empty() { "nobody does".to_owned() } else { format!("{} does", .0) })]
    NotLeading(String),
    /// The API server.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The state directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was written meanwhile again and again.
    #[error(
        "Secret {0} is written by somebody else all the time; see who: kubectl get secret {0} --show-managed-fields"
    )]
    Contended(String),
}

/// The Secrets of all replicas, as this one sees them.
pub struct Copies {
    pub(super) api: Api,
    pub(super) place: Place,
    pub(super) news: mpsc::Sender<News>,
    pub(super) election: Mutex<Election>,
    /// The term for which the agent has taken over what the Secrets hold.
    settled: Mutex<Option<u64>>,
    /// As they were read or written last.
    shelves: BTreeMap<Part, tokio::sync::Mutex<Option<Secret>>>,
    /// To be copied when there is time.
    dirty: Mutex<BTreeSet<Part>>,
    /// Objects that cannot be used, and why.
    troubles: Mutex<BTreeMap<String, String>>,
}

impl std::fmt::Debug for Copies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copies").field("place", &self.place).finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Copies {
    pub(super) fn new(api: Api, place: Place, news: mpsc::Sender<News>) -> Self {
        Self {
            api,
            news,
            election: Mutex::new(Election::new(place.identity.clone(), place.terms)),
            settled: Mutex::default(),
            shelves: place.parts.iter().map(|part| (part.clone(), tokio::sync::Mutex::default())).collect(),
            dirty: Mutex::default(),
            troubles: Mutex::default(),
            place,
        }
    }

    pub(super) fn parts(&self) -> Vec<Part> {
        self.place.parts.clone()
    }

    pub(super) fn election(&self) -> MutexGuard<'_, Election> {
        locked(&self.election)
    }

    /// The agent's loop has taken over what there was at the start of a term; from here on it is copied back.
    pub fn settled(&self, term: u64) {
        *locked(&self.settled) = Some(term);
        locked(&self.dirty).extend(self.parts());
    }

    /// A certificate's memory has changed; it is copied within seconds.
    pub fn changed(&self, certificate: &str) {
        if self.leads() {
            locked(&self.dirty).insert(Part::Certificate(certificate.to_owned()));
        }
    }

    pub(super) fn take_dirty(&self) -> BTreeSet<Part> {
        std::mem::take(&mut *locked(&self.dirty))
    }

    pub(super) fn put_back(&self, part: Part) {
        locked(&self.dirty).insert(part);
    }

    /// Whether this replica leads, as far as it knows.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.term().is_ok()
    }

    /// Our term, once the agent has taken over.
    pub(super) fn term(&self) -> Result<u64, ShareError> {
        let election = self.election();
        let term = election.term(Instant::now()).filter(|term| *locked(&self.settled) == Some(*term));
        term.ok_or_else(|| ShareError::NotLeading(election.leader().to_owned()))
    }

    /// Reads the Lease once more: whoever has stolen it has it.
    async fn confirm(&self) -> Result<u64, ShareError> {
        let term = self.term()?;
        let record = self.api.lease(&self.place.name).await?.record();
        let mut election = self.election();
        let ours = election.is_ours(&record, term);
        let holder = record.holder.clone();
        election.saw(record, Instant::now());
        if ours { Ok(term) } else { Err(ShareError::NotLeading(holder)) }
    }

    /// To be called before a signed request to a CA: we lead, and what the account of `issuer` consists of is in its
    /// Secret.
    ///
    /// # Errors
    /// [`ShareError`]: the request must not be made.
    pub async fn pass(&self, issuer: &str) -> Result<(), ShareError> {
        self.copy_part(&Part::Account(issuer.to_owned()), None).await
    }

    /// Copies what there is of a certificate; its generation is the current one.
    ///
    /// # Errors
    /// [`ShareError`]: it is not there for others.
    pub async fn copy(&self, certificate: &str) -> Result<(), ShareError> {
        self.copy_part(&Part::Certificate(certificate.to_owned()), None).await
    }

    /// Copies a generation of a certificate that is not current yet.
    ///
    /// # Errors
    /// [`ShareError`]: it is not there for others, and must not become current.
    pub async fn publish(&self, certificate: &str, generation: u64) -> Result<(), ShareError> {
        self.copy_part(&Part::Certificate(certificate.to_owned()), Some(generation)).await
    }

    pub(super) async fn copy_part(&self, part: &Part, generation: Option<u64>) -> Result<(), ShareError> {
        let term = self.confirm().await?;
        let ours = self.local(part, generation)?;
        self.write(part, &ours, term).await
    }

    async fn write(&self, part: &Part, ours: &Contents, term: u64) -> Result<(), ShareError> {
        let name = self.place.secret(part);
        let Some(shelf) = self.shelves.get(part) else { return Ok(()) };
        let mut shelf = shelf.lock().await;
        for _ in 0..TRIES {
            let read = match shelf.take() {
                Some(secret) => secret,
                None => self.api.secret(&name).await?,
            };
            if read.term() > term {
                return Err(ShareError::NotLeading(self.election().leader().to_owned()));
            }
            if read.holds(ours, term) {
                *shelf = Some(read);
                return Ok(());
            }
            match self.api.replace_secret(&name, &read.with(ours, term)).await {
                Ok(written) => {
                    *shelf = Some(written);
                    return Ok(());
                }
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ShareError::Contended(name))
    }

    /// A Secret was seen as it is now; `None`: it is gone.
    pub(super) async fn shelve(&self, part: &Part, secret: Option<Secret>) {
        if let Some(shelf) = self.shelves.get(part) {
            *shelf.lock().await = secret;
        }
    }

    /// What the state directory has of it.
    pub(super) fn local(&self, part: &Part, generation: Option<u64>) -> Result<Contents, StoreError> {
        match part {
            Part::Certificate(name) => store::contents(&self.place.state_dir, name, generation),
            Part::Account(issuer) => account(&self.account_dir(issuer)),
        }
    }

    pub(super) fn account_dir(&self, issuer: &str) -> PathBuf {
        self.place.state_dir.join("accounts").join(issuer)
    }

    /// Follows the leader's account: whoever has it answers HTTP-01.
    pub(super) fn take_account(&self, issuer: &str, theirs: &Contents) -> Result<(), StoreError> {
        let dir = self.account_dir(issuer);
        durable::create_dir(&dir)?;
        for (name, bytes) in theirs.files().filter(|(name, _)| is_plain(name)) {
            durable::write(&dir.join(name), bytes, 0o600)?;
        }
        for (name, _) in account(&dir)?.files().filter(|(name, _)| theirs.file(name).is_none()) {
            durable::remove(&dir.join(name))?;
        }
        Ok(())
    }

    /// Tells the loop and the log of an object that cannot be used; once for each text.
    pub(super) async fn trouble(&self, about: &str, text: String) {
        let before = locked(&self.troubles).insert(about.to_owned(), text.clone());
        if before.as_ref() != Some(&text) {
            tracing::warn!(object = about, "{text}");
            let _ = self.news.send(News::Trouble { about: about.to_owned(), text }).await;
        }
    }

    /// It can be used again.
    pub(super) async fn mended(&self, about: &str) {
        if locked(&self.troubles).remove(about).is_some() {
            tracing::info!(object = about, "usable again");
            let _ = self.news.send(News::Mended { about: about.to_owned() }).await;
        }
    }
}

/// Names of files come from a Secret: none leads out of its directory, and none is hidden.
fn is_plain(name: &str) -> bool {
    !name.starts_with('.') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The files of a directory; temporaries of writes under way are none.
fn account(dir: &Path) -> Result<Contents, StoreError> {
    let mut found = Contents::default();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(StoreError::system("list", dir)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(StoreError::system("list", dir))?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| is_plain(name) && !name.ends_with(".tmp")) else {
            continue;
        };
        if entry.file_type().is_ok_and(|kind| kind.is_file())
            && let Some(bytes) = durable::read(&entry.path())?
        {
            found.insert(name, bytes);
        }
    }
    Ok(found)
}
