//! What is taken by a connection and by a session, given back by being dropped.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::Limits;
use super::who::Who;

/// Counts a connection for its client until it is a session.
#[derive(Debug)]
struct Handshake {
    limits: Arc<Limits>,
    who: Who,
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.limits.state().clients.handshake_over(self.who);
    }
}

/// Room for one connection, from accept to its end.
#[derive(Debug)]
pub(crate) struct AcceptPlace {
    /// For a handshake and no session.
    pub(crate) proof_only: bool,
    unauthenticated: Option<OwnedSemaphorePermit>,
    handshake: Option<Handshake>,
    _connection: OwnedSemaphorePermit,
}

impl AcceptPlace {
    pub(super) fn new(connection: OwnedSemaphorePermit, unauthenticated: OwnedSemaphorePermit) -> Self {
        let unauthenticated = Some(unauthenticated);
        Self { proof_only: false, unauthenticated, handshake: None, _connection: connection }
    }

    pub(super) fn for_proof(permit: OwnedSemaphorePermit) -> Self {
        Self { proof_only: true, unauthenticated: None, handshake: None, _connection: permit }
    }

    /// It counts for this client, and no longer for another.
    pub(super) fn count(&mut self, limits: &Arc<Limits>, who: Who) {
        self.handshake = Some(Handshake { limits: Arc::clone(limits), who });
    }

    /// The connection has become a session: from here on `place` counts, also as one that is not authenticated yet.
    pub(crate) fn becomes(&mut self, place: &mut SessionPlace) {
        self.handshake = None;
        place.unauthenticated = self.unauthenticated.take();
    }
}

/// Room for one session of a client.
#[derive(Debug)]
pub(crate) struct SessionPlace {
    limits: Arc<Limits>,
    who: Who,
    /// The tenant, if it has a limit of its own.
    tenant: Option<String>,
    unauthenticated: Option<OwnedSemaphorePermit>,
}

impl SessionPlace {
    pub(super) fn new(limits: Arc<Limits>, who: Who, tenant: Option<String>) -> Self {
        Self { limits, who, tenant, unauthenticated: None }
    }

    /// It is known who the client is, or its `connect` was accepted without: it no longer counts against
    /// `limits.unauthenticated`.
    pub(crate) fn authenticated(&mut self) {
        self.unauthenticated = None;
    }
}

impl Drop for SessionPlace {
    fn drop(&mut self) {
        let mut state = self.limits.state();
        state.clients.session_over(self.who);
        if let Some(name) = &self.tenant
            && let Some(sessions) = state.tenants.get_mut(name)
        {
            *sessions = sessions.saturating_sub(1);
        }
    }
}
