//! Watches what is served and does what the breaker says: the effects of `breaker.rs`. The state is behind a lock
//! that is held for microseconds; sessions, upgrades and handshakes read an atomic or a watch channel.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sealwire_proto::v1;
use tokio::sync::{Notify, watch};

use crate::audit::Audit;
use crate::breaker::findings::{self, Revocation, Revocations};
use crate::breaker::{Breaker, Effect, Event, State};
use crate::certs::prove::OwnListener;
use crate::certs::{CertReader, Served, prove};
use crate::config::Config;
use crate::counters::Counters;
use crate::readiness::Readiness;
use crate::tickets::Tickets;

/// What is served is looked at this often at least: a step of the clock or a suspended machine is noticed then. It
/// costs microseconds.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Revoked leaves that are remembered: one at a time is served of each certificate.
const MAX_REVOCATIONS: usize = 1024;
/// What is kept of a text that the agent sends.
const MAX_TEXT_CHARS: usize = 256;

/// What sessions may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// All is well.
    Flowing,
    /// Publications wait.
    Halted,
    /// Sessions have waited long enough.
    SendAway,
}

/// The breaker with its surroundings.
#[derive(Debug)]
pub(crate) struct Guard {
    server_names: Vec<String>,
    reader: CertReader,
    readiness: Arc<Readiness>,
    counters: Arc<Counters>,
    audit: Arc<Audit>,
    tickets: Arc<Tickets>,
    state: Mutex<Watched>,
    open: AtomicBool,
    gate: watch::Sender<Gate>,
    /// Counts what the agent should hear of.
    news: watch::Sender<u64>,
    /// The deadline may have changed.
    wake: Notify,
    /// Counts what the loop has looked at.
    turns: watch::Sender<u64>,
    /// Where proofs are made.
    listener: OwnListener,
}

#[derive(Debug)]
struct Watched {
    breaker: Breaker,
    revocations: Revocations,
    /// Names that were covered once.
    covered: BTreeSet<String>,
}

impl Guard {
    pub(crate) fn new(
        config: &Config,
        reader: CertReader,
        readiness: Arc<Readiness>,
        counters: Arc<Counters>,
        audit: Arc<Audit>,
        tickets: Arc<Tickets>,
        listener: OwnListener,
    ) -> Self {
        let breaker = Breaker::new(config.breaker.clone(), Timestamp::now());
        let watched = Watched { breaker, revocations: Revocations::new(), covered: BTreeSet::new() };
        Self {
            server_names: config.server_names.clone(),
            reader,
            readiness,
            counters,
            audit,
            tickets,
            state: Mutex::new(watched),
            open: AtomicBool::new(false),
            gate: watch::channel(Gate::Flowing).0,
            news: watch::channel(0).0,
            wake: Notify::new(),
            turns: watch::channel(0).0,
            listener,
        }
    }

    fn state(&self) -> MutexGuard<'_, Watched> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether state propagation is halted.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Told when sessions must change what they do.
    pub(crate) fn gate(&self) -> watch::Receiver<Gate> {
        self.gate.subscribe()
    }

    /// Told when the agent should hear of the breaker.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// As the agent is told.
    pub(crate) fn report(&self) -> v1::Breaker {
        let state = self.state();
        let breaker = &state.breaker;
        let word = match breaker.state() {
            State::Closed => v1::BreakerState::Closed,
            State::Open => v1::BreakerState::Open,
            State::HalfOpen => v1::BreakerState::HalfOpen,
        };
        v1::Breaker {
            state: word.into(),
            causes: breaker.causes().map(|(cause, _)| cause.as_str().to_owned()).collect(),
            detail: breaker.detail(),
            since_ms: breaker.since().as_millisecond(),
        }
    }

    /// Looks at what is served until the node stops.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let wait = self.look();
            self.turns.send_modify(|turns| *turns += 1);
            // A deadline of the wall clock: slept for in short pieces, and looked at anew after each.
            let _ = tokio::time::timeout(wait.min(LOOK_EVERY), self.wake.notified()).await;
        }
    }

    /// Comes back once the loop has looked at what is served: never, if it is stuck.
    pub(crate) async fn turn(&self) {
        let mut turns = self.turns.subscribe();
        self.wake.notify_one();
        // The sender lives as long as this does.
        let _ = turns.changed().await;
    }

    /// Looks at what is served now; tells how long nothing changes by itself.
    fn look(self: &Arc<Self>) -> Duration {
        // What is looked at last must be observed last: under the lock from here on.
        let mut state = self.state();
        let now = Timestamp::now();
        let presented = self.reader.presented(&self.server_names);
        let names = presented.iter().flat_map(|(_, names)| names.iter().cloned());
        let covered: BTreeSet<String> = names.collect();
        let missing: Vec<String> = state.covered.difference(&covered).cloned().collect();
        state.covered.extend(covered);
        let presented: Vec<_> = presented.into_iter().map(|(served, _)| served).collect();
        let found = findings::find(&presented, &missing, &state.revocations, now);
        self.step(&mut state, Event::Observed(found), now);
        let change = findings::next_change(&presented, now);
        let next = change.into_iter().chain(state.breaker.deadline()).min();
        next.map_or(LOOK_EVERY, |next| Duration::try_from(next.duration_since(now)).unwrap_or_default())
    }

    /// What is served has changed from `old`.
    pub(crate) fn swapped(self: &Arc<Self>, old: Option<&Served>, new: &Served) {
        let distrusted = old.is_some_and(|old| {
            old.leaf.sha256 != new.leaf.sha256 && self.state().revocations.contains_key(&old.leaf.sha256)
        });
        if distrusted {
            self.replace_tickets("a distrusted leaf was replaced");
        }
        self.look();
        self.wake.notify_one();
    }

    /// The agent says that a leaf is revoked or distrusted.
    pub(crate) fn revoked(self: &Arc<Self>, said: v1::Revoked) {
        let v1::Revoked { certificate, generation, leaf_sha256, reason, halt } = said;
        let Ok(leaf) = <[u8; 32]>::try_from(leaf_sha256) else {
            tracing::warn!(
                certificate,
                generation,
                "a revocation without the digest of a leaf is passed over"
            );
            return;
        };
        let revocation = Revocation { reason: shortened(&reason), halts: halt };
        let mut state = self.state();
        // The agent says it again on every new stream.
        if state.revocations.get(&leaf) == Some(&revocation) {
            return;
        }
        let reason = &revocation.reason;
        tracing::warn!(target: "audit", certificate, generation, reason, halt, "revoked");
        self.audit.note("revoked", format!("{certificate}, generation {generation}: {reason}"));
        if state.revocations.len() >= MAX_REVOCATIONS && !state.revocations.contains_key(&leaf) {
            let reader = &self.reader;
            state.revocations.retain(|leaf, _| reader.with_leaf(*leaf).is_some());
        }
        let is_new = state.revocations.insert(leaf, revocation).is_none();
        drop(state);
        if is_new {
            self.replace_tickets("the agent distrusts a leaf");
        }
        self.look();
        self.wake.notify_one();
    }

    /// Whether a leaf is known to be revoked.
    pub(crate) fn is_revoked(&self, leaf: &[u8; 32]) -> bool {
        self.state().revocations.contains_key(leaf)
    }

    /// An operator opens the breaker.
    pub(crate) fn halt(self: &Arc<Self>, by: &str, reason: &str) {
        let (by, reason) = (shortened(by), shortened(reason));
        let mut state = self.state();
        if state.breaker.is_halted() {
            tracing::debug!(by, reason, "halted again");
        } else {
            tracing::warn!(target: "audit", by, reason, "halted by hand");
            self.audit.note("halted", format!("by {by}: {reason}"));
        }
        self.step(&mut state, Event::Halt { by, reason }, Timestamp::now());
        drop(state);
        self.wake.notify_one();
    }

    /// An operator lets it close.
    pub(crate) fn resume(self: &Arc<Self>, by: &str) {
        let mut state = self.state();
        // The agent says it on every new stream: a halt may have been taken back while the node was away.
        if !state.breaker.is_halted() {
            return;
        }
        let by = shortened(by);
        tracing::warn!(target: "audit", by, "resumed by hand");
        self.audit.note("resumed", format!("by {by}"));
        self.step(&mut state, Event::Resume, Timestamp::now());
        drop(state);
        self.wake.notify_one();
    }

    fn replace_tickets(&self, why: &str) {
        self.tickets.replace();
        tracing::info!(target: "audit", why, "session tickets: a new key, the old ones are void");
        self.audit.note("tickets_void", why.to_owned());
    }

    fn step(self: &Arc<Self>, state: &mut Watched, event: Event, now: Timestamp) {
        let effects = state.breaker.step(event, now);
        if effects.is_empty() {
            return;
        }
        for effect in effects {
            match effect {
                Effect::Changed { from, to } => self.changed(&state.breaker, from, to),
                Effect::Warned => {
                    let detail = state.breaker.detail();
                    tracing::warn!(target: "audit", state = state.breaker.state().as_str(), detail, "breaker: causes");
                    self.audit.note("breaker_causes", detail);
                }
                Effect::Prove { attempt } => {
                    tokio::spawn(Arc::clone(self).prove(attempt));
                }
                Effect::SendAway => {
                    tracing::warn!(target: "audit", "breaker: sessions are closed with 1013");
                    self.audit.note("sessions_sent_away", "closed with 1013".to_owned());
                    self.gate.send_replace(Gate::SendAway);
                }
            }
        }
        let halted = state.breaker.state() != State::Closed;
        self.readiness.halted(halted.then(|| state.breaker.detail()));
        self.news.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn changed(&self, breaker: &Breaker, from: State, to: State) {
        let causes: Vec<_> = breaker.causes().map(|(cause, _)| cause.as_str()).collect();
        let (causes, detail) = (causes.join(","), breaker.detail());
        tracing::warn!(target: "audit", from = from.as_str(), to = to.as_str(), causes, detail, "breaker");
        let what = match to {
            State::Open => "breaker_open",
            State::HalfOpen => "breaker_half_open",
            State::Closed => "breaker_closed",
        };
        self.audit.note(what, if detail.is_empty() { format!("from {}", from.as_str()) } else { detail });
        match (from, to) {
            (State::Closed, _) => {
                Counters::add(&self.counters.breaker_opened);
                // First the atomic, so that no publication slips in after the notice.
                self.open.store(true, Ordering::Release);
                self.gate.send_replace(Gate::Halted);
            }
            (_, State::Closed) => {
                Counters::add(&self.counters.breaker_closed);
                self.open.store(false, Ordering::Release);
                self.gate.send_replace(Gate::Flowing);
            }
            _ => {}
        }
    }

    /// One handshake for each name must see what is served.
    async fn prove(self: Arc<Self>, attempt: u64) {
        let result = self.seen().await;
        let mut state = self.state();
        self.step(&mut state, Event::Proof { attempt, result }, Timestamp::now());
        drop(state);
        self.wake.notify_one();
    }

    async fn seen(&self) -> Result<(), String> {
        let presented = self.reader.presented(&self.server_names);
        if presented.is_empty() {
            return Err("nothing is served".to_owned());
        }
        for (served, names) in &presented {
            prove::once(self.listener, names, served, &self.reader).await?;
        }
        let now = self.reader.presented(&self.server_names);
        let same = now.len() == presented.len()
            && now.iter().zip(&presented).all(|((now, _), (seen, _))| Arc::ptr_eq(now, seen));
        if same { Ok(()) } else { Err("something else is served by now".to_owned()) }
    }
}

/// Texts of others are not kept at any length.
fn shortened(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(MAX_TEXT_CHARS).collect()
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
