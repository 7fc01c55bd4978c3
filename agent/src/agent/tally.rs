//! What the loop counts: attempts and questions about revocation, by how they ended. Labels are names of the
//! configuration and words of our own, so there are few.

use std::collections::BTreeMap;

use sealwire_proto::ocsp::Status;

use crate::delivery::Outcome;
use crate::issuer::IssueError;
use crate::revocation::crl;
use crate::revocation::ocsp::Answer;

/// How something ended that went well.
const OK: &str = "ok";
/// How a question ended that nobody answered well.
const ERROR: &str = "error";

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// By issuer, work, outcome.
    attempts: BTreeMap<(String, &'static str, &'static str), u64>,
    /// By source and outcome.
    checks: BTreeMap<(&'static str, &'static str), u64>,
    /// By target, certificate, outcome.
    targets: BTreeMap<(String, String, &'static str), u64>,
}

impl Tally {
    /// Something that an issuer was asked for has ended.
    pub(super) fn attempt(&mut self, issuer: &str, work: &'static str, error: Option<&IssueError>) {
        let outcome = error.map_or(OK, |error| error.class.as_str());
        *self.attempts.entry((issuer.to_owned(), work, outcome)).or_default() += 1;
    }

    /// A question for a CRL has ended.
    pub(super) fn crl(&mut self, outcome: &crl::Outcome) {
        let word = if outcome.error.is_none() { OK } else { ERROR };
        *self.checks.entry(("crl", word)).or_default() += 1;
    }

    /// A question to a responder has ended.
    pub(super) fn ocsp(&mut self, answer: &Result<Answer, String>) {
        let word = match answer.as_ref().map(|answer| answer.verified.status) {
            Ok(Status::Good) => "good",
            Ok(Status::Revoked { .. }) => "revoked",
            Ok(Status::Unknown) => "unknown",
            Err(_) => ERROR,
        };
        *self.checks.entry(("ocsp", word)).or_default() += 1;
    }

    /// A delivery to a server that is not ours came further, or did not.
    pub(super) fn target(&mut self, target: &str, certificate: &str, outcome: &Outcome) {
        let word = match outcome {
            Outcome::Acked { .. } => "taken",
            Outcome::Proven { .. } => "proven",
            Outcome::Nacked { .. } => "refused",
            Outcome::Unproven { .. } => "unproven",
            Outcome::Unanswered => "unanswered",
            Outcome::Pushed | Outcome::Prepared { .. } | Outcome::Stapled | Outcome::StapleRefused { .. } => {
                return;
            }
        };
        *self.targets.entry((target.to_owned(), certificate.to_owned(), word)).or_default() += 1;
    }

    /// A client that is forgotten has no numbers: pods come back under new names.
    pub(super) fn retain_targets(&mut self, known: impl Fn(&str) -> bool) {
        self.targets.retain(|(target, ..), _| known(target));
    }

    /// Target, certificate, outcome, count.
    pub(super) fn targets(&self) -> impl Iterator<Item = ([&str; 3], u64)> {
        self.targets.iter().map(|((target, certificate, outcome), count)| {
            ([target.as_str(), certificate.as_str(), outcome], *count)
        })
    }

    /// Issuer, work, outcome, count.
    pub(super) fn attempts(&self) -> impl Iterator<Item = ([&str; 3], u64)> {
        self.attempts
            .iter()
            .map(|((issuer, work, outcome), count)| ([issuer.as_str(), work, outcome], *count))
    }

    /// Source, outcome, count.
    pub(super) fn checks(&self) -> impl Iterator<Item = ([&str; 2], u64)> {
        self.checks.iter().map(|((source, outcome), count)| ([*source, *outcome], *count))
    }
}
