//! The simulated agent and its year.

mod judge;
mod year;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use sealwire_agent::clock::{ClockWatch, Skew};
use sealwire_agent::issuer::{ErrorClass, IssueError};
use sealwire_agent::lifecycle::limits::{Charges, Limits, OrderKind};
use sealwire_agent::lifecycle::{
    Action, Current, Facts, IssuerState, Issuers, Memory, Policy, Reason, decide,
};

use crate::ca::{Ca, DAY, HOUR, Mood, at};
use year::{cert, moods};

const START: i64 = 1_800_000_000;
/// Orders under way per issuer.
const PLACES: usize = 16;

pub struct Settings {
    pub certificates: usize,
    pub days: i64,
}

#[derive(Clone, Debug)]
struct Generation {
    number: u64,
    issuer: usize,
    not_before: i64,
    not_after: i64,
}

struct Cert {
    policy: Policy,
    memory: Memory,
    current: Option<Generation>,
    lifetime: i64,
    domain: u64,
    identifiers: Vec<String>,
    seed: u64,
    /// The journal: issuer and, once known, order.
    journal: Option<(usize, usize)>,
    busy: bool,
    hurries: bool,
    version: u64,
    /// For the judge.
    due_since: Option<i64>,
    expired: bool,
    attempts_today: (i64, u32),
    first_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Look at a certificate, if its version is still this one.
    Look(usize, u64),
    /// An attempt has come to newOrder, and then to its end.
    Place(usize, usize, bool, u64),
    Finish(usize, usize, usize, u64),
    /// A question is answered.
    Answer(usize),
    Restart,
    ClockStep(i64),
    Wave(usize),
    Check(usize),
    AskTime,
}

pub struct World {
    now: i64,
    end: i64,
    rng: fastrand::Rng,
    cas: Vec<Ca>,
    issuers: Issuers,
    certs: Vec<Cert>,
    queue: BinaryHeap<Reverse<(i64, u64, Event)>>,
    sequence: u64,
    places: Vec<usize>,
    /// What our clock is ahead by, and what we correct it by.
    ahead: i64,
    corrected: i64,
    watch: ClockWatch,
    epoch: Instant,
    /// The attempt under way, by certificate.
    underway: Vec<u64>,
    violations: Vec<String>,
    attempts: u64,
    restarts: u64,
    expiries_excused: u64,
    pub asleep: bool,
    pub greedy: bool,
}

const NAMES: [&str; 2] = ["first", "second"];

impl World {
    pub fn new(seed: u64, settings: &Settings) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let end = START + settings.days * DAY;
        let mut cas = vec![Ca::new(NAMES[0], true, true, START), Ca::new(NAMES[1], false, true, START)];
        for ca in &mut cas {
            moods(ca, &mut rng, end);
        }
        let mut issuers: Issuers =
            NAMES.iter().map(|name| ((*name).to_owned(), IssuerState::new(Limits::LETS_ENCRYPT))).collect();
        issuers.get_mut(NAMES[0]).unwrap().renewal_info = true;
        let certs = (0..settings.certificates).map(|index| cert(index, &mut rng)).collect();
        let mut world = Self {
            now: START,
            end,
            places: vec![PLACES; cas.len()],
            cas,
            issuers,
            certs,
            queue: BinaryHeap::new(),
            sequence: 0,
            ahead: 0,
            corrected: 0,
            watch: ClockWatch::default(),
            epoch: Instant::now(),
            underway: vec![0; settings.certificates],
            violations: Vec::new(),
            attempts: 0,
            restarts: 0,
            expiries_excused: 0,
            asleep: false,
            greedy: false,
            rng,
        };
        world.calendar();
        world
    }

    /// What will befall the agent.
    fn calendar(&mut self) {
        for cert in 0..self.certs.len() {
            self.push(START, Event::Look(cert, 0));
        }
        for _ in 0..self.rng.u32(20..60) {
            let when = self.rng.i64(START..self.end);
            self.push(when, Event::Restart);
        }
        for _ in 0..self.rng.u32(0..6) {
            let (when, step) = (self.rng.i64(START..self.end), self.rng.i64(-40 * DAY..60 * DAY));
            self.push(when, Event::ClockStep(step));
        }
        for _ in 0..self.rng.u32(0..4) {
            let when = self.rng.i64(START + 30 * DAY..self.end.max(START + 31 * DAY));
            let part = self.rng.usize(2..20);
            self.push(when, Event::Wave(part));
        }
    }

    fn push(&mut self, when: i64, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((when, self.sequence, event)));
    }

    /// What the agent takes for now.
    fn clock(&self) -> i64 {
        self.now + self.ahead - self.corrected
    }

    pub fn run(&mut self) {
        while let Some(Reverse((when, _, event))) = self.queue.pop() {
            if when > self.end {
                break;
            }
            self.now = when;
            self.happen(event);
        }
        for cert in 0..self.certs.len() {
            self.judge_first(cert);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Look(cert, version) => {
                if self.certs[cert].version == version && !self.certs[cert].busy {
                    self.look(cert);
                }
            }
            // Attempts of an agent that was stopped since are void.
            Event::Place(cert, issuer, replaces, attempt) if self.underway[cert] == attempt => {
                self.place(cert, issuer, replaces);
            }
            Event::Finish(cert, issuer, order, attempt) if self.underway[cert] == attempt => {
                self.finish(cert, issuer, order);
            }
            Event::Place(..) | Event::Finish(..) => {}
            Event::Answer(cert) => self.answer(cert),
            Event::Restart => self.restart(),
            Event::ClockStep(step) => {
                // Somebody sets the clock wrong, or right again.
                self.ahead = if self.ahead == 0 { step } else { 0 };
                self.observe_clock();
                self.push(self.now + 1, Event::AskTime);
                for cert in 0..self.certs.len() {
                    self.look_soon(cert);
                }
            }
            Event::Wave(part) => {
                for cert in (0..self.certs.len()).step_by(part) {
                    if let Some(current) =
                        self.certs[cert].current.clone().filter(|current| current.issuer == 0)
                    {
                        self.cas[0].revoked.insert(cert, current.not_before);
                        self.push(self.now + 60 * HOUR, Event::Check(cert));
                    }
                }
            }
            Event::Check(cert) => self.judge_revoked(cert),
            Event::AskTime => {
                if self.cas.iter().any(|ca| !ca.mood(self.now).any(|mood| matches!(mood, Mood::Down))) {
                    self.heard();
                } else {
                    self.push(self.now + 60, Event::AskTime);
                }
            }
        }
    }

    fn observe_clock(&mut self) {
        let since_boot = Duration::from_secs((self.now - START).unsigned_abs());
        let _ = self.watch.observe(at(self.now + self.ahead), since_boot, self.epoch + since_boot);
    }

    /// A CA has answered, with a Date.
    fn heard(&mut self) {
        let corrected = if self.ahead.abs() > 300 { self.ahead } else { 0 };
        if std::mem::replace(&mut self.corrected, corrected) != corrected {
            // The schedule is compared with the corrected clock from now on.
            for cert in 0..self.certs.len() {
                self.look_soon(cert);
            }
        }
        let measured = self.epoch + Duration::from_secs((self.now - START).unsigned_abs() + 1);
        self.watch.heard(Skew { ahead: SignedDuration::from_secs(self.ahead), measured });
    }

    fn look_soon(&mut self, cert: usize) {
        self.certs[cert].version += 1;
        let version = self.certs[cert].version;
        self.push(self.now, Event::Look(cert, version));
    }

    fn look_at(&mut self, cert: usize, agent_time: i64) {
        self.certs[cert].version += 1;
        let version = self.certs[cert].version;
        // The agent wakes at least every 30 s, but nothing happens then unless its time has come.
        let real = agent_time - self.ahead + self.corrected;
        self.push(real.max(self.now + 1), Event::Look(cert, version));
    }

    fn look(&mut self, index: usize) {
        self.judge_expiry(index);
        if self.asleep
            && let Some(current) = &self.certs[index].current
        {
            let due = current.not_before + self.certs[index].lifetime * 2 / 3;
            self.certs[index].due_since.get_or_insert(due);
            return self.look_at(index, self.clock() + DAY);
        }
        let now = at(self.clock());
        let cert = &self.certs[index];
        let facts = facts(cert);
        let decision = decide(now, &facts, &cert.policy, &self.issuers, cert.seed);
        if decision.at <= now || decision.hold.is_some() {
            self.certs[index].due_since.get_or_insert(self.now);
        }
        let up = Duration::from_secs((self.now - START).unsigned_abs());
        match decision.action {
            Action::Wait => {
                if self.greedy && self.places[0] > 0 && self.rng.u32(0..10) == 0 {
                    return self.begin(index, 0, &decision.reason);
                }
                let wake = if self.greedy { self.clock() + 600 } else { ceil(decision.wake) };
                self.look_at(index, wake);
            }
            Action::Obtain { .. }
                if decision.reason.is_timed()
                    && self.watch.is_doubted(self.epoch + up, true)
                    && self.places.iter().sum::<usize>() < PLACES * self.cas.len() =>
            {
                self.look_at(index, self.clock() + 10);
            }
            Action::Obtain { issuer } => {
                let issuer = NAMES.iter().position(|name| *name == issuer).unwrap();
                if self.places[issuer] == 0 {
                    // It waits for a place; nobody is held up by it.
                    return self.look_at(index, self.clock() + 5);
                }
                self.begin(index, issuer, &decision.reason);
            }
            Action::AskRenewalInfo { .. } => {
                self.certs[index].version += 1;
                self.push(self.now + 1, Event::Answer(index));
            }
            Action::Rehearse { .. } => unreachable!("no staging CA is configured"),
        }
    }

    fn begin(&mut self, index: usize, issuer: usize, reason: &Reason) {
        let now = at(self.clock());
        let agent_now = self.clock();
        self.attempts += 1;
        self.places[issuer] -= 1;
        let cert = &mut self.certs[index];
        let day = self.now / DAY;
        cert.attempts_today =
            if cert.attempts_today.0 == day { (day, cert.attempts_today.1 + 1) } else { (day, 1) };
        // With nothing valid each issuer is asked every 15 minutes: 96 times a day.
        if cert.attempts_today.1 == 130 * cert.policy.issuers.len() as u32 {
            self.violations
                .push(format!("certificate {index}: {} attempts on one day", cert.attempts_today.1));
        }
        cert.busy = true;
        self.underway[index] = self.attempts;
        cert.hurries = matches!(reason, Reason::RenewalInfo { window, .. } if window.1 <= at(agent_now));
        let replaces = facts(cert).order_kind(NAMES[issuer]) == OrderKind::Replaces;
        let resumes = cert.journal.is_some_and(|(at, _)| at == issuer);
        if !resumes {
            cert.journal = None;
            let kind = facts(cert).order_kind(NAMES[issuer]);
            let state = self.issuers.get_mut(NAMES[issuer]).unwrap();
            if !self.greedy {
                state.ledger.charge_order(now, &state.limits, kind, &cert.policy.charges);
            }
            let delay = self.rng.i64(0..3);
            self.push(self.now + delay, Event::Place(index, issuer, replaces, self.attempts));
        } else {
            let order = cert.journal.map_or(0, |(_, order)| order);
            let delay = self.rng.i64(1..60);
            self.push(self.now + delay, Event::Finish(index, issuer, order, self.attempts));
        }
    }

    fn place(&mut self, index: usize, issuer: usize, replaces: bool) {
        let cert = &self.certs[index];
        if cert.journal.is_some_and(|(at, _)| at == issuer) {
            self.violations
                .push(format!("certificate {index}: a second order beside the one in the journal"));
        }
        if self.certs[index].journal.is_some_and(|(at, _)| at == issuer) {
            self.violations
                .push(format!("certificate {index}: a second order beside the one in the journal"));
        }
        let cert = &self.certs[index];
        let kind = facts(cert).order_kind(NAMES[issuer]);
        let renewal = kind != OrderKind::New;
        let placed = self.cas[issuer].order(self.now, index, cert.domain, renewal, replaces);
        match placed {
            // The answer is lost on the way, now and then.
            Ok(_) if self.rng.u32(0..100) == 0 => {
                self.failed(index, issuer, &IssueError::new(ErrorClass::Transient, "cut"));
            }
            Ok(order) => {
                self.heard();
                self.certs[index].journal = Some((issuer, order));
                let delay = self.rng.i64(2..90);
                self.push(self.now + delay, Event::Finish(index, issuer, order, self.underway[index]));
            }
            Err(error) => {
                if error.class != ErrorClass::Transient {
                    self.heard();
                }
                let state = self.issuers.get_mut(NAMES[issuer]).unwrap();
                state.ledger.refund_order(&state.limits, kind, &self.certs[index].policy.charges);
                self.failed(index, issuer, &error);
            }
        }
    }

    fn finish(&mut self, index: usize, issuer: usize, order: usize) {
        // A name that does not validate today, an answer that is lost after finalize.
        let dice = self.rng.u32(0..1000);
        let result = match dice {
            0..5 => Err(IssueError::new(ErrorClass::Transient, "no answer")),
            _ => self.cas[issuer].finish(self.now, order),
        };
        let result = if dice == 5 {
            Err(IssueError::new(ErrorClass::Transient, "cut after finalize"))
        } else {
            result
        };
        match result {
            Ok(()) => self.obtained(index, issuer),
            Err(error) => self.failed(index, issuer, &error),
        }
    }

    fn obtained(&mut self, index: usize, issuer: usize) {
        self.heard();
        self.places[issuer] += 1;
        let now = self.now;
        let cert = &mut self.certs[index];
        let number = cert.current.as_ref().map_or(1, |current| current.number + 1);
        cert.current = Some(Generation {
            number,
            issuer,
            not_before: now - HOUR,
            not_after: now - HOUR + cert.lifetime,
        });
        (cert.journal, cert.busy, cert.due_since, cert.expired) = (None, false, None, false);
        cert.first_at.get_or_insert(now);
        cert.memory.forget_failures();
        cert.memory.ari = None;
        cert.memory.hurried = if cert.hurries { cert.memory.hurried + 1 } else { 0 };
        self.look_soon(index);
    }

    fn failed(&mut self, index: usize, issuer: usize, error: &IssueError) {
        self.places[issuer] += 1;
        let now = at(self.clock());
        let state = self.issuers.get_mut(NAMES[issuer]).unwrap();
        if error.class == ErrorClass::Ca {
            state.refused(now, &index.to_string(), error);
        }
        let cert = &mut self.certs[index];
        cert.busy = false;
        cert.memory.failed(now, Some(NAMES[issuer]), error);
        self.look_soon(index);
    }

    fn answer(&mut self, index: usize) {
        let Some(current) = self.certs[index].current.clone() else { return };
        let answer =
            self.cas[current.issuer].renewal_info(self.now, index, current.not_before, current.not_after);
        if answer.is_ok() {
            self.heard();
        }
        let now = at(self.clock());
        let cert = &mut self.certs[index];
        cert.memory.renewal_info(now, current.number, answer.map_err(|error| error.message), cert.seed);
        self.look_soon(index);
    }

    /// SIGKILL and a new start: what was under way is gone but for the journal, what was charged is kept.
    fn restart(&mut self) {
        self.restarts += 1;
        self.underway.fill(0);
        self.places = vec![PLACES; self.cas.len()];
        // What is kept is what is serialized.
        self.watch = ClockWatch::default();
        self.observe_clock();
        self.push(self.now + 1, Event::AskTime);
        for index in 0..self.certs.len() {
            let cert = &mut self.certs[index];
            cert.busy = false;
            let text = serde_json::to_string(&cert.memory).unwrap();
            cert.memory = serde_json::from_str(&text).unwrap();
            self.look_soon(index);
        }
    }
}

fn ceil(when: Timestamp) -> i64 {
    when.as_second() + i64::from(when.subsec_nanosecond() > 0)
}

fn facts(cert: &Cert) -> Facts<'_> {
    Facts {
        current: cert.current.as_ref().map(|current| Current {
            generation: current.number,
            issuer: NAMES[current.issuer],
            identifiers: &cert.identifiers,
            not_before: at(current.not_before),
            not_after: at(current.not_after),
            stored_at: at(current.not_before + HOUR),
        }),
        changed: None,
        damaged: false,
        quarantined: false,
        order_pending: cert.journal.map(|(issuer, _)| NAMES[issuer]),
        memory: &cert.memory,
        request: None,
    }
}
