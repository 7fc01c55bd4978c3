//! Failed handshakes as nodes report them, judged by rate: a single reset or a single client that finds a
//! certificate expired says nothing, a minute full of them does. Pure: instants come in as arguments.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use sealwire_proto::v1::Report;

use crate::config::RatesConfig;
use crate::incident::Kind;

/// What is counted is what happened within this span.
pub const WINDOW: Duration = Duration::from_mins(1);
/// A node that has said nothing for so long (it reports every 10 s) is not judged any more.
const SILENT: Duration = Duration::from_mins(2);
/// A storm is over when there is less than this part of what began it.
const CALM: f64 = 0.5;
/// Reports of one node that are remembered: one a second in the window. Nodes report on change, too.
const MAX_SAMPLES: usize = 64;

/// Reasons in [`Report::failures`] that are judged, as nodes name them.
const RESET: &str = "reset";
const CERTIFICATE_EXPIRED: &str = "certificate_expired";

/// Counts since the start of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    handshakes: u64,
    resets: u64,
    expired: u64,
}

impl Counts {
    fn of(report: &Report) -> Self {
        let count = |reason: &str| report.failures.get(reason).copied().unwrap_or(0);
        Self {
            handshakes: report.handshakes.saturating_add(report.handshake_failures),
            resets: count(RESET),
            expired: count(CERTIFICATE_EXPIRED),
        }
    }

    /// What has happened since; `None` if a count went back: the node began anew.
    fn since(&self, before: &Self) -> Option<Self> {
        Some(Self {
            handshakes: self.handshakes.checked_sub(before.handshakes)?,
            resets: self.resets.checked_sub(before.resets)?,
            expired: self.expired.checked_sub(before.expired)?,
        })
    }
}

/// What is remembered of one node.
#[derive(Clone, Debug)]
struct Node {
    /// The oldest is the last one before the window, where there is one.
    samples: VecDeque<(Instant, Counts)>,
    resets: bool,
    expired: bool,
}

/// A storm that began, goes on, or is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// [`Kind::ResetStorm`] or [`Kind::ExpiredHandshakes`].
    pub kind: Kind,
    /// Whose listeners.
    pub node_id: String,
    /// What to say of it; `None`: it is over.
    pub text: Option<String>,
}

/// The rates of all nodes.
#[derive(Debug)]
pub struct Rates {
    thresholds: RatesConfig,
    nodes: BTreeMap<String, Node>,
}

impl Rates {
    /// Nothing has been reported yet.
    #[must_use]
    pub fn new(thresholds: RatesConfig) -> Self {
        Self { thresholds, nodes: BTreeMap::new() }
    }

    /// A node reported. Gives what is to be said: every storm that goes on, and those that are over.
    pub fn report(&mut self, node_id: &str, report: &Report, now: Instant) -> Vec<Verdict> {
        let counts = Counts::of(report);
        let node = self.nodes.entry(node_id.to_owned()).or_insert_with(|| Node {
            // What happened before the first report happened nobody knows when.
            samples: VecDeque::from([(now, counts)]),
            resets: false,
            expired: false,
        });
        node.take(counts, now);
        node.judge(node_id, &self.thresholds)
    }

    /// Time passed: nodes that fell silent are forgotten, and so are their storms.
    pub fn tick(&mut self, now: Instant) -> Vec<Verdict> {
        let mut over = Vec::new();
        self.nodes.retain(|node_id, node| {
            let last = node.samples.back().map_or(now, |(at, _)| *at);
            let silent = now.saturating_duration_since(last) > SILENT;
            if silent {
                let storms = [(Kind::ResetStorm, node.resets), (Kind::ExpiredHandshakes, node.expired)];
                let ended = storms.into_iter().filter(|(_, on)| *on);
                over.extend(ended.map(|(kind, _)| Verdict { kind, node_id: node_id.clone(), text: None }));
            }
            !silent
        });
        over
    }
}

impl Node {
    fn take(&mut self, counts: Counts, now: Instant) {
        if let Some((at, before)) = self.samples.back().copied()
            && counts.since(&before).is_none()
        {
            // It counts from zero again, and began to some time after its last report.
            self.samples = VecDeque::from([(at, Counts::default())]);
        }
        self.samples.push_back((now, counts));
        let is_old = |at: Instant| now.saturating_duration_since(at) >= WINDOW;
        while self.samples.len() > 2 && is_old(self.samples[1].0) {
            self.samples.pop_front();
        }
        if self.samples.len() > MAX_SAMPLES {
            // The newest but one: the beginning of the window is what counts.
            self.samples.remove(MAX_SAMPLES - 1);
        }
    }

    /// What happened since the beginning of the window.
    fn within(&self) -> Counts {
        let (Some((_, first)), Some((_, last))) = (self.samples.front(), self.samples.back()) else {
            return Counts::default();
        };
        last.since(first).unwrap_or_default()
    }

    fn judge(&mut self, node_id: &str, thresholds: &RatesConfig) -> Vec<Verdict> {
        let Counts { handshakes, resets, expired } = self.within();
        let share = |count: u64| count as f64 / handshakes.max(count).max(1) as f64;
        let mut verdicts = Vec::new();
        let mut say = |kind, was: &mut bool, on: bool, text: String| {
            if on || *was {
                let text = on.then_some(text);
                verdicts.push(Verdict { kind, node_id: node_id.to_owned(), text });
            }
            *was = on;
        };
        let many = |was: bool, count: u64, threshold: u64| {
            let threshold = if was { threshold as f64 * CALM } else { threshold as f64 };
            count as f64 >= threshold.max(1.0)
        };
        let share_needed = thresholds.reset_share * if self.resets { CALM } else { 1.0 };
        let on = many(self.resets, resets, thresholds.resets_per_minute) && share(resets) >= share_needed;
        let text = format!("{resets} of {handshakes} handshakes were reset by clients within a minute");
        say(Kind::ResetStorm, &mut self.resets, on, text);
        let on = many(self.expired, expired, thresholds.expired_per_minute);
        let text = format!(
            "{expired} of {handshakes} handshakes ended because clients find the certificate expired, within a minute"
        );
        say(Kind::ExpiredHandshakes, &mut self.expired, on, text);
        verdicts
    }
}

#[cfg(test)]
#[path = "rates_tests.rs"]
mod tests;
