//! What is wrong with what is served, at an instant, and when that may change by itself. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use sealwire_proto::v1::StaplePolicy;

use super::{Cause, Finding, Findings};
use crate::certs::Served;

/// What the agent said of a leaf that is revoked or distrusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revocation {
    pub(crate) reason: String,
    /// The breaker opens for it.
    pub(crate) halts: bool,
}

/// Leaves that are revoked, by SHA-256.
pub(crate) type Revocations = BTreeMap<[u8; 32], Revocation>;

/// Looks at what handshakes present: `missing` are names that were covered before and no longer are.
pub(crate) fn find(
    presented: &[Arc<Served>],
    missing: &[String],
    revocations: &Revocations,
    now: Timestamp,
) -> Findings {
    let mut findings = Findings::new();
    let mut add = |cause, detail: String, only_told| {
        let finding = findings.entry(cause).or_insert(Finding { detail: String::new(), only_told });
        // One that halts is not made harmless by another that does not.
        finding.only_told &= only_told;
        if !finding.detail.is_empty() {
            finding.detail.push_str(", ");
        }
        finding.detail.push_str(&detail);
    };
    let second = now.as_second();
    for served in presented {
        let what = format!("certificate {} generation {}", served.certificate, served.generation);
        if second > served.leaf.not_after {
            add(Cause::Expired, format!("{what} expired at {}", told(served.leaf.not_after)), false);
        }
        if second < served.leaf.not_before {
            add(Cause::NotYetValid, format!("{what} is valid from {}", told(served.leaf.not_before)), false);
        }
        if let Some(revocation) = revocations.get(&served.leaf.sha256) {
            add(Cause::Revoked, format!("{what} is revoked: {}", revocation.reason), !revocation.halts);
        }
        if let Some(end) = staple_end(served)
            && second > end
        {
            let since = told(served.stapling.covered_until);
            add(Cause::StapleStale, format!("{what} has had no valid staple since {since}"), false);
        }
    }
    if !missing.is_empty() {
        add(Cause::NameMismatch, format!("nothing served is for {}", missing.join(", ")), false);
    }
    findings
}

/// The next instant at which [`find`] may find something else although nothing happens.
pub(crate) fn next_change(presented: &[Arc<Served>], now: Timestamp) -> Option<Timestamp> {
    let instants = presented.iter().flat_map(|served| {
        [
            Some(served.leaf.not_before),
            served.leaf.not_after.checked_add(1),
            staple_end(served).and_then(|end| end.checked_add(1)),
        ]
    });
    let instants = instants.flatten().filter_map(|second| Timestamp::from_second(second).ok());
    instants.filter(|instant| *instant > now).min()
}

/// The last second in which a generation may be served without a staple, if it needs one.
fn staple_end(served: &Served) -> Option<i64> {
    let stapling = &served.stapling;
    let required = stapling.policy == StaplePolicy::Require;
    required.then(|| stapling.covered_until.saturating_add(stapling.grace_s))
}

fn told(second: i64) -> String {
    Timestamp::from_second(second).map_or_else(|_| second.to_string(), |at| at.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::certs::validate::tests::{bundle_for, checked};

    /// Valid from 1,000 to 2,000.
    fn served() -> Served {
        let mut served = checked(&bundle_for("web", 1, &["a.example"]));
        (served.leaf.not_before, served.leaf.not_after) = (1000, 2000);
        served
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn causes(served: &Served, second: i64) -> Vec<Cause> {
        let presented = [Arc::new(served.clone())];
        find(&presented, &[], &Revocations::new(), at(second)).into_keys().collect()
    }

    #[test]
    fn validity_counts_to_the_second_and_the_next_change_is_known() {
        let served = served();
        assert_eq!(causes(&served, 999), [Cause::NotYetValid]);
        assert_eq!(causes(&served, 1000), []);
        assert_eq!(causes(&served, 2000), []);
        assert_eq!(causes(&served, 2001), [Cause::Expired]);
        let presented = [Arc::new(served)];
        assert_eq!(next_change(&presented, at(5)), Some(at(1000)));
        assert_eq!(next_change(&presented, at(1000)), Some(at(2001)));
        assert_eq!(next_change(&presented, at(2001)), None);
        assert!(find(&[], &[], &Revocations::new(), at(0)).is_empty(), "nothing is served");
    }

    #[test]
    fn a_required_staple_may_be_missing_for_the_grace() {
        let mut served = served();
        served.stapling.covered_until = 1200;
        served.stapling.grace_s = 60;
        for policy in [StaplePolicy::Unspecified, StaplePolicy::Prefer] {
            served.stapling.policy = policy;
            assert_eq!(causes(&served, 1900), [], "{policy:?}");
        }
        served.stapling.policy = StaplePolicy::Require;
        assert_eq!(causes(&served, 1260), []);
        assert_eq!(causes(&served, 1261), [Cause::StapleStale]);
        assert_eq!(next_change(&[Arc::new(served.clone())], at(1100)), Some(at(1261)));
        served.stapling.covered_until = 1500;
        assert_eq!(causes(&served, 1261), [], "a new one has come");
        served.stapling.grace_s = i64::MAX;
        assert_eq!(causes(&served, 1999), []);
    }

    #[test]
    fn revoked_halts_only_if_the_agent_says_so() {
        let (one, two) = (served(), served());
        let mut revocations = Revocations::new();
        let add = |revocations: &mut Revocations, served: &Served, halts| {
            revocations
                .insert(served.leaf.sha256, Revocation { reason: "keyCompromise by OCSP".into(), halts });
        };
        add(&mut revocations, &one, false);
        let presented = [Arc::new(one), Arc::new(two.clone())];
        let found = find(&presented, &[], &revocations, at(1500));
        assert!(found[&Cause::Revoked].only_told && found.len() == 1);
        assert!(found[&Cause::Revoked].detail.ends_with("is revoked: keyCompromise by OCSP"));
        add(&mut revocations, &two, true);
        assert!(!find(&presented, &[], &revocations, at(1500))[&Cause::Revoked].only_told);
        assert!(find(&[], &[], &revocations, at(1500)).is_empty(), "it is not served");
    }

    #[test]
    fn names_that_are_no_longer_covered_are_told() {
        let missing = ["b.example".to_owned(), "c.example".to_owned()];
        let found = find(&[], &missing, &Revocations::new(), at(1500));
        assert_eq!(found[&Cause::NameMismatch].detail, "nothing served is for b.example, c.example");
    }
}
