//! What an operator may say about when and how often: limits of a CA, maintenance windows.

use std::time::Duration;

use sealwire_config::{Fault, duration};
use serde::Deserialize;

use crate::lifecycle::calendar::Windows;
use crate::lifecycle::limits::{Limit, Limits};

/// `[acme.NAME.limits]`: what the CA allows; unset keys are as at Let's Encrypt.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// New orders of the account (`"300/3h"`, or `"off"`).
    pub orders: String,
    /// Certificates of a registered domain.
    pub per_domain: String,
    /// Certificates of the very same set of identifiers.
    pub per_set: String,
    /// Failed authorizations of one identifier.
    pub failed_authorizations: String,
    /// Orders for a set that there is a certificate for count for `per_set` only.
    pub renewals_exempt: bool,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            orders: "300/3h".to_owned(),
            per_domain: "50/168h".to_owned(),
            per_set: "5/168h".to_owned(),
            failed_authorizations: "5/1h".to_owned(),
            renewals_exempt: true,
        }
    }
}

impl LimitsConfig {
    /// The limits.
    ///
    /// # Errors
    /// The key that is wrong, below `path`.
    pub fn limits(&self, path: &[&str]) -> Result<Limits, Fault> {
        let limit = |key: &str, text: &str| -> Result<Option<Limit>, Fault> {
            if text == "off" {
                return Ok(None);
            }
            text.parse().map(Some).map_err(|error: String| Fault::new(&[path, &[key]].concat(), error))
        };
        Ok(Limits {
            orders: limit("orders", &self.orders)?,
            per_domain: limit("per_domain", &self.per_domain)?,
            per_set: limit("per_set", &self.per_set)?,
            failed_authorizations: limit("failed_authorizations", &self.failed_authorizations)?,
            renewals_exempt: self.renewals_exempt,
        })
    }
}

/// `maintenance` of a `[[certificate]]`: when renewals should happen, if they can choose.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceConfig {
    /// Cron expressions: minute hour day month weekday.
    pub opens: Vec<String>,
    /// How long a window lasts.
    #[serde(default = "four_hours", deserialize_with = "duration")]
    pub lasts: Duration,
    /// Name in the IANA database.
    #[serde(default = "utc")]
    pub timezone: String,
}

fn four_hours() -> Duration {
    Duration::from_hours(4)
}

fn utc() -> String {
    "UTC".to_owned()
}

impl MaintenanceConfig {
    /// The windows.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn windows(&self) -> Result<Windows, String> {
        let lasts = jiff::SignedDuration::try_from(self.lasts).map_err(|error| error.to_string())?;
        if self.opens.is_empty() || self.lasts < Duration::from_mins(1) {
            return Err(
                "expected at least one expression in `opens`, and `lasts` of a minute or more".to_owned()
            );
        }
        Windows::new(&self.opens, lasts, &self.timezone)
    }
}
