//! Revocation: whether what is served, or an intermediate of it, has been revoked by its CA, and the OCSP
//! responses that nodes present.
//!
//! [`subject`] reads from a chain whom to ask about what, [`watch`] (pure) knows what was answered, what follows
//! and what is asked next ([`schedule`]), [`ocsp`] and [`crl`] ask and check the answers over [`fetch`], [`staple`]
//! keeps responses over restarts, [`inquiry`] does the asking, for the watch and for a chain that is not current yet.

pub mod crl;
pub mod fetch;
pub mod inquiry;
pub mod ocsp;
pub mod schedule;
pub mod staple;
pub mod subject;
pub mod watch;

#[cfg(test)]
pub(crate) mod test_ca;

use std::fmt;

use jiff::{SignedDuration, Timestamp};

pub use subject::{Id, Subject, Which};

/// How far the clock of a responder and ours may differ, as for OCSP (`sealwire_proto::ocsp::CLOCK_SKEW_S`).
pub const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// A revocation, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Of which certificate of the chain.
    pub which: Which,
    /// Since when, by the CA's word.
    pub at: Timestamp,
    /// `CRLReason` (RFC 5280 section 5.3.1), if given.
    pub reason: Option<u8>,
    /// The URL that was asked.
    pub source: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = reason_name(self.reason);
        write!(f, "{} is revoked since {:.0} ({reason}), says {}", self.which, self.at, self.source)
    }
}

/// What is known of a chain. One source is enough either way, and one that says revoked outweighs all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its certificates name nobody to ask.
    Unasked {
        /// What they name and cannot be used.
        notes: Vec<String>,
    },
    /// Every certificate that names somebody to ask is good by one of them.
    Good {
        /// Who said so of the leaf, or of the first certificate that names anybody.
        source: String,
        /// Until then that holds.
        until: Timestamp,
    },
    /// A certificate of it is revoked.
    Revoked(Finding),
    /// For one certificate of it there is no answer that holds.
    Unknown {
        /// Since when.
        since: Timestamp,
        /// What was answered instead.
        why: String,
    },
}

/// The name of a `CRLReason` (RFC 5280 section 5.3.1).
#[must_use]
pub fn reason_name(reason: Option<u8>) -> &'static str {
    match reason {
        Some(1) => "keyCompromise",
        Some(2) => "cACompromise",
        Some(3) => "affiliationChanged",
        Some(4) => "superseded",
        Some(5) => "cessationOfOperation",
        Some(6) => "certificateHold",
        Some(9) => "privilegeWithdrawn",
        Some(10) => "aACompromise",
        _ => "unspecified",
    }
}

/// A source's time; one that cannot be (a year beyond 9999) is the end of time.
fn at_second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(if second < 0 { Timestamp::MIN } else { Timestamp::MAX })
}
