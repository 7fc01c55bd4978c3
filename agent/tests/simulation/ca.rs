//! A CA as a model: token buckets, outages, moods. Written apart from the agent's own model of limits, so
//! that the one can judge the other.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sealwire_agent::issuer::{ErrorClass, IssueError, RenewalInfo};

pub const HOUR: i64 = 3600;
pub const DAY: i64 = 24 * HOUR;

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a second of this century")
}

/// Tokens that refill steadily, counted in billionths so that nothing is rounded away.
struct Tokens {
    left: i128,
    most: i128,
    per_second: i128,
    at: i64,
}

const ONE: i128 = 1_000_000_000_000;

impl Tokens {
    fn new(count: i64, hours: i64, now: i64) -> Self {
        let most = i128::from(count) * ONE;
        Self { left: most, most, per_second: most / i128::from(hours * HOUR), at: now }
    }

    /// Takes one; `false` if there is none.
    fn take(&mut self, now: i64) -> bool {
        let passed = i128::from(now - self.at).max(0);
        // A thousandth of a token is forgiven: seconds are whole here and are not there.
        self.left = (self.left + passed * self.per_second).min(self.most);
        self.at = now.max(self.at);
        if self.left < ONE - ONE / 1000 {
            return false;
        }
        self.left -= ONE;
        true
    }
}

/// A stretch of time in which the CA misbehaves.
#[derive(Clone, Copy, Debug)]
pub enum Mood {
    /// No answer at all.
    Down,
    /// 429 to everybody, with Retry-After if given.
    Busy(Option<u64>),
    /// Renewal information is an error.
    NoInfo,
    /// Windows in the past for everything.
    Hurry,
    /// Windows that are absurd: years long, or beyond the end.
    Absurd,
}

#[derive(Clone, Debug)]
pub struct Order {
    pub cert: usize,
    pub valid: bool,
}

pub struct Ca {
    pub name: &'static str,
    pub moods: Vec<(i64, i64, Mood)>,
    pub info: bool,
    limited: bool,
    orders_bucket: Tokens,
    domains: HashMap<u64, Tokens>,
    sets: HashMap<usize, Tokens>,
    /// Orders by URL; open ones by certificate.
    pub orders: Vec<Order>,
    open: HashMap<usize, usize>,
    /// Revoked: certificate and generation's start.
    pub revoked: HashMap<usize, i64>,
    /// Orders refused because a limit was reached: the agent's model should have known.
    pub limit_hits: Vec<String>,
    pub issued: u64,
}

fn error(class: ErrorClass, text: &str) -> IssueError {
    IssueError::new(class, text)
}

impl Ca {
    pub fn new(name: &'static str, info: bool, limited: bool, now: i64) -> Self {
        Self {
            name,
            moods: Vec::new(),
            info,
            limited,
            orders_bucket: Tokens::new(300, 3, now),
            domains: HashMap::new(),
            sets: HashMap::new(),
            orders: Vec::new(),
            open: HashMap::new(),
            revoked: HashMap::new(),
            limit_hits: Vec::new(),
            issued: 0,
        }
    }

    pub fn mood(&self, now: i64) -> impl Iterator<Item = Mood> + '_ {
        self.moods.iter().filter(move |(from, to, _)| (*from..*to).contains(&now)).map(|(_, _, mood)| *mood)
    }

    /// Whether orders get through now.
    pub fn is_up(&self, now: i64) -> bool {
        !self.mood(now).any(|mood| matches!(mood, Mood::Down | Mood::Busy(_)))
    }

    fn answers(&self, now: i64) -> Result<(), IssueError> {
        for mood in self.mood(now) {
            match mood {
                Mood::Down => return Err(error(ErrorClass::Transient, "no answer")),
                Mood::Busy(after) => {
                    let mut busy = error(ErrorClass::Ca, "Service busy; retry later");
                    busy.issuer_wide = true;
                    busy.retry_after = after.map(Duration::from_secs);
                    return Err(busy);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// newOrder. The same account and set get the open order again, as Boulder does it.
    pub fn order(
        &mut self,
        now: i64,
        cert: usize,
        domain: u64,
        renewal: bool,
        replaces: bool,
    ) -> Result<usize, IssueError> {
        self.answers(now)?;
        if let Some(open) = self.open.get(&cert) {
            return Ok(*open);
        }
        if self.limited && !replaces {
            let over = |hits: &mut Vec<String>, which: &str| {
                hits.push(format!("{which} of certificate {cert} at {}", at(now)));
                Err(error(ErrorClass::Ca, &format!("too many {which}")))
            };
            let sets = self.sets.entry(cert).or_insert_with(|| Tokens::new(5, 7 * 24, now));
            if !sets.take(now) {
                return over(&mut self.limit_hits, "certificates of this set");
            }
            if !renewal {
                if !self.orders_bucket.take(now) {
                    return over(&mut self.limit_hits, "orders");
                }
                let domains = self.domains.entry(domain).or_insert_with(|| Tokens::new(50, 7 * 24, now));
                if !domains.take(now) {
                    return over(&mut self.limit_hits, "certificates of this domain");
                }
            }
        }
        let number = self.orders.len();
        self.orders.push(Order { cert, valid: false });
        self.open.insert(cert, number);
        Ok(number)
    }

    /// Validation and finalization; again for an order that is valid already.
    pub fn finish(&mut self, now: i64, order: usize) -> Result<(), IssueError> {
        self.answers(now)?;
        let order = &mut self.orders[order];
        if !order.valid {
            order.valid = true;
            self.open.remove(&order.cert);
            self.issued += 1;
        }
        Ok(())
    }

    pub fn renewal_info(
        &self,
        now: i64,
        cert: usize,
        not_before: i64,
        not_after: i64,
    ) -> Result<Option<RenewalInfo>, IssueError> {
        if !self.info {
            return Ok(None);
        }
        self.answers(now)?;
        let lifetime = not_after - not_before;
        let centre = if lifetime < 10 * DAY { lifetime / 2 } else { lifetime * 2 / 3 };
        let mut window = (not_before + centre - lifetime / 100, not_before + centre + lifetime / 100);
        if self.revoked.get(&cert) == Some(&not_before) {
            window = (now - HOUR, now - HOUR + 60);
        }
        for mood in self.mood(now) {
            match mood {
                Mood::NoInfo => return Err(error(ErrorClass::Transient, "no renewal information")),
                Mood::Hurry => window = (now - HOUR, now - HOUR + 60),
                Mood::Absurd if cert.is_multiple_of(2) => window = (not_before, not_after + 3650 * DAY),
                Mood::Absurd => window = (not_after + DAY, not_after + 2 * DAY),
                _ => {}
            }
        }
        Ok(Some(RenewalInfo {
            start: at(window.0),
            end: at(window.1),
            explanation_url: None,
            // Once a day keeps a year of ten thousand certificates within a test.
            retry_after: SignedDuration::from_hours(24).try_into().ok(),
        }))
    }
}
