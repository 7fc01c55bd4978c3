//! An outage of one issuer, played through by the rules that decide. Pure.

use jiff::Timestamp;

use super::explain::Subject;
use super::{Action, Issuers, decide};
use crate::issuer::{ErrorClass, IssueError};

/// More attempts than fit into any validity.
const MOST_ATTEMPTS: usize = 1000;

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When.
    pub at: Timestamp,
    /// With whom.
    pub issuer: String,
}

/// What would happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The first attempt.
    pub begins: Timestamp,
    /// Every attempt until one is with somebody else.
    pub attempts: Vec<Attempt>,
    /// The one that goes well; `None`: the validity ends first.
    pub renewed: Option<Attempt>,
    /// The end of what is served now.
    pub expires: Option<Timestamp>,
}

/// Plays through an outage of `down` that lasts from the next renewal until somebody else has issued or the
/// validity is over.
#[must_use]
pub fn outage(now: Timestamp, subject: &Subject, issuers: &Issuers, down: &str) -> Outage {
    let mut issuers = issuers.clone();
    // The CA that is down is not asked for anything else either.
    issuers.values_mut().for_each(|state| state.renewal_info = false);
    let mut subject = subject.clone();
    let expires = subject.current.as_ref().map(|current| current.not_after);
    let (mut at, mut attempts) = (now, Vec::new());
    while attempts.len() < MOST_ATTEMPTS {
        let decision = decide(at, &subject.facts(), &subject.policy, &issuers, subject.seed);
        let issuer = match &decision.action {
            Action::Obtain { issuer } => issuer.clone(),
            // The staging CA is down with the real one.
            Action::Rehearse { issuer, .. } => issuer.clone(),
            Action::Wait | Action::AskRenewalInfo { .. } => {
                at = decision.at.max(decision.wake);
                if expires.is_some_and(|end| at >= end) {
                    break;
                }
                continue;
            }
        };
        let attempt = Attempt { at, issuer };
        attempts.push(attempt.clone());
        if attempt.issuer != down {
            let begins = attempts[0].at;
            return Outage { begins, attempts, renewed: Some(attempt), expires };
        }
        let error = IssueError::new(ErrorClass::Transient, "no answer");
        subject.memory.failed(at, Some(&attempt.issuer), &error);
        if expires.is_none_or(|end| at >= end) && subject.policy.issuers.len() == 1 {
            break;
        }
    }
    let begins = attempts.first().map_or(at, |attempt| attempt.at);
    Outage { begins, attempts, renewed: None, expires }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::lifecycle::explain::Held;
    use crate::lifecycle::limits::{Charges, Limits};
    use crate::lifecycle::{IssuerState, Memory, Policy};

    fn subject(issuers: &[&str]) -> (Subject, Issuers) {
        let now = Timestamp::UNIX_EPOCH;
        let names = vec!["a.example".to_owned()];
        let subject = Subject {
            name: "web".into(),
            policy: Policy {
                issuers: issuers.iter().map(|name| (*name).to_owned()).collect(),
                renew_at: 2.0 / 3.0,
                windows: None,
                charges: Charges::of(&names),
            },
            seed: 7,
            memory: Memory::default(),
            current: Some(Held {
                generation: 1,
                issuer: issuers[0].to_owned(),
                identifiers: names,
                not_before: now,
                not_after: now + SignedDuration::from_hours(90 * 24),
            }),
            changed: None,
            damaged: false,
            quarantined: false,
        };
        let states = issuers.iter().map(|name| ((*name).to_owned(), IssuerState::new(Limits::NONE)));
        (subject, states.collect())
    }

    #[test]
    fn the_next_issuer_takes_over_after_three_failures() {
        let (subject, issuers) = subject(&["first", "second"]);
        let outage = outage(Timestamp::UNIX_EPOCH, &subject, &issuers, "first");
        let asked: Vec<_> = outage.attempts.iter().map(|attempt| attempt.issuer.as_str()).collect();
        assert_eq!(asked, ["first", "first", "first", "second"]);
        assert!(outage.renewed.unwrap().at < outage.expires.unwrap());
    }

    #[test]
    fn alone_it_is_asked_until_the_end() {
        let (subject, issuers) = subject(&["only"]);
        let outage = outage(Timestamp::UNIX_EPOCH, &subject, &issuers, "only");
        assert_eq!(outage.renewed, None);
        assert!(outage.attempts.len() > 20, "{}", outage.attempts.len());
        let end = outage.expires.unwrap();
        assert!(outage.attempts.iter().all(|attempt| attempt.at <= end));
        // The nearer the end, the sooner the next one.
        let last: Vec<_> = outage.attempts.iter().rev().take(2).map(|attempt| attempt.at).collect();
        assert!(last[0].duration_since(last[1]) < SignedDuration::from_mins(30));
    }
}
