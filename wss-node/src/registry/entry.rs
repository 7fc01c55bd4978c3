//! What is known of one session. The session writes, others read: atomics, and a lock for what changes once or twice
//! in its life.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use sealwire_proto::v1;

use super::SessionId;
use crate::audit;
use crate::close::Close;
use crate::outbound::{Order, Outbound};
use crate::tenant::Tenant;
use crate::upgrade::Admission;

/// What is kept of the name that a client gives itself.
const MAX_NAME_BYTES: usize = 64;

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Upgraded; `connect` has not come.
    Connecting = 0,
    /// It has.
    Connected = 1,
    /// The close was said, or will be as soon as what waits is written.
    Closing = 2,
}

/// Whose session it is, as far as is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// `sub` of the token; empty: anonymous.
    pub(crate) user: String,
    /// When the token ends.
    pub(crate) expires: Option<Timestamp>,
    /// What the client calls itself in `connect`.
    pub(crate) client_name: String,
}

impl Identity {
    /// What the client calls itself, as far as it is short.
    pub(crate) fn named(&mut self, name: &str) {
        name[..name.floor_char_boundary(MAX_NAME_BYTES)].clone_into(&mut self.client_name);
    }
}

/// One session.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: SessionId,
    pub(crate) tenant: Arc<Tenant>,
    /// Whose it is, behind a proxy too.
    pub(crate) address: IpAddr,
    /// The other end of the socket.
    pub(crate) peer: SocketAddr,
    cipher_suite: &'static str,
    opened: Timestamp,
    identity: Mutex<Identity>,
    state: AtomicU8,
    /// Milliseconds since the Unix epoch, as `v1::Session` has them.
    heard_ms: AtomicI64,
    synced_ms: AtomicI64,
    subscriptions: AtomicU32,
    messages_in: AtomicU64,
    messages_out: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    outbound: Arc<Outbound>,
}

impl Entry {
    pub(super) fn new(id: SessionId, admission: &Admission, outbound: Arc<Outbound>, now: Timestamp) -> Self {
        let client = &admission.client;
        let mut identity = Identity::default();
        if let Some(grant) = &admission.grant {
            identity.user.clone_from(&grant.user);
            identity.expires = grant.expires;
        }
        Self {
            id,
            tenant: Arc::clone(&admission.tenant),
            address: client.address,
            peer: client.peer,
            cipher_suite: client.tls.as_ref().map_or("", |tls| tls.cipher_suite),
            opened: now,
            identity: Mutex::new(identity),
            state: AtomicU8::new(State::Connecting as u8),
            heard_ms: AtomicI64::new(now.as_millisecond()),
            synced_ms: AtomicI64::new(0),
            subscriptions: AtomicU32::new(0),
            messages_in: AtomicU64::new(0),
            messages_out: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            outbound,
        }
    }

    fn identity_locked(&self) -> MutexGuard<'_, Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose it is.
    pub(crate) fn identity(&self) -> Identity {
        self.identity_locked().clone()
    }

    /// More is known of who it is, or its token was refreshed.
    pub(crate) fn identify(&self, change: impl FnOnce(&mut Identity)) {
        change(&mut self.identity_locked());
    }

    /// Bytes that wait to be written to it.
    pub(super) fn queued_bytes(&self) -> usize {
        self.outbound.queued_bytes()
    }

    /// How far it has come.
    pub(crate) fn state(&self) -> State {
        match self.state.load(Relaxed) {
            0 => State::Connecting,
            1 => State::Connected,
            _ => State::Closing,
        }
    }

    /// It never goes back: a session that closes is not connected any more.
    pub(crate) fn reached(&self, state: State) {
        self.state.fetch_max(state as u8, Relaxed);
    }

    /// The client has sent a message of so many bytes, with so many commands in it.
    pub(crate) fn heard(&self, now: Timestamp, messages: u64, bytes: usize) {
        self.heard_ms.store(now.as_millisecond(), Relaxed);
        self.messages_in.fetch_add(messages, Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    /// So many messages were written; `synced`: with a publication among them.
    pub(crate) fn told(&self, now: Timestamp, messages: usize, bytes: usize, synced: bool) {
        self.messages_out.fetch_add(messages as u64, Relaxed);
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
        if synced {
            self.synced_ms.store(now.as_millisecond(), Relaxed);
        }
    }

    /// How many channels it is subscribed to.
    pub(crate) fn subscribed(&self, channels: usize) {
        self.subscriptions.store(u32::try_from(channels).unwrap_or(u32::MAX), Relaxed);
    }

    /// Tells it to write what waits and to close; `false` if it had been told so before.
    pub(crate) fn close(&self, close: Close) -> bool {
        self.reached(State::Closing);
        self.outbound.close(close)
    }

    /// It is to do something, when it runs next.
    pub(crate) fn tell(&self, order: Order) {
        self.outbound.tell(order);
    }

    /// A decision about it, for the record.
    pub(crate) fn decision(&self, what: &'static str, detail: String) -> audit::Entry {
        let user = self.identity().user;
        audit::Entry {
            what,
            address: Some(self.address),
            session: Some(self.id.to_string()),
            user: (!user.is_empty()).then_some(user),
            tenant: self.tenant.name.clone(),
            detail,
        }
    }

    /// Its queue.
    #[cfg(test)]
    pub(crate) fn outbound(&self) -> &Arc<Outbound> {
        &self.outbound
    }

    /// As others see it.
    pub(crate) fn wire(&self) -> v1::Session {
        let Identity { user, expires, client_name } = self.identity();
        let state = match self.state() {
            State::Connecting => v1::SessionState::Connecting,
            State::Connected => v1::SessionState::Connected,
            State::Closing => v1::SessionState::Closing,
        };
        v1::Session {
            id: self.id.to_string(),
            user,
            tenant: self.tenant.name.clone().unwrap_or_default(),
            state: state.into(),
            address: self.address.to_string(),
            peer: self.peer.to_string(),
            opened_ms: self.opened.as_millisecond(),
            heard_ms: self.heard_ms.load(Relaxed),
            synced_ms: self.synced_ms.load(Relaxed),
            expires_ms: expires.map_or(0, Timestamp::as_millisecond),
            subscriptions: self.subscriptions.load(Relaxed),
            messages_in: self.messages_in.load(Relaxed),
            messages_out: self.messages_out.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            queued_bytes: self.outbound.queued_bytes() as u64,
            cipher_suite: self.cipher_suite.to_owned(),
            client_name,
        }
    }
}
