//! The record of decisions about security: who was refused what, and why. Decisions go into a file of JSON lines or into
//! the log, at a limited rate, and all of them into a bounded memory that `wss-node why` looks at. Nothing here makes
//! the node wait.

mod file;
mod line;
mod lines;
mod memory;
mod rate;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::config::AuditConfig;
use crate::counters::Counters;
use file::AuditFile;
pub use file::AuditFileError;
use line::Line;
pub(crate) use memory::Decision;
use memory::Memory;
use rate::Rate;
use tokio::signal::unix::{SignalKind, signal};

/// How often what was left out is told in sum.
const SUM_EVERY: Duration = Duration::from_secs(1);
/// What is kept of a text that others may have written.
const MAX_TEXT_CHARS: usize = 512;

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// In snake case: `origin_refused`, `token_refused`, `limit_reached`, `disconnected` and the like.
    pub(crate) what: &'static str,
    /// Whom it was about.
    pub(crate) address: Option<IpAddr>,
    /// Id of the session, once there is one.
    pub(crate) session: Option<String>,
    /// `sub` of its token.
    pub(crate) user: Option<String>,
    /// Name of the tenant; `None`: that of everybody.
    pub(crate) tenant: Option<String>,
    /// In words, for people; never a token.
    pub(crate) detail: String,
}

/// Where decisions are told.
#[derive(Debug)]
pub(crate) struct Audit {
    state: Mutex<State>,
    /// `None`: into the log.
    file: Option<AuditFile>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct State {
    rate: Rate,
    memory: Memory,
}

impl Audit {
    /// As configured; opens the file.
    ///
    /// # Errors
    /// [`AuditFileError`]: the file cannot be opened.
    pub(crate) fn new(config: &AuditConfig, counters: Arc<Counters>) -> Result<Self, AuditFileError> {
        let file = config.file.as_deref().map(|path| AuditFile::open(path, Arc::clone(&counters)));
        let state =
            State { rate: Rate::new(config.lines_per_second), memory: Memory::new(config.remembered) };
        Ok(Self { state: Mutex::new(state), file: file.transpose()?, counters })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells a decision, unless there were too many lately; remembers it in any case.
    pub(crate) fn record(&self, entry: &Entry) {
        self.tell(entry, None);
    }

    /// The same about a client whose socket has this other end: a proxy, or the client itself.
    pub(crate) fn record_from(&self, entry: &Entry, peer: SocketAddr) {
        self.tell(entry, Some(peer));
    }

    fn tell(&self, entry: &Entry, peer: Option<SocketAddr>) {
        let decision = Decision::new(entry, peer, Timestamp::now());
        let mut state = self.state();
        let told = state.rate.admit(entry.what, Instant::now());
        state.memory.keep(decision.clone());
        drop(state);
        if !told {
            Counters::add(&self.counters.audit_left_out);
            return;
        }
        match &self.file {
            Some(file) => file.write(&Line::of(&decision)),
            None => log(&decision),
        }
    }

    /// A decision about the whole node: a halt, its end, a revocation. Always told; whoever decides it has a line in the
    /// log for it already.
    pub(crate) fn note(&self, what: &'static str, detail: String) {
        let entry = Entry { what, address: None, session: None, user: None, tenant: None, detail };
        let decision = Decision::new(&entry, None, Timestamp::now());
        if let Some(file) = &self.file {
            file.write(&Line::of(&decision));
        }
        self.state().memory.keep(decision);
    }

    /// What was decided about an address, a network, a session or a user, the newest first, at most `limit`.
    pub(crate) fn about(&self, whom: &str, limit: usize) -> Vec<Decision> {
        self.state().memory.about(whom, limit)
    }

    /// Decisions that were too many to be remembered.
    pub(crate) fn forgotten(&self) -> u64 {
        self.state().memory.forgotten()
    }

    /// Tells in sum what was left out, and opens the file anew on SIGHUP, until it is dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SUM_EVERY);
        // Only who has a file expects the signal; for others it means the end.
        let mut hangup = self.file.as_ref().and_then(|_| signal(SignalKind::hangup()).ok());
        loop {
            let hung_up = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = ticks.tick() => self.sum_up(),
                _ = hung_up => if let Some(file) = &self.file {
                    file.reopen();
                },
            }
        }
    }

    fn sum_up(&self) {
        let left_out = self.state().rate.take_left_out(Instant::now());
        for (what, count, during) in left_out {
            let seconds = during.as_secs_f64().ceil();
            let detail = format!("{count} more {what} in the last {seconds} s");
            match &self.file {
                Some(file) => file.write(&Line::left_out(what, count, &detail, Timestamp::now())),
                None => {
                    tracing::info!(target: "audit", what = "left_out", left_out = what, count, detail, "decisions")
                }
            }
        }
    }

    /// Waits until all that was told is in the file, but not for long.
    pub(crate) async fn flush(&self) {
        self.sum_up();
        if let Some(file) = &self.file {
            file.flush().await;
        }
    }
}

fn log(decision: &Decision) {
    let Decision { entry: Entry { what, address, session, user, tenant, detail }, peer, .. } = decision;
    tracing::info!(
        target: "audit",
        what,
        address = address.map(tracing::field::display),
        peer = peer.map(tracing::field::display),
        session,
        user,
        tenant,
        detail,
        "decision"
    );
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
