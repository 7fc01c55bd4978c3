//! What follows from what is known of revocation: replacements, incidents, status.

use std::sync::Arc;

use jiff::Timestamp;
use sealwire_proto::v1::{RevocationStatus, StepKind};

use super::Agent;
use super::managed::Managed;
use crate::config::OcspMode;
use crate::incident::Kind;
use crate::revocation::watch::{ChainKey, Judged};
use crate::revocation::{Finding, Verdict};
use crate::store::Generation;

impl Agent {
    /// Draws the conclusions from what is known of a generation now.
    pub(super) fn review(&mut self, key: &ChainKey) {
        let now = self.clock.now();
        let Some(judged) = self.revocations.watch.judge(key, now) else { return };
        if let Verdict::Revoked(finding) = &judged.verdict {
            self.distrust(key, finding);
        }
        let Some(managed) = self.certificates.get_mut(&*key.0) else { return };
        let staple = self.revocations.watch.staple(key, now);
        let place = managed.staples.iter().position(|(number, _)| *number == key.1);
        let before = place.map(|place| managed.staples.swap_remove(place).1);
        self.unpublished |= before != staple;
        managed.staples.extend(staple.map(|staple| (key.1, staple)));
        if managed.current.as_ref().is_none_or(|current| current.number != key.1) {
            return;
        }
        let name = Arc::clone(&managed.name);
        self.tell_unknown(&name, &judged, now);
        self.tell_unstapled(key, &judged, now);
        if let Some(managed) = self.certificates.get_mut(&*name) {
            managed.revocation = Some(Box::new(judged));
        }
    }

    /// A revocation was found: remembered, told, and replaced at once if it is the current generation.
    fn distrust(&mut self, (name, number): &ChainKey, finding: &Finding) {
        let now = self.clock.now();
        let Some(managed) = self.certificates.get_mut(&**name) else { return };
        if managed.memory.revocation(*number).is_some() {
            return;
        }
        let why = finding.to_string();
        managed.memory.revoke_because(*number, now, why.clone());
        let is_current = managed.current.as_ref().is_some_and(|current| current.number == *number);
        self.save_memory(name);
        self.step(name, *number, StepKind::Distrusted, why);
        self.tell_revoked(name);
        // Nodes are told of it, too.
        self.unpublished = true;
        if is_current {
            self.look_at(name);
        }
    }

    /// Raises the incident of revoked generations that are current or still served, or ends it.
    pub(super) fn tell_revoked(&mut self, name: &str) {
        let now = self.clock.now();
        let Some(managed) = self.certificates.get(name) else { return };
        let numbers = managed.followed.iter();
        let revoked: Vec<_> = numbers.filter_map(|number| managed.memory.revocation(*number)).collect();
        if revoked.is_empty() {
            self.incidents.clear(Kind::Revoked, name, now);
            return;
        }
        let current = managed.current.as_ref().map_or(0, |current| current.number);
        let text = revoked
            .iter()
            .map(|revoked| {
                let place = if revoked.generation == current {
                    "another one is being ordered"
                } else {
                    "a node still serves it"
                };
                format!("generation {}: {}; {place}", revoked.generation, revoked.why())
            })
            .collect::<Vec<_>>()
            .join("; ");
        self.incidents.raise(Kind::Revoked, name, now, text);
    }

    fn tell_unknown(&mut self, name: &str, judged: &Judged, now: Timestamp) {
        match &judged.verdict {
            Verdict::Unknown { since, why }
                if now.duration_since(*since) >= self.revocations.unknown_after =>
            {
                let text = format!("since {since:.0} nobody could say whether it is revoked: {why}");
                self.incidents.raise(Kind::RevocationUnknown, name, now, text);
            }
            _ => self.incidents.clear(Kind::RevocationUnknown, name, now),
        }
    }

    fn tell_unstapled(&mut self, key: &ChainKey, judged: &Judged, now: Timestamp) {
        let name = &*key.0;
        let required =
            self.certificates.get(name).is_some_and(|managed| managed.config.ocsp == OcspMode::Require);
        // What is revoked has no good response; that is told as what it is.
        let missing = self
            .revocations
            .watch
            .unstapled(key, now)
            .filter(|_| !matches!(judged.verdict, Verdict::Revoked(_)))
            .filter(|missing| {
                let long = now.duration_since(missing.since) >= self.revocations.unknown_after;
                // A leaf without a responder is what its CA makes it: a fault only if one is required.
                required || (missing.asked && (missing.had || long))
            });
        match missing {
            Some(missing) => {
                let text = format!("no OCSP response to present since {:.0}: {}", missing.since, missing.why);
                self.incidents.raise(Kind::StapleStale, name, now, text);
            }
            None => self.incidents.clear(Kind::StapleStale, name, now),
        }
    }

    /// A new generation has the key of one that is revoked: an attempt that reuses the key was under way when that
    /// was found.
    pub(super) fn tainted(&self, name: &str, new: &Generation) -> Option<String> {
        let managed = self.certificates.get(name)?;
        let old = managed.current.as_ref().filter(|current| current.key == new.key)?;
        managed.memory.revocation(old.number)?;
        Some(format!("its key is that of generation {}, which is revoked", old.number))
    }

    /// For the status.
    pub(super) fn revocation_status(&self, managed: &Managed) -> Option<RevocationStatus> {
        let current = managed.current.as_ref()?;
        let key = (Arc::clone(&managed.name), current.number);
        let next = self.revocations.watch.next_question(&key);
        let mut status = RevocationStatus {
            next_ms: next.map_or(0, Timestamp::as_millisecond),
            staple_next_update_ms: managed
                .staple(current.number, self.clock.now())
                .map_or(0, |staple| staple.next_update.as_millisecond()),
            ..RevocationStatus::default()
        };
        let (state, detail, since) = self.revocation_words(managed)?;
        (status.state, status.detail) = (state.to_owned(), detail);
        status.since_ms = since.map_or(0, Timestamp::as_millisecond);
        Some(status)
    }

    /// State, detail, and since when.
    fn revocation_words(&self, managed: &Managed) -> Option<(&'static str, String, Option<Timestamp>)> {
        if let Some(revoked) = managed.revoked() {
            return Some(("revoked", revoked.why().to_owned(), Some(revoked.at)));
        }
        if self.revocations.inquiry.is_none() {
            return Some(("", "revocation.check is off".to_owned(), None));
        }
        let Some(judged) = managed.revocation.as_ref() else {
            return Some(("", "names nobody to ask".to_owned(), None));
        };
        let since = Some(judged.since);
        Some(match &judged.verdict {
            Verdict::Unasked { notes } if notes.is_empty() => ("", "names nobody to ask".to_owned(), None),
            Verdict::Unasked { notes } => ("", format!("nobody to ask: {}", notes.join("; ")), None),
            Verdict::Good { source, until } => ("good", format!("says {source} until {until:.0}"), since),
            Verdict::Revoked(finding) => ("revoked", finding.to_string(), since),
            Verdict::Unknown { why, .. } => ("unknown", why.clone(), since),
        })
    }

    /// For `why`: what is known, and a hint where the CA wants it gone.
    pub(super) fn explain_revocation(&self, managed: &Managed, now: Timestamp) -> Option<String> {
        let (state, detail, since) = self.revocation_words(managed)?;
        let mut text = match (state, since) {
            ("", _) => detail,
            (state, Some(since)) => format!("{state} since {since:.0}: {detail}"),
            (state, None) => format!("{state}: {detail}"),
        };
        let current = managed.current.as_ref()?;
        if let Some(staple) = managed.staple(current.number, now) {
            text.push_str(&format!("; OCSP response until {:.0}", staple.next_update));
        }
        let ari = managed.memory.ari.as_ref().filter(|ari| ari.generation == current.number);
        let window = ari.and_then(|ari| ari.info.as_ref());
        if window.is_some_and(|window| window.end <= now) && current.is_valid_at(now) {
            text.push_str(
                "; the CA's renewal window lies in the past, as it does when a CA is about to revoke",
            );
        }
        Some(text)
    }
}
