//! Roots of clients' certificates for all nodes, from a file that may change while the agent runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use sealwire_proto::anchors::{AnchorError, Anchors};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the file is looked at. It is read whole each time: a few kilobytes, and no clock of a file system to trust.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What a node takes.
const MAX_ROOTS: usize = 64;

/// All roots of clients; empty: none.
pub type ClientRoots = Arc<[CertificateDer<'static>]>;

/// Why they cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientRootsError {
    /// The file.
    #[error(transparent)]
    Anchors(#[from] AnchorError),
    /// There are more than nodes take.
    #[error("{path} holds {count} roots; nodes take at most {MAX_ROOTS}", path = .path.display())]
    TooMany {
        /// The file.
        path: PathBuf,
        /// So many.
        count: usize,
    },
}

/// Reads the file.
///
/// # Errors
/// See [`ClientRootsError`]; each message names the file.
pub fn read(path: &Path) -> Result<ClientRoots, ClientRootsError> {
    let anchors = Anchors::from_pem_file(path)?;
    let count = anchors.certificates().len();
    if count > MAX_ROOTS {
        return Err(ClientRootsError::TooMany { path: path.to_owned(), count });
    }
    Ok(anchors.certificates().into())
}

/// Follows the file until `end`, and looks at it `every` so often ([`LOOK_EVERY`]; tests do not have the time). What cannot be used is told once, and what was good before stays.
pub async fn follow(
    path: PathBuf,
    every: Duration,
    roots: watch::Sender<ClientRoots>,
    end: CancellationToken,
) {
    let mut told = None;
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        match read(&path) {
            Ok(new) => {
                told = None;
                let changed = roots.send_if_modified(|old| {
                    let changed = *old != new;
                    *old = Arc::clone(&new);
                    changed
                });
                if changed {
                    tracing::info!(roots = new.len(), "delivery.client_roots: nodes are told of other roots");
                }
            }
            Err(error) => {
                let error = error.to_string();
                if told.as_ref() != Some(&error) {
                    tracing::error!(error, "delivery.client_roots: the roots of before stay in use");
                    told = Some(error);
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(5);

    fn root() -> String {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[tokio::test]
    async fn a_change_is_told_and_a_broken_file_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("roots.pem");
        std::fs::write(&path, root()).unwrap();
        let first = read(&path).unwrap();
        let (sender, mut receiver) = watch::channel(Arc::clone(&first));
        let end = CancellationToken::new();
        let following = tokio::spawn(follow(path.clone(), EVERY, sender, end.clone()));
        std::fs::write(&path, "nothing of the kind").unwrap();
        tokio::time::sleep(EVERY * 10).await;
        assert!(!receiver.has_changed().unwrap());
        std::fs::write(&path, root() + &root()).unwrap();
        receiver.changed().await.unwrap();
        assert_eq!(receiver.borrow_and_update().len(), 2);
        std::fs::write(&path, root().repeat(MAX_ROOTS + 1)).unwrap();
        assert!(matches!(read(&path), Err(ClientRootsError::TooMany { .. })));
        end.cancel();
        following.await.unwrap();
    }
}
