//! The decisions, each rule by itself.
#![allow(clippy::unwrap_used)]

mod explained;
mod failover;
mod limits;
mod properties;
mod renewal_info;
mod timing;

use std::time::Duration;

use super::backoff::retry_delay;
use super::limits::{Held, Limit, OrderKind};
use super::*;
use crate::issuer::{ErrorClass, RenewalInfo};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A certificate of 100 hours from two issuers, renewed at half of its life, and all that is known of it.
#[derive(Clone)]
struct World {
    current: Option<(i64, i64)>,
    changed: Option<Change>,
    damaged: bool,
    quarantined: bool,
    order_pending: Option<&'static str>,
    request: Option<Request>,
    memory: Memory,
    policy: Policy,
    issuers: Issuers,
    identifiers: Vec<String>,
    seed: u64,
}

fn world() -> World {
    let identifiers = vec!["a.example".to_owned(), "b.a.example".to_owned()];
    let policy = Policy {
        issuers: vec!["first".into(), "second".into()],
        renew_at: 0.5,
        windows: None,
        charges: Charges::of(&identifiers),
    };
    let issuers = ["first", "second"].map(|name| (name.to_owned(), IssuerState::new(Limits::LETS_ENCRYPT)));
    World {
        current: Some((0, 100 * HOUR)),
        changed: None,
        damaged: false,
        quarantined: false,
        order_pending: None,
        request: None,
        memory: Memory::default(),
        policy,
        issuers: issuers.into(),
        identifiers,
        seed: 7,
    }
}

impl World {
    fn facts(&self) -> Facts<'_> {
        Facts {
            current: self.current.map(|(not_before, not_after)| Current {
                generation: 3,
                issuer: "first",
                identifiers: &self.identifiers,
                not_before: at(not_before),
                not_after: at(not_after),
                stored_at: at(not_before),
            }),
            changed: self.changed,
            damaged: self.damaged,
            quarantined: self.quarantined,
            order_pending: self.order_pending,
            memory: &self.memory,
            request: self.request,
        }
    }

    fn decide(&self, now: i64) -> Decision {
        decide(at(now), &self.facts(), &self.policy, &self.issuers, self.seed)
    }

    fn fail(&mut self, now: i64, issuer: &str, class: ErrorClass) {
        self.memory.failed(at(now), Some(issuer), &IssueError::new(class, "no"));
    }

    fn first(&mut self) -> &mut IssuerState {
        self.issuers.get_mut("first").unwrap()
    }

    fn window(&mut self, now: i64, start: i64, end: i64) {
        self.first().renewal_info = true;
        let info = RenewalInfo { start: at(start), end: at(end), explanation_url: None, retry_after: None };
        self.memory.renewal_info(at(now), 3, Ok(Some(info)), self.seed);
    }
}

fn obtains(decision: &Decision) -> Option<&str> {
    match &decision.action {
        Action::Obtain { issuer } => Some(issuer),
        _ => None,
    }
}

fn seconds(timestamp: Timestamp) -> i64 {
    timestamp.as_second()
}
