//! A model of the limits that a CA sets, so that they are never run into. Each limit is a bucket that
//! refills steadily, as Let's Encrypt's do (<https://letsencrypt.org/docs/rate-limits/>): 300 orders in
//! 3 hours are 300 at once, and then one every 36 s.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Routine renewals leave this part of a limit to those that are urgent.
const RESERVE: f64 = 0.1;
/// Below this count a reserve would be no whole order.
const SMALLEST_WITH_RESERVE: u32 = 10;

/// At most so many in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How many; never 0.
    pub count: u32,
    /// In how long; never 0.
    pub per: SignedDuration,
}

/// `300/3h`, as the configuration has it.
impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\": expected a count and a span of time, such as \"300/3h\"");
        let (count, per) = text.split_once('/').ok_or_else(wrong)?;
        let count: u32 = count.trim().parse().map_err(|_| wrong())?;
        let per: SignedDuration = per.trim().parse().map_err(|_| wrong())?;
        if count == 0 || !per.is_positive() {
            return Err(wrong());
        }
        Ok(Self { count, per })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {:#}", self.count, self.per)
    }
}

impl Limit {
    /// `count` in so many hours.
    #[must_use]
    pub const fn hourly(count: u32, hours: i64) -> Self {
        Self { count, per: SignedDuration::from_hours(hours) }
    }

    /// The time in which one comes back.
    fn interval(self) -> SignedDuration {
        self.per / i32::try_from(self.count).unwrap_or(i32::MAX)
    }

    /// How far ahead of steady one may be; less for those that can wait.
    fn tolerance(self, urgent: bool) -> SignedDuration {
        let whole = self.per - self.interval();
        let reserved = !urgent && self.count >= SMALLEST_WITH_RESERVE;
        if reserved { whole.mul_f64(1.0 - RESERVE) } else { whole }
    }
}

/// The limits of one CA; `None`: no such limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// New orders of an account.
    pub orders: Option<Limit>,
    /// Certificates of a registered domain.
    pub per_domain: Option<Limit>,
    /// Certificates of the very same set of identifiers.
    pub per_set: Option<Limit>,
    /// Failed authorizations of one identifier.
    pub failed_authorizations: Option<Limit>,
    /// Orders for a set that there is a certificate for count for `per_set` only.
    pub renewals_exempt: bool,
}

impl Limits {
    /// Let's Encrypt's, 2026.
    pub const LETS_ENCRYPT: Self = Self {
        orders: Some(Limit::hourly(300, 3)),
        per_domain: Some(Limit::hourly(50, 7 * 24)),
        per_set: Some(Limit::hourly(5, 7 * 24)),
        failed_authorizations: Some(Limit::hourly(5, 1)),
        renewals_exempt: true,
    };

    /// None at all.
    pub const NONE: Self = Self {
        orders: None,
        per_domain: None,
        per_set: None,
        failed_authorizations: None,
        renewals_exempt: true,
    };
}

/// Which limit holds an order up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// New orders of the account.
    Orders,
    /// Certificates of this registered domain.
    Domain(String),
    /// Certificates of this very set.
    Set,
    /// Failed authorizations of this identifier.
    FailedAuthorizations(String),
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Orders => f.write_str("new orders of the account"),
            Self::Domain(domain) => write!(f, "certificates of {domain}"),
            Self::Set => f.write_str("certificates of this very set of identifiers"),
            Self::FailedAuthorizations(name) => write!(f, "failed authorizations of {name}"),
        }
    }
}

/// What an order counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// The first for its set of identifiers.
    New,
    /// For a set that there is a certificate for.
    Renewal,
    /// The CA's renewal information is followed: exempt from all limits.
    Replaces,
}

/// What an order is charged for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charges {
    /// Every identifier.
    pub identifiers: Vec<String>,
    /// The registered domains among them, each once.
    pub domains: Vec<String>,
    /// Stands for the set.
    pub set: String,
}

impl Charges {
    /// For a set of identifiers (DNS names, wildcards, addresses). Registered domains are found by the
    /// public suffix list; an address stands for itself.
    #[must_use]
    pub fn of(identifiers: &[String]) -> Self {
        let mut domains: Vec<String> = identifiers.iter().map(|name| registered_domain(name)).collect();
        domains.sort();
        domains.dedup();
        let mut sorted = identifiers.to_vec();
        sorted.sort();
        let digest = sealwire_proto::validate::sha256(sorted.join(",").as_bytes());
        Self { identifiers: identifiers.to_vec(), domains, set: sealwire_proto::hex(&digest[..8]) }
    }
}

fn registered_domain(identifier: &str) -> String {
    let name = identifier.trim_start_matches("*.");
    if name.parse::<IpAddr>().is_ok() {
        return name.to_owned();
    }
    psl::domain_str(name).unwrap_or(name).to_owned()
}

/// A bucket: the instant at which it will be full again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Bucket(Timestamp);

impl Bucket {
    /// A bucket cannot be empty for longer than its span: one that claims so was charged by a clock that ran
    /// ahead, and says nothing.
    fn earliest(self, now: Timestamp, limit: Limit, urgent: bool) -> Timestamp {
        if self.0.duration_since(now) > limit.per + limit.interval() {
            return Timestamp::MIN;
        }
        self.0.checked_sub(limit.tolerance(urgent)).unwrap_or(Timestamp::MIN)
    }

    fn charge(&mut self, now: Timestamp, limit: Limit) {
        if self.0.duration_since(now) > limit.per + limit.interval() {
            self.0 = now;
        }
        self.0 = self.0.max(now).checked_add(limit.interval()).unwrap_or(Timestamp::MAX);
    }

    /// Takes a charge back.
    fn refund(&mut self, limit: Limit) {
        self.0 = self.0.checked_sub(limit.interval()).unwrap_or(Timestamp::MIN);
    }

    fn used(self, now: Timestamp, limit: Limit) -> u32 {
        let ahead = self.0.duration_since(now).as_secs_f64() / limit.interval().as_secs_f64();
        ahead.ceil().max(0.0) as u32
    }
}

/// What has been used of each limit of one CA; kept over restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    orders: Bucket,
    domains: BTreeMap<String, Bucket>,
    sets: BTreeMap<String, Bucket>,
    failed: BTreeMap<String, Bucket>,
}

impl Ledger {
    /// The earliest instant at which an order fits all limits, and the limit that decides. The instant lies
    /// in the past when nothing is in the way.
    #[must_use]
    pub fn earliest(
        &self,
        now: Timestamp,
        limits: &Limits,
        kind: OrderKind,
        charges: &Charges,
        urgent: bool,
    ) -> (Timestamp, Option<Held>) {
        let mut found = (Timestamp::MIN, None);
        let mut consider = |bucket: Option<&Bucket>, limit: Option<Limit>, held: &dyn Fn() -> Held| {
            if let (Some(bucket), Some(limit)) = (bucket, limit) {
                let at = bucket.earliest(now, limit, urgent);
                if at > found.0 {
                    found = (at, Some(held()));
                }
            }
        };
        let exempt = kind == OrderKind::Replaces;
        if !(exempt || kind == OrderKind::Renewal && limits.renewals_exempt) {
            consider(Some(&self.orders), limits.orders, &|| Held::Orders);
            if limits.per_domain.is_some() {
                for domain in &charges.domains {
                    consider(self.domains.get(domain), limits.per_domain, &|| Held::Domain(domain.clone()));
                }
            }
        }
        if !exempt && !self.sets.is_empty() {
            consider(self.sets.get(&charges.set), limits.per_set, &|| Held::Set);
        }
        // A failed authorization counts, whatever the order was.
        if !self.failed.is_empty() {
            for name in &charges.identifiers {
                consider(self.failed.get(name), limits.failed_authorizations, &|| {
                    Held::FailedAuthorizations(name.clone())
                });
            }
        }
        found
    }

    /// An order was placed.
    pub fn charge_order(&mut self, now: Timestamp, limits: &Limits, kind: OrderKind, charges: &Charges) {
        if kind == OrderKind::Replaces {
            return;
        }
        if !(kind == OrderKind::Renewal && limits.renewals_exempt) {
            if let Some(limit) = limits.orders {
                self.orders.charge(now, limit);
            }
            if let Some(limit) = limits.per_domain {
                for domain in &charges.domains {
                    self.domains.entry(domain.clone()).or_default().charge(now, limit);
                }
            }
        }
        if let Some(limit) = limits.per_set {
            self.sets.entry(charges.set.clone()).or_default().charge(now, limit);
        }
    }

    /// An order that was charged was never placed.
    pub fn refund_order(&mut self, limits: &Limits, kind: OrderKind, charges: &Charges) {
        let counts_as_new = kind == OrderKind::New || !limits.renewals_exempt;
        if kind != OrderKind::Replaces
            && counts_as_new
            && let Some(limit) = limits.orders
        {
            self.orders.refund(limit);
        }
        self.refund_certificate(limits, kind, charges);
    }

    /// An order that was charged came to nothing: those limits count certificates.
    pub fn refund_certificate(&mut self, limits: &Limits, kind: OrderKind, charges: &Charges) {
        if kind == OrderKind::Replaces {
            return;
        }
        if let Some(limit) = limits.per_domain
            && (kind == OrderKind::New || !limits.renewals_exempt)
        {
            for domain in &charges.domains {
                if let Some(bucket) = self.domains.get_mut(domain) {
                    bucket.refund(limit);
                }
            }
        }
        if let (Some(limit), Some(bucket)) = (limits.per_set, self.sets.get_mut(&charges.set)) {
            bucket.refund(limit);
        }
    }

    /// An order failed because of its identifiers. The CA's word on which one is not always had, so each
    /// is charged.
    pub fn charge_failure(&mut self, now: Timestamp, limits: &Limits, charges: &Charges) {
        if let Some(limit) = limits.failed_authorizations {
            for name in &charges.identifiers {
                self.failed.entry(name.clone()).or_default().charge(now, limit);
            }
        }
    }

    /// Forgets what has refilled.
    pub fn prune(&mut self, now: Timestamp) {
        for buckets in [&mut self.domains, &mut self.sets, &mut self.failed] {
            buckets.retain(|_, bucket| bucket.0 > now);
        }
    }

    /// How much of the account's orders, and of the fullest domain, is used now.
    #[must_use]
    pub fn used(&self, now: Timestamp, limits: &Limits) -> (u32, Option<(String, u32)>) {
        let orders = limits.orders.map_or(0, |limit| self.orders.used(now, limit));
        let domain = limits.per_domain.and_then(|limit| {
            let used = self.domains.iter().map(|(name, bucket)| (name.clone(), bucket.used(now, limit)));
            used.max_by_key(|(_, used)| *used).filter(|(_, used)| *used > 0)
        });
        (orders, domain)
    }
}
