//! `[revocation]`: how it is found out whether what is served was revoked.

use std::time::Duration;

use jiff::SignedDuration;
use sealwire_config::{Fault, duration};
use serde::Deserialize;

use crate::revocation::inquiry::Limits;
use crate::revocation::schedule::Bounds;

/// `[revocation]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RevocationConfig {
    /// Responders and distribution points that certificates name are asked.
    pub check: bool,
    /// No source is asked again sooner, whatever it says; after an error twice as late each time.
    #[serde(deserialize_with = "duration")]
    pub min_interval: Duration,
    /// Every source is asked again at least this often.
    #[serde(deserialize_with = "duration")]
    pub max_interval: Duration,
    /// For one request to an OCSP responder.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// For one CRL.
    #[serde(deserialize_with = "duration")]
    pub crl_timeout: Duration,
    /// A longer CRL is not read.
    pub crl_max_bytes: usize,
    /// Not knowing for so long is an incident.
    #[serde(deserialize_with = "duration")]
    pub unknown_after: Duration,
}

impl Default for RevocationConfig {
    fn default() -> Self {
        Self {
            check: true,
            min_interval: Duration::from_mins(1),
            // Let's Encrypt publishes its CRLs anew every six hours.
            max_interval: Duration::from_hours(6),
            timeout: Duration::from_secs(10),
            crl_timeout: Duration::from_mins(1),
            // The largest CRLs of the Web PKI had some ten megabytes before they were sharded.
            crl_max_bytes: 32 * 1024 * 1024,
            // A responder's maintenance over night is nothing to wake people for.
            unknown_after: Duration::from_hours(12),
        }
    }
}

impl RevocationConfig {
    /// How often a source is asked.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { min: signed(self.min_interval), max: signed(self.max_interval) }
    }

    /// What asking may cost.
    pub(crate) fn limits(&self) -> Limits {
        Limits { timeout: self.timeout, crl_timeout: self.crl_timeout, crl_max_bytes: self.crl_max_bytes }
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        let fault = |key: &str, message: String| Err(Fault::new(&["revocation", key], message));
        let second = Duration::from_secs(1);
        let day = Duration::from_hours(24);
        let spans = [
            ("min_interval", self.min_interval, second, Duration::from_hours(1), "1 second to 1 hour"),
            ("max_interval", self.max_interval, self.min_interval, day * 7, "min_interval to 7 days"),
            ("timeout", self.timeout, second, Duration::from_mins(1), "1 second to 1 minute"),
            ("crl_timeout", self.crl_timeout, second, Duration::from_mins(10), "1 second to 10 minutes"),
            ("unknown_after", self.unknown_after, second, day * 30, "1 second to 30 days"),
        ];
        for (key, value, least, most, expected) in spans {
            if !(least..=most).contains(&value) {
                return fault(key, format!("{value:?} is out of range, expected {expected}"));
            }
        }
        if !(1024..=1024 * 1024 * 1024).contains(&self.crl_max_bytes) {
            let message = format!("{} is out of range, expected 1 KiB to 1 GiB", self.crl_max_bytes);
            return fault("crl_max_bytes", message);
        }
        Ok(())
    }
}

/// Checked to be far from the end of the type.
pub(crate) fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
