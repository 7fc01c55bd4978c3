//! Maintenance windows: when an operator would rather have renewals happen. Dates are computed purely, from
//! a cron expression in a time zone.

use chrono::{DateTime, NaiveDate};
use croner::Cron;
use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// The openings of the windows, and how long each lasts.
#[derive(Clone, Debug)]
pub struct Windows {
    opens: Vec<(String, Cron)>,
    lasts: SignedDuration,
    zone: TimeZone,
}

impl PartialEq for Windows {
    fn eq(&self, other: &Self) -> bool {
        let texts = |windows: &Self| windows.opens.iter().map(|(text, _)| text.clone()).collect::<Vec<_>>();
        texts(self) == texts(other) && self.lasts == other.lasts && self.zone == other.zone
    }
}

impl Windows {
    /// Windows that open by cron expressions (minute hour day month weekday) in a time zone of the IANA
    /// database.
    ///
    /// # Errors
    /// Which expression is wrong, and why.
    pub fn new(opens: &[String], lasts: SignedDuration, zone: &str) -> Result<Self, String> {
        let zone = TimeZone::get(zone).map_err(|error| format!("timezone: {error}"))?;
        let opens = opens
            .iter()
            .map(|text| match text.parse::<Cron>() {
                Ok(cron) => Ok((text.clone(), cron)),
                Err(error) => Err(format!(
                    "\"{text}\": {error}; expected a cron expression such as \"0 2 * * SAT\" (minute hour day month weekday)"
                )),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { opens, lasts, zone })
    }

    /// The expressions as they were given.
    pub fn expressions(&self) -> impl Iterator<Item = &str> {
        self.opens.iter().map(|(text, _)| text.as_str())
    }

    /// How long each window lasts.
    #[must_use]
    pub fn lasts(&self) -> SignedDuration {
        self.lasts
    }

    /// `at` itself if a window is open then, else the next opening; `None` if there is none within reach
    /// of croner (some years).
    #[must_use]
    pub fn open_at_or_after(&self, at: Timestamp) -> Option<Timestamp> {
        // The first opening after this instant is the one that may still be open at `at`.
        let before = at.checked_sub(self.lasts).ok()?;
        let next = self.opens.iter().filter_map(|(_, cron)| self.next(cron, before)).min()?;
        Some(next.max(at))
    }

    /// The next opening after `at`, in the civil time of the zone: croner sees civil time as if it were
    /// UTC, and jiff turns the result into an instant (a time that the clocks skip becomes the next one).
    fn next(&self, cron: &Cron, at: Timestamp) -> Option<Timestamp> {
        let civil = at.to_zoned(self.zone.clone()).datetime();
        let date = NaiveDate::from_ymd_opt(
            civil.year().into(),
            civil.month().unsigned_abs().into(),
            civil.day().unsigned_abs().into(),
        )?;
        // Whole seconds: croner keeps the fraction of what it is given.
        let time = date.and_hms_opt(
            civil.hour().unsigned_abs().into(),
            civil.minute().unsigned_abs().into(),
            civil.second().unsigned_abs().into(),
        )?;
        let found: DateTime<chrono::Utc> = cron.find_next_occurrence(&time.and_utc(), false).ok()?;
        let found = Timestamp::from_second(found.timestamp()).ok()?.to_zoned(TimeZone::UTC).datetime();
        let found: civil::DateTime = found;
        Some(found.to_zoned(self.zone.clone()).ok()?.timestamp())
    }
}
