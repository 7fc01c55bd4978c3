//! What can be wrong: every kind of incident, how grave it is, and what to do. `docs/operations.md` has a
//! section for each, headed by its name. [`book`] keeps those that are open.

pub mod book;
mod book_entry;
pub mod expiry;

use sealwire_proto::v1;

pub use book_entry::{Incident, Told};

/// Where the section of each kind is, unless `alerts.runbook_url` says otherwise.
pub const RUNBOOK: &str = "docs/operations.md";

/// A kind of incident. What it is about (a certificate, a node, an issuer) is said beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The wall clock stepped.
    ClockJumped,
    /// Our clock and a CA's differ.
    ClockSkew,
    /// A generation that is served is revoked.
    Revoked,
    /// Nobody could say for long whether what is served is revoked.
    RevocationUnknown,
    /// There is no good OCSP response to present, and one is required or wanted.
    StapleStale,
    /// What a CA issued failed the gate.
    GateFailed,
    /// A node refused a generation.
    Refused,
    /// A node acknowledged a generation that no handshake sees.
    Unproven,
    /// A node neither took nor refused a generation.
    Unanswered,
    /// No certificate for it could be obtained, and little of the validity is left.
    ExpiresSoon,
    /// What is served has expired.
    Expired,
    /// The breaker of a node is open.
    BreakerOpen,
    /// Clients of a node reset their handshakes in masses.
    ResetStorm,
    /// Clients of a node say that its certificate has expired.
    ExpiredHandshakes,
    /// The root of an embedded CA is being changed, and somebody has not confirmed the new one.
    CaRotation,
    /// Something could not be written.
    Disk,
    /// A Secret or the Lease that replicas share cannot be used.
    Replicas,
    /// Alerts could not be sent.
    AlertsUnsent,
}

impl Kind {
    /// Each of them once.
    pub const ALL: [Self; 18] = [
        Self::ClockJumped,
        Self::ClockSkew,
        Self::Revoked,
        Self::RevocationUnknown,
        Self::StapleStale,
        Self::GateFailed,
        Self::Refused,
        Self::Unproven,
        Self::Unanswered,
        Self::ExpiresSoon,
        Self::Expired,
        Self::BreakerOpen,
        Self::ResetStorm,
        Self::ExpiredHandshakes,
        Self::CaRotation,
        Self::Disk,
        Self::Replicas,
        Self::AlertsUnsent,
    ];

    /// In snake case, as logs, alerts and the documentation name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClockJumped => "clock_jumped",
            Self::ClockSkew => "clock_skew",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::StapleStale => "staple_stale",
            Self::GateFailed => "gate_failed",
            Self::Refused => "refused",
            Self::Unproven => "unproven",
            Self::Unanswered => "unanswered",
            Self::ExpiresSoon => "expires_soon",
            Self::Expired => "expired",
            Self::BreakerOpen => "breaker_open",
            Self::ResetStorm => "reset_storm",
            Self::ExpiredHandshakes => "expired_handshakes",
            Self::CaRotation => "ca_rotation",
            Self::Disk => "disk",
            Self::Replicas => "replicas",
            Self::AlertsUnsent => "alerts_unsent",
        }
    }

    /// How grave it is.
    #[must_use]
    pub fn severity(self) -> v1::Severity {
        match self {
            Self::Revoked | Self::Expired | Self::BreakerOpen | Self::ExpiredHandshakes => {
                v1::Severity::Critical
            }
            Self::CaRotation => v1::Severity::Info,
            _ => v1::Severity::Warning,
        }
    }

    /// What to do, in one line; the section of its name in [`RUNBOOK`] says more.
    #[must_use]
    pub fn advice(self) -> &'static str {
        match self {
            Self::ClockJumped => {
                "see why the clock was stepped; nothing else if it is right now (chronyc tracking)"
            }
            Self::ClockSkew => "set the clock right: chrony or systemd-timesyncd, and a server that answers",
            Self::Revoked => {
                "see `sealwire why`; if the key leaked, find out how before the new one goes the same way"
            }
            Self::RevocationUnknown => "see that the agent reaches the CA's OCSP responder and CRL",
            Self::StapleStale => {
                "see that the agent reaches the CA's OCSP responder, or set ocsp = \"prefer\""
            }
            Self::GateFailed => {
                "compare what the CA issued with the configuration; ask the CA if it keeps doing it"
            }
            Self::Refused => {
                "read the node's reason in `sealwire status`; compare its clock, names and trust roots"
            }
            Self::Unproven => "see who answers on the node's listeners: `sealwire inspect ADDRESS`",
            Self::Unanswered => "see whether the node is stuck: its log, its CPU, its disk",
            Self::ExpiresSoon => {
                "run `sealwire why` and `sealwire doctor`, mend what they name, then `sealwire renew`"
            }
            Self::Expired => "run `sealwire why`, mend what it names, then `sealwire renew --force`",
            Self::BreakerOpen => {
                "mend the cause in the text; an operator's halt ends with `sealwire node resume`"
            }
            Self::ResetStorm => "look for a client that is broken, a load balancer's probes, or an attack",
            Self::ExpiredHandshakes => {
                "see what clients are served: `sealwire inspect ADDRESS`; compare their clocks"
            }
            Self::CaRotation => {
                "give the new root to whoever is named, then confirm it: `sealwire ca status`"
            }
            Self::Disk => "make room on the state directory's disk, or make it writable",
            Self::Replicas => "do what the text says to the Role, the Secret or the Lease that it names",
            Self::AlertsUnsent => {
                "see that the receiver is up, and that its URL and secret in [alerts] are right"
            }
        }
    }

    /// What its `about` names.
    #[must_use]
    pub fn subject(self) -> Subject {
        match self {
            Self::Revoked
            | Self::RevocationUnknown
            | Self::StapleStale
            | Self::GateFailed
            | Self::ExpiresSoon
            | Self::Expired => Subject::Certificate,
            Self::Refused | Self::Unproven | Self::Unanswered => Subject::Delivery,
            Self::BreakerOpen | Self::ResetStorm | Self::ExpiredHandshakes => Subject::Node,
            Self::CaRotation => Subject::Issuer,
            Self::AlertsUnsent => Subject::Receiver,
            Self::ClockJumped | Self::ClockSkew | Self::Disk | Self::Replicas => Subject::Machine,
        }
    }
}

/// What the `about` of an incident names: who is gone for good has no incidents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A certificate, by its name.
    Certificate,
    /// A certificate on a node: see [`on`].
    Delivery,
    /// A node, by its id.
    Node,
    /// An issuer, by its name.
    Issuer,
    /// A receiver of alerts: `webhook.chat`.
    Receiver,
    /// Our own machine: found out anew at each start.
    Machine,
}

/// The `about` of a certificate on a node.
#[must_use]
pub fn on(certificate: &str, node_id: &str) -> String {
    format!("{certificate} on {node_id}")
}

/// Certificate and node of such an `about`. Names of certificates have no spaces.
#[must_use]
pub fn certificate_and_node(about: &str) -> Option<(&str, &str)> {
    about.split_once(" on ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_its_section_in_the_documentation() {
        let text = include_str!("../../docs/operations.md");
        for kind in Kind::ALL {
            let heading = format!("\n### {}\n", kind.as_str());
            let section = text.split_once(&heading).unwrap_or_else(|| panic!("{heading}")).1;
            let section = section.split("\n#").next().unwrap();
            for part in ["**Means**", "**The agent**", "**You**"] {
                assert!(section.contains(part), "{} has no {part}", kind.as_str());
            }
        }
        let names: BTreeSet<_> = Kind::ALL.into_iter().map(Kind::as_str).collect();
        assert_eq!(names.len(), Kind::ALL.len(), "each has a name of its own");
    }

    #[test]
    fn kinds_are_written_as_they_are_named() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert!(!kind.advice().is_empty() && kind.advice().len() <= 120, "{}", kind.advice());
        }
    }

    #[test]
    fn a_delivery_is_told_apart() {
        assert_eq!(certificate_and_node(&on("web", "node on 5")), Some(("web", "node on 5")));
        assert_eq!(certificate_and_node("web"), None);
    }
}
