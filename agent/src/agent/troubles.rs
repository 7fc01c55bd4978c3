//! What becomes an incident, and when it is over: outcomes of deliveries, reports of nodes, ends of validity,
//! receivers of alerts.

use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use sealwire_proto::v1::{Breaker, BreakerState};

use super::Agent;
use crate::alert::rates::Verdict;
use crate::delivery::{Outcome, nack_text};
use crate::incident::{self, Kind, Subject, expiry};
use crate::issuer::IssueError;
use crate::lifecycle::{plus, span};

/// As often as CAs are asked for the time then.
const WHILE_IN_DOUBT: SignedDuration = SignedDuration::from_mins(1);

impl Agent {
    /// A delivery came further, or did not. Call it when `records` and quarantine say so too.
    pub(super) fn judge_outcome(
        &mut self,
        node_id: &str,
        name: &str,
        generation: u64,
        outcome: &Outcome,
        now: Timestamp,
    ) {
        let about = incident::on(name, node_id);
        if !matches!(outcome, Outcome::Pushed | Outcome::Unanswered) {
            self.incidents.clear(Kind::Unanswered, &about, now);
        }
        match outcome {
            Outcome::Nacked { reason, detail } => {
                let text = format!("generation {generation} was refused: {}", nack_text(*reason, detail));
                self.incidents.raise(Kind::Refused, &about, now, text);
            }
            Outcome::Unproven { error } => {
                let text = format!("generation {generation} was acknowledged, but is not seen: {error}");
                self.incidents.raise(Kind::Unproven, &about, now, text);
            }
            Outcome::Unanswered => {
                let limit = self.config.delivery.ack_timeout;
                let text = format!("generation {generation} was neither taken nor refused within {limit:?}");
                self.incidents.raise(Kind::Unanswered, &about, now, text);
            }
            Outcome::StapleRefused { detail } => {
                let text = format!("the staple of generation {generation} is not presented: {detail}");
                self.incidents.raise(Kind::Refused, &about, now, text);
            }
            Outcome::Stapled if self.is_newest_good(name, generation) => {
                self.incidents.clear(Kind::Refused, &about, now);
            }
            // Seeing the old one again, after a rollback, mends nothing: the new one is still wanted.
            Outcome::Proven { .. } if self.is_newest_good(name, generation) => {
                self.incidents.clear(Kind::Refused, &about, now);
                self.incidents.clear(Kind::Unproven, &about, now);
            }
            _ => {}
        }
    }

    /// Whether no generation from this one on was refused.
    fn is_newest_good(&self, name: &str, generation: u64) -> bool {
        let Some(managed) = self.certificates.get(name) else { return true };
        managed.memory.quarantined.iter().all(|refused| refused.generation < generation)
    }

    /// A node told how it is.
    pub(super) fn judge_report(&mut self, node_id: &str, now: Timestamp) {
        let Some(node) = self.nodes.get(node_id) else { return };
        if let Some(breaker) = &node.report.breaker {
            match breaker.state() {
                BreakerState::Open | BreakerState::HalfOpen => {
                    let text = breaker_text(breaker);
                    self.incidents.raise(Kind::BreakerOpen, node_id, now, text);
                }
                BreakerState::Closed => self.incidents.clear(Kind::BreakerOpen, node_id, now),
                BreakerState::Unspecified => {}
            }
        }
        let verdicts = self.rates.report(node_id, &node.report, Instant::now());
        self.judge_rates(verdicts, now);
    }

    fn judge_rates(&mut self, verdicts: Vec<Verdict>, now: Timestamp) {
        for Verdict { kind, node_id, text } in verdicts {
            match text {
                Some(text) => self.incidents.raise(kind, &node_id, now, text),
                None => self.incidents.clear(kind, &node_id, now),
            }
        }
    }

    /// An attempt ended. What the CA issued did not pass the gate, or did.
    pub(super) fn judge_attempt(&mut self, name: &str, error: Option<&IssueError>) {
        let now = self.clock.now();
        match error {
            Some(error) if error.gate => {
                self.incidents.raise(Kind::GateFailed, name, now, error.message.clone());
            }
            // Whatever else went wrong says nothing about what would have been issued.
            Some(_) => {}
            None => self.incidents.clear(Kind::GateFailed, name, now),
        }
    }

    /// Judges the end of validity; tells when to look again by the clock alone.
    pub(super) fn judge_expiry(&mut self, name: &str) -> Option<Timestamp> {
        // Everything would be expired by a clock that ran ahead.
        let (here, now) = (self.clock.now(), self.now_for(name));
        if self.clock_is_doubted() {
            return Some(plus(here, WHILE_IN_DOUBT));
        }
        let managed = self.certificates.get(name)?;
        let failure = managed.memory.last_failure.as_ref();
        let why = failure.map_or_else(String::new, |failure| {
            format!("; {} failure(s), the last: {}", managed.memory.failures, failure.message)
        });
        let (verdict, text) = match &managed.current {
            Some(current) => {
                let (from, to) = (current.not_before(), current.not_after());
                let verdict = expiry::judge(now, from, to, managed.config.renew_at);
                let text = match verdict.kind {
                    Some(Kind::Expired) => format!("expired {} ago", span(now.duration_since(to))),
                    _ => format!("{} are left", span(expiry::left(now, to))),
                };
                (verdict, text)
            }
            None => {
                let kind = expiry::judge_missing(managed.memory.failures);
                (expiry::Verdict { kind, next: None }, "there is no certificate".to_owned())
            }
        };
        for kind in [Kind::ExpiresSoon, Kind::Expired] {
            if verdict.kind == Some(kind) {
                self.incidents.raise(kind, name, here, format!("{text}{why}"));
            } else {
                self.incidents.clear(kind, name, here);
            }
        }
        // By the time of the CA it was written by; we are woken by our own clock.
        verdict.next.map(|next| plus(next, here.duration_since(now)))
    }

    /// Once a turn: nodes that fell silent, receivers that are down, what could not be written. Then everything is
    /// kept and told.
    pub(super) fn keep_incidents(&mut self, last: bool) {
        let now = self.clock.now();
        let silent = self.rates.tick(Instant::now());
        self.judge_rates(silent, now);
        for trouble in self.incidents.receivers(Instant::now()) {
            match trouble.text {
                // Not with each turn: the count is of news.
                Some(text) if self.incidents.says(Kind::AlertsUnsent, &trouble.receiver, &text) => {}
                Some(text) => self.incidents.raise(Kind::AlertsUnsent, &trouble.receiver, now, text),
                None => self.incidents.clear(Kind::AlertsUnsent, &trouble.receiver, now),
            }
        }
        self.watch_disk();
        let saved = self.incidents.keep(&self.store, now, last);
        for (document, result) in
            [(super::disk::Document::Incidents, saved.written), (super::disk::Document::Alerts, saved.told)]
        {
            let Some(result) = result else { continue };
            if let Err(error) = &result {
                tracing::error!(%error, "incidents are not on disk; a restart would forget them");
            }
            self.disk.note(document, &result);
        }
    }

    /// At the start: what was wrong with the machine is found out anew.
    pub(super) fn forget_machine(&mut self, now: Timestamp) {
        let open = self.incidents.open().filter(|incident| incident.kind.subject() == Subject::Machine);
        let open: Vec<_> = open.map(|incident| (incident.kind, incident.about.clone())).collect();
        for (kind, about) in open {
            self.incidents.clear(kind, &about, now);
        }
    }

    /// Who is gone for good has no incidents: certificates that are not configured, nodes that are forgotten.
    pub(super) fn forget_gone(&mut self, now: Timestamp) {
        let known =
            |id: &str| self.nodes.contains_key(id) || self.records.nodes().any(|(seen, _)| seen == id);
        let receivers = self.incidents.unsent();
        let gone = |kind: Kind, about: &str| match kind.subject() {
            Subject::Certificate => !self.certificates.contains_key(about),
            Subject::Node => !known(about),
            Subject::Delivery => incident::certificate_and_node(about)
                .is_none_or(|(name, node)| !self.certificates.contains_key(name) || !known(node)),
            Subject::Issuer => !self.sources.contains_key(about),
            Subject::Receiver => !receivers.contains_key(about),
            Subject::Machine => false,
        };
        let gone: Vec<_> = self
            .incidents
            .open()
            .filter(|incident| gone(incident.kind, &incident.about))
            .map(|incident| (incident.kind, incident.about.clone()))
            .collect();
        for (kind, about) in gone {
            self.incidents.clear(kind, &about, now);
        }
    }
}

/// Why it is open, in words.
fn breaker_text(breaker: &Breaker) -> String {
    let state = if breaker.state() == BreakerState::HalfOpen { "half-open" } else { "open" };
    let causes =
        if breaker.causes.is_empty() { "no cause told".to_owned() } else { breaker.causes.join(", ") };
    if breaker.detail.is_empty() {
        return format!("the breaker is {state}: {causes}");
    }
    format!("the breaker is {state}: {causes}: {}", breaker.detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_breaker_names_all_causes() {
        let mut breaker = Breaker { state: BreakerState::Open.into(), ..Breaker::default() };
        assert_eq!(breaker_text(&breaker), "the breaker is open: no cause told");
        breaker.causes = vec!["expired".to_owned(), "halted".to_owned()];
        breaker.detail = "by uid 0".to_owned();
        assert_eq!(breaker_text(&breaker), "the breaker is open: expired, halted: by uid 0");
    }
}
