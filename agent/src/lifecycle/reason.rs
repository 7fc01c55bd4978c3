//! Why something is due, and what holds it up, in words.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::limits::Held;
use crate::issuer::ErrorClass;

/// The rule by which a certificate is due.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// There is no generation yet.
    Missing,
    /// What the store holds cannot be used.
    Damaged,
    /// The current generation is not valid at this time.
    NotValid,
    /// An order that was placed is taken up again.
    Resume,
    /// The current generation is revoked.
    Revoked,
    /// The configuration asks for something else.
    Changed(Change),
    /// A node refused the newest generation.
    Quarantined,
    /// An operator asked.
    Requested,
    /// The renewal time of the current generation.
    Lifetime {
        /// Part of the lifetime.
        renew_at: f64,
        /// End of validity.
        not_after: Timestamp,
    },
    /// The CA's renewal information (RFC 9773).
    RenewalInfo {
        /// The window.
        window: (Timestamp, Timestamp),
        /// A page of the CA that tells why.
        explanation_url: Option<String>,
    },
    /// The CA's window lies so late that the end of validity is too near.
    LastCall {
        /// End of validity.
        not_after: Timestamp,
    },
}

impl Reason {
    /// Whether the certificate is due only because of what the clock says.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        matches!(
            self,
            Self::NotValid | Self::Lifetime { .. } | Self::RenewalInfo { .. } | Self::LastCall { .. }
        )
    }
}

/// What the configuration wants different from what the current generation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Other identifiers.
    Identifiers,
    /// The issuer it came from is no longer configured.
    Issuer,
    /// Another type of key.
    KeyType,
    /// Another profile.
    Profile,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identifiers => "the configured identifiers differ from the leaf's",
            Self::Issuer => "its issuer is no longer configured",
            Self::KeyType => "another type of key is configured",
            Self::Profile => "another profile is configured",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no generation yet"),
            Self::Damaged => f.write_str("the stored generation is damaged"),
            Self::NotValid => f.write_str("the current generation is not valid now"),
            Self::Resume => f.write_str("an order that was placed is taken up again"),
            Self::Revoked => f.write_str("the current generation is revoked"),
            Self::Changed(change) => change.fmt(f),
            Self::Quarantined => f.write_str("the newest generation was refused"),
            Self::Requested => f.write_str("an operator asked"),
            Self::Lifetime { renew_at, not_after } => {
                write!(f, "{:.0} % of the lifetime that ends {not_after:.0}", renew_at * 100.0)
            }
            Self::RenewalInfo { window: (start, end), explanation_url } => {
                write!(f, "the CA's window {start:.0} to {end:.0}")?;
                explanation_url.as_ref().map_or(Ok(()), |url| write!(f, " (see {url})"))
            }
            Self::LastCall { not_after } => {
                write!(f, "the CA's window is too late for the end of validity at {not_after:.0}")
            }
        }
    }
}

/// Why an order is not placed although it is due.
#[derive(Clone, Debug, PartialEq)]
pub enum Hold {
    /// After failures.
    BackOff {
        /// How many in a row.
        failures: u32,
        /// Whose fault the last one was.
        class: ErrorClass,
        /// The CA named the time itself.
        retry_after: bool,
    },
    /// The CA asked everybody to stay away.
    Blocked {
        /// In its words.
        why: String,
    },
    /// The model of the CA's limits.
    Limit(Held),
    /// A maintenance window opens.
    Window,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BackOff { failures, class, retry_after } => {
                write!(f, "back-off after {failures} failure(s), the last one {}", whose(*class))?;
                if *retry_after { f.write_str(", as the CA asked (Retry-After)") } else { Ok(()) }
            }
            Self::Blocked { why } => write!(f, "the CA asked to stay away: {why}"),
            Self::Limit(held) => write!(f, "the CA's limit on {held}"),
            Self::Window => f.write_str("until a maintenance window opens"),
        }
    }
}

/// A class, as the end of "the last one ...".
fn whose(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Transient => "transient",
        ErrorClass::Ours => "ours",
        ErrorClass::Identifier => "an identifier's",
        ErrorClass::Account => "the account's",
        ErrorClass::Ca => "the CA's",
        ErrorClass::Refused => "a refusal by a node",
        ErrorClass::OrderLost => "a lost order",
    }
}

/// A span of time as people say it: the two largest units.
#[must_use]
pub fn span(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().abs();
    let sign = if duration.is_negative() { "-" } else { "" };
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{seconds}s"),
        (0, 0, _) => format!("{sign}{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{sign}{hours}h {minutes}m"),
        _ => format!("{sign}{days}d {hours}h"),
    }
}
