//! Whether the node should get traffic: every name it must serve is covered by a certificate that a handshake
//! has seen on its own listener, and it is not about to stop.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Collects what readiness depends on, and tells of changes.
#[derive(Debug)]
pub(crate) struct Readiness {
    server_names: Vec<String>,
    state: Mutex<State>,
    changed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    draining: bool,
    /// Why the breaker is open.
    halted: Option<String>,
    /// By certificate: the generation that was seen, and the names it covers.
    proven: BTreeMap<String, (u64, Vec<String>)>,
}

impl Readiness {
    pub(crate) fn new(server_names: Vec<String>) -> Self {
        Self { server_names, state: Mutex::default(), changed: watch::channel(false).0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A handshake saw this generation for these names.
    pub(crate) fn proven(&self, certificate: &str, generation: u64, names: Vec<String>) {
        self.state().proven.insert(certificate.to_owned(), (generation, names));
        self.update();
    }

    /// What is served of this certificate could not be seen: its names no longer count.
    pub(crate) fn unproven(&self, certificate: &str) {
        self.state().proven.remove(certificate);
        self.update();
    }

    /// From now on no traffic should come.
    pub(crate) fn drain(&self) {
        self.state().draining = true;
        self.update();
    }

    /// The breaker is open, for this reason; or it no longer is.
    pub(crate) fn halted(&self, reason: Option<String>) {
        self.state().halted = reason;
        self.update();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.state().draining
    }

    /// What is in the way; `None` when nothing is.
    pub(crate) fn obstacle(&self) -> Option<String> {
        let state = self.state();
        if state.draining {
            return Some("stopping".to_owned());
        }
        if let Some(reason) = &state.halted {
            return Some(format!("breaker open: {reason}"));
        }
        let seen = |name: &String| state.proven.values().any(|(_, names)| names.contains(name));
        let missing: Vec<_> = self.server_names.iter().filter(|name| !seen(name)).cloned().collect();
        (!missing.is_empty()).then(|| format!("no certificate is proven for {}", missing.join(", ")))
    }

    /// The generation of a certificate that was seen last.
    pub(crate) fn proven_generation(&self, certificate: &str) -> Option<u64> {
        self.state().proven.get(certificate).map(|(generation, _)| *generation)
    }

    /// Told whenever the node becomes ready, or no longer is.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.changed.subscribe()
    }

    fn update(&self) {
        let ready = self.obstacle().is_none();
        self.changed.send_if_modified(|was| std::mem::replace(was, ready) != ready);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_name_was_seen_and_never_while_draining() {
        let readiness = Readiness::new(vec!["a".into(), "b".into()]);
        assert_eq!(readiness.obstacle().as_deref(), Some("no certificate is proven for a, b"));
        readiness.proven("one", 1, vec!["a".into()]);
        assert_eq!(readiness.obstacle().as_deref(), Some("no certificate is proven for b"));
        readiness.proven("two", 4, vec!["b".into()]);
        assert!(readiness.obstacle().is_none() && *readiness.watch().borrow());
        readiness.halted(Some("expired".into()));
        assert_eq!(readiness.obstacle().as_deref(), Some("breaker open: expired"));
        readiness.halted(None);
        assert_eq!(readiness.obstacle(), None);
        readiness.drain();
        assert_eq!(readiness.obstacle().as_deref(), Some("stopping"));
        assert!(!*readiness.watch().borrow());
    }
}
