//! The issuers as the loop sees them: where to order, what is known of their limits, and what they say of
//! our clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use sealwire_proto::anchors::Anchors;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{Agent, Document, SAVE_LIMITS_EVERY};
use crate::clock::TOLERATED;
use crate::incident::Kind;
use crate::issuer::Issuer;
use crate::issuer::internal::InternalIssuer;
use crate::lifecycle::limits::Ledger;
use crate::lifecycle::{self, Block, Issuers, span};
use crate::store::{Store, StoreError};

/// What has been used of each CA's limits, as a document of the store.
const LIMITS: &str = "limits.json";

/// Between two renewals while the clock is in doubt.
pub(super) const CANARY_PAUSE: SignedDuration = SignedDuration::from_secs(10);

/// Questions for renewal information that are under way at the same time, per issuer.
const PARALLEL_QUESTIONS: usize = 4;

/// While the clock is in doubt the CAs are asked for the time this often.
const ASK_TIME_EVERY: Duration = Duration::from_mins(1);
/// And this often in any case.
const CHECK_TIME_EVERY: Duration = Duration::from_hours(6);

/// An issuer with the roots its chains build to.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) issuer: Arc<dyn Issuer>,
    pub(super) anchors: Arc<Anchors>,
    /// The roots that nodes are told of; empty for a public CA.
    pub(super) trust: Arc<[CertificateDer<'static>]>,
    /// Which roots of an embedded CA those are.
    pub(super) roots_version: u64,
    /// Orders under way.
    pub(super) places: Arc<Semaphore>,
    /// Questions under way.
    pub(super) questions: Arc<Semaphore>,
    /// How far our clock is ahead of the CA's, if that is more than tolerated; else zero.
    pub(super) ahead: SignedDuration,
    /// When it was measured.
    heard: Option<Instant>,
}

impl Source {
    pub(super) fn new(issuer: Arc<dyn Issuer>, anchors: Anchors, parallel_orders: usize) -> Self {
        Self {
            // Before the roots themselves: should they change in between, they are only read once more.
            roots_version: issuer.as_internal().map_or(0, InternalIssuer::roots_version),
            trust: issuer.trust_anchors().into(),
            issuer,
            anchors: Arc::new(anchors),
            places: Arc::new(Semaphore::new(parallel_orders)),
            questions: Arc::new(Semaphore::new(PARALLEL_QUESTIONS)),
            ahead: SignedDuration::ZERO,
            heard: None,
        }
    }
}

/// What is kept of an issuer over restarts.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    ledger: Ledger,
    blocked: Option<Block>,
}

/// Brings back what was used of the limits before a restart.
pub(super) fn load_limits(store: &Store, issuers: &mut Issuers) -> Result<(), StoreError> {
    let mut kept: BTreeMap<String, Kept> = store.load_json(LIMITS)?.unwrap_or_default();
    for (name, state) in issuers {
        if let Some(Kept { ledger, blocked }) = kept.remove(name) {
            (state.ledger, state.blocked) = (ledger, blocked);
        }
    }
    Ok(())
}

impl Agent {
    /// Writes the model of limits if it has changed; at once if `now`, else once in a while.
    pub(super) fn save_issuers(&mut self, now: bool) {
        if self.issuers_changed.is_none_or(|since| !now && since.elapsed() < SAVE_LIMITS_EVERY) {
            return;
        }
        let at = self.clock.now();
        let kept: BTreeMap<_, _> = self
            .issuers
            .iter_mut()
            .map(|(name, state)| {
                state.ledger.prune(at);
                state.blocked = state.blocked.take().filter(|block| block.until > at);
                (name.clone(), Kept { ledger: state.ledger.clone(), blocked: state.blocked.clone() })
            })
            .collect();
        self.issuers_changed = None;
        let written = self.store.save_json(LIMITS, &kept);
        if let Err(error) = &written {
            tracing::error!(%error, "cannot remember what is used of the CAs' limits");
        }
        self.disk.note(Document::Limits, &written);
    }

    /// Watches the clock: steps by the time since boot, errors by the CAs' Date headers.
    pub(super) fn watch_clock(&mut self) {
        let (wall, now) = (self.clock.now(), Instant::now());
        if let Some(jumped) = self.clock_watch.observe(wall, self.clock.since_boot(), now) {
            let text = format!(
                "the clock jumped by {}; until a CA confirms the time, what is due only because of the clock is \
                 renewed one by one",
                span(jumped)
            );
            self.incidents.raise(Kind::ClockJumped, "clock", wall, text);
            self.time_asked = None;
        }
        self.hear_skews(wall);
        let doubted = self.clock_is_doubted();
        if !doubted {
            self.incidents.clear(Kind::ClockJumped, "clock", wall);
        }
        let every = if doubted { ASK_TIME_EVERY } else { CHECK_TIME_EVERY };
        if self.time_asked.is_none_or(|asked| asked.elapsed() >= every) {
            self.time_asked = Some(now);
            for source in self.sources.values().filter(|source| source.issuer.tells_time()) {
                let issuer = Arc::clone(&source.issuer);
                tokio::spawn(async move {
                    if let Err(error) = issuer.ask_time().await {
                        tracing::debug!(issuer = issuer.name(), %error, "cannot ask for the time");
                    }
                });
            }
        }
    }

    /// What the CAs say of our clock. Each certificate is judged by the clock of the CA it came from: its
    /// validity was written by that one.
    fn hear_skews(&mut self, wall: Timestamp) {
        let mut moved = Vec::new();
        for (name, source) in &mut self.sources {
            let Some(skew) = source.issuer.clock_skew().filter(|skew| source.heard != Some(skew.measured))
            else {
                continue;
            };
            source.heard = Some(skew.measured);
            self.clock_watch.heard(skew);
            let about = format!("clock of {name}");
            let ahead = if skew.ahead.abs() > TOLERATED { skew.ahead } else { SignedDuration::ZERO };
            if ahead.is_zero() {
                self.incidents.clear(Kind::ClockSkew, &about, wall);
            } else {
                let which = if ahead.is_positive() { "ahead of" } else { "behind" };
                let text = format!(
                    "our clock is {} {which} that of {name}: set it right (chrony, systemd-timesyncd); renewals of its \
                     certificates go by its time meanwhile, but nodes and clients do not",
                    span(ahead.abs())
                );
                self.incidents.raise(Kind::ClockSkew, &about, wall, text);
            }
            // The second of the exchange aside.
            if (ahead - source.ahead).abs() > TOLERATED {
                moved.push(name.clone());
            }
            source.ahead = ahead;
        }
        if moved.is_empty() {
            return;
        }
        let touched: Vec<_> = self
            .certificates
            .values()
            .filter(|managed| {
                managed.current.as_ref().is_some_and(|current| moved.contains(&current.metadata.issuer))
            })
            .map(|managed| Arc::clone(&managed.name))
            .collect();
        for name in touched {
            self.look_at(&name);
        }
    }

    /// Now, by the clock of the CA that a certificate came from.
    pub(super) fn now_for(&self, name: &str) -> Timestamp {
        let current = self.certificates.get(name).and_then(|managed| managed.current.as_ref());
        self.now_at(current.map_or("", |current| &current.metadata.issuer))
    }

    /// Now, by the clock of an issuer.
    pub(super) fn now_at(&self, issuer: &str) -> Timestamp {
        let ahead = self.sources.get(issuer).map_or(SignedDuration::ZERO, |source| source.ahead);
        lifecycle::plus(self.clock.now(), -ahead)
    }

    pub(super) fn clock_is_doubted(&mut self) -> bool {
        let asked = self.sources.values().any(|source| source.issuer.tells_time());
        self.clock_watch.is_doubted(Instant::now(), asked)
    }
}
