//! What one client may take of the node, and what all may take together (NODE.md section 5, rows 0, 1 and 11). Places
//! are given back by being dropped.
//!
//! One short lock for all clients, held for a look into a hash table: taken once at the accept, once at the upgrade,
//! and once at the end of each. The handshake itself takes none.

mod clients;
pub(crate) mod descriptors;
mod fault;
mod pace;
mod place;
mod who;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{Config, ProxyConfig};
use crate::counters::Counters;
use crate::tenant::Tenant;
use clients::{Allowed, Clients};
pub(crate) use fault::LimitFault;
pub(crate) use pace::{Pace, Progress};
pub(crate) use place::{AcceptPlace, SessionPlace};
use who::Who;

/// Places besides `max_connections` for peers on this machine, for a handshake and no session: a full node must
/// still be able to prove what it serves.
const PROOF_PLACES: usize = 16;

/// All limits on clients of one node.
#[derive(Debug)]
pub(crate) struct Limits {
    proxy: ProxyConfig,
    connections: Arc<Semaphore>,
    unauthenticated: Arc<Semaphore>,
    proofs: Arc<Semaphore>,
    /// The first descriptor that no client gets.
    reserve: u64,
    counters: Arc<Counters>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    clients: Clients,
    /// Sessions of each tenant that has a limit of its own.
    tenants: HashMap<String, u32>,
}

impl Limits {
    pub(crate) fn new(config: &Config, counters: Arc<Counters>) -> Arc<Self> {
        let limits = &config.limits;
        let allowed = Allowed {
            handshakes: limits.handshakes_per_ip,
            sessions: limits.sessions_per_ip,
            accepts: Pace::new(limits.accepts_per_second_per_ip, limits.accepts_burst_per_ip),
        };
        let permits = |most: usize| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        let unauthenticated = match limits.unauthenticated {
            0 => Semaphore::MAX_PERMITS,
            most => usize::try_from(most).unwrap_or(usize::MAX),
        };
        let state = State { clients: Clients::new(allowed), tenants: HashMap::new() };
        Arc::new(Self {
            proxy: config.proxy.clone(),
            connections: permits(config.listen.max_connections),
            unauthenticated: permits(unauthenticated),
            proofs: permits(PROOF_PLACES),
            reserve: descriptors::reserve(),
            counters,
            state: Mutex::new(state),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an address is a proxy that is believed.
    pub(crate) fn is_trusted(&self, peer: IpAddr) -> bool {
        self.proxy.trusts(peer)
    }

    /// A place for a connection that was just accepted at `own` with this descriptor, until it is a session. A peer on
    /// this machine that is over a limit gets one for a proof, as long as there are any: hence nobody is left waiting in
    /// the queue of the listener when descriptors are short, or proofs would wait there too.
    ///
    /// # Errors
    /// The limit that it is over; counted.
    pub(crate) fn accept(
        self: &Arc<Self>,
        peer: IpAddr,
        own: IpAddr,
        descriptor: u64,
        now: Instant,
    ) -> Result<AcceptPlace, LimitFault> {
        let fault = match self.accept_any(peer, descriptor, now) {
            Ok(place) => return Ok(place),
            Err(fault) => fault,
        };
        if is_this_machine(peer, own)
            && let Ok(permit) = Arc::clone(&self.proofs).try_acquire_owned()
        {
            return Ok(AcceptPlace::for_proof(permit));
        }
        Err(self.counted(fault))
    }

    fn accept_any(
        self: &Arc<Self>,
        peer: IpAddr,
        descriptor: u64,
        now: Instant,
    ) -> Result<AcceptPlace, LimitFault> {
        if descriptor >= self.reserve {
            return Err(LimitFault::Descriptors);
        }
        let connection = permit(&self.connections, LimitFault::Connections)?;
        let unauthenticated = permit(&self.unauthenticated, LimitFault::Unauthenticated)?;
        let mut place = AcceptPlace::new(connection, unauthenticated);
        // Or one proxy would be one client.
        if !self.is_trusted(peer) {
            let counted = self.state().clients.handshake(Who::of(peer), now)?;
            place.count(self, counted);
        }
        Ok(place)
    }

    /// A trusted proxy has told whose connection it is: it counts for that client from here on.
    ///
    /// # Errors
    /// The limit that the client is over; counted.
    pub(crate) fn told(
        self: &Arc<Self>,
        place: &mut AcceptPlace,
        client: IpAddr,
        now: Instant,
    ) -> Result<(), LimitFault> {
        let counted = self.state().clients.handshake(Who::of(client), now);
        place.count(self, counted.map_err(|fault| self.counted(fault))?);
        Ok(())
    }

    /// A place for a session of the client at `address`.
    ///
    /// # Errors
    /// The limit that the client or the tenant is over; counted.
    pub(crate) fn session(
        self: &Arc<Self>,
        address: IpAddr,
        tenant: &Tenant,
    ) -> Result<SessionPlace, LimitFault> {
        let place = self.session_at(address, tenant, Instant::now());
        place.map_err(|fault| self.counted(fault))
    }

    fn session_at(
        self: &Arc<Self>,
        address: IpAddr,
        tenant: &Tenant,
        now: Instant,
    ) -> Result<SessionPlace, LimitFault> {
        let mut state = self.state();
        let limited = tenant.name.as_ref().filter(|_| tenant.sessions > 0);
        if let Some(name) = limited
            && state.tenants.get(name).is_some_and(|sessions| *sessions >= tenant.sessions)
        {
            return Err(LimitFault::TenantSessions);
        }
        let who = state.clients.session(Who::of(address), now)?;
        if let Some(name) = limited {
            *state.tenants.entry(name.clone()).or_default() += 1;
        }
        Ok(SessionPlace::new(Arc::clone(self), who, limited.cloned()))
    }

    /// Whether somebody should be told that this client is over a limit: once in a while.
    pub(crate) fn may_tell(&self, address: IpAddr, now: Instant) -> bool {
        self.state().clients.may_tell(Who::of(address), now)
    }

    /// Connections and sessions that are not authenticated yet.
    #[cfg(test)]
    fn free_unauthenticated(&self) -> usize {
        self.unauthenticated.available_permits()
    }

    fn counted(&self, fault: LimitFault) -> LimitFault {
        self.counters.limit_reached(fault);
        fault
    }
}

/// Whether the other end of a socket is on this machine.
pub(crate) fn is_this_machine(peer: IpAddr, own: IpAddr) -> bool {
    let peer = peer.to_canonical();
    peer.is_loopback() || peer == own.to_canonical()
}

fn permit(permits: &Arc<Semaphore>, fault: LimitFault) -> Result<OwnedSemaphorePermit, LimitFault> {
    Arc::clone(permits).try_acquire_owned().map_err(|_| fault)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
