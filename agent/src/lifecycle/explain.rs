//! The same decision with its numbers: what `sealwire why` prints, and what `sealwire plan` foresees.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use jiff::{SignedDuration, Timestamp};

use super::limits::OrderKind;
use super::{
    Change, Choice, Current, Decision, Facts, Issuers, Memory, Policy, Reason, choice, decide, plus, renewal,
    span,
};

/// One line of an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it is about.
    pub label: String,
    /// What there is to say.
    pub text: String,
}

/// Why the next action is what it is, with the numbers behind it.
#[must_use]
pub fn explain(
    now: Timestamp,
    facts: &Facts<'_>,
    policy: &Policy,
    issuers: &Issuers,
    seed: u64,
) -> Vec<Line> {
    let decision = decide(now, facts, policy, issuers, seed);
    let due = renewal::due(now, facts, policy, seed);
    let mut lines = Vec::new();
    let mut say = |label: &str, text: String| lines.push(Line { label: label.to_owned(), text });
    if let Some(current) = &facts.current {
        let lifetime = current.lifetime();
        let over = now.duration_since(current.not_before).as_secs_f64() / lifetime.as_secs_f64() * 100.0;
        say(
            "current",
            format!(
                "generation {} from {}, valid {:.0} to {:.0}: {over:.1} % of {} is over, {} left",
                current.generation,
                current.issuer,
                current.not_before,
                current.not_after,
                span(lifetime),
                span(current.not_after.duration_since(now)),
            ),
        );
    }
    say("due", format!("{:.0}: {}", due.at, due.reason));
    say_renewal_info(facts, issuers, &mut say);
    if let Some(windows) = &policy.windows {
        let patience = due.patience.map_or("not now: this cannot wait".to_owned(), |until| {
            format!("waited for until {until:.0} at the latest")
        });
        let expressions = windows.expressions().collect::<Vec<_>>().join(", ");
        say("windows", format!("{expressions}, each {}; {patience}", span(windows.lasts())));
    }
    let pressed = choice::is_pressed(now, &due, facts);
    let mood = if pressed {
        "pressed: under half of the margin is left, so the next issuer is asked after each failure"
    } else {
        "calm: an issuer is asked three times before the next one gets its turn"
    };
    say("margin", mood.to_owned());
    let situation = choice::Situation { now, due: &due, facts, policy, issuers, seed, pressed };
    for choice in situation.all() {
        let name = &policy.issuers[choice.issuer];
        say(&format!("issuer {name}"), issuer_line(now, &choice, name, facts, issuers));
    }
    say("next", next_line(now, &decision, policy));
    if let Some(current) = &facts.current {
        let survives = current.not_after.duration_since(decision.at.max(now));
        let text = format!("an outage of {} from the next order on, if no issuer answers", span(survives));
        say("survives", if survives.is_positive() { text } else { "nothing: it has expired".to_owned() });
    }
    lines
}

fn say_renewal_info(facts: &Facts<'_>, issuers: &Issuers, say: &mut impl FnMut(&str, String)) {
    let Some(current) = &facts.current else { return };
    if issuers.get(current.issuer).is_none_or(|state| !state.renewal_info) {
        return;
    }
    let text = match facts.memory.ari.as_ref().filter(|ari| ari.generation == current.generation) {
        None => "not asked yet for this generation".to_owned(),
        Some(ari) => {
            let window = match (&ari.info, ari.instant) {
                (Some(info), Some(instant)) => {
                    let why =
                        info.explanation_url.as_ref().map(|url| format!(", see {url}")).unwrap_or_default();
                    format!("window {:.0} to {:.0}, drawn {instant:.0}{why}", info.start, info.end)
                }
                _ => "the CA gives none".to_owned(),
            };
            let error = ari
                .error
                .as_ref()
                .map(|error| format!("; {} error(s), last: {error}", ari.errors))
                .unwrap_or_default();
            format!("{window}; asked again {:.0}{error}", ari.next)
        }
    };
    say("renewal info", text);
}

fn issuer_line(now: Timestamp, choice: &Choice, name: &str, facts: &Facts<'_>, issuers: &Issuers) -> String {
    let mut text = match &choice.hold {
        Some(hold) if choice.at > now => format!("from {:.0} on: {hold}", choice.at),
        _ => "can be asked now".to_owned(),
    };
    if choice.rehearse {
        text.push_str("; rehearsed at its staging CA first");
    }
    if let Some(state) = issuers.get(name) {
        let (orders, domain) = state.ledger.used(now, &state.limits);
        if let Some(limit) = state.limits.orders {
            text.push_str(&format!("; {orders} of {limit} orders used"));
        }
        if let (Some(limit), Some((domain, used))) = (state.limits.per_domain, domain) {
            text.push_str(&format!(", {used} of {limit} certificates of {domain}"));
        }
    }
    text.push_str(match facts.order_kind(name) {
        OrderKind::Replaces => "; an order replaces the current one and counts for no limit",
        OrderKind::Renewal => "; an order counts as a renewal",
        OrderKind::New => "; an order counts as a new one",
    });
    text
}

fn next_line(now: Timestamp, decision: &Decision, policy: &Policy) -> String {
    let issuer = &policy.issuers[decision.issuer];
    let when = if decision.at <= now {
        "now".to_owned()
    } else {
        format!("{:.0} (in {})", decision.at, span(decision.at.duration_since(now)))
    };
    format!("order from {issuer} {when}: {}", decision.why())
}

/// A certificate to plan for.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its policy.
    pub policy: Policy,
    /// Its seed.
    pub seed: u64,
    /// What is remembered of it.
    pub memory: Memory,
    /// The current generation.
    pub current: Option<Held>,
    /// What the configuration wants different.
    pub changed: Option<Change>,
    /// What the store holds cannot be used.
    pub damaged: bool,
    /// The newest generation was refused.
    pub quarantined: bool,
}

/// A generation, owned.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its number.
    pub generation: u64,
    /// Where it came from.
    pub issuer: String,
    /// What it is for.
    pub identifiers: Vec<String>,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
}

/// An order that is foreseen.
#[derive(Clone, Debug)]
pub struct Planned {
    /// When.
    pub at: Timestamp,
    /// Which certificate: position in the subjects.
    pub subject: usize,
    /// From which issuer.
    pub issuer: String,
    /// Why.
    pub reason: Reason,
    /// What holds it up beyond the instant it is due.
    pub hold: Option<String>,
    /// How long an outage beginning then it survives; less than zero: it will have expired.
    pub survives: Option<SignedDuration>,
}

/// The lifetime expected of a certificate that there is none of yet (Let's Encrypt's `tlsserver`).
const EXPECTED_LIFETIME: SignedDuration = SignedDuration::from_hours(45 * 24);

/// What will be ordered until `until`, in order of time, if every order succeeds and lifetimes stay as
/// they are. It asks [`decide`] and charges the same limits. At most `most` orders.
#[must_use]
pub fn plan(
    now: Timestamp,
    until: Timestamp,
    subjects: &[Subject],
    issuers: &Issuers,
    most: usize,
) -> Vec<Planned> {
    let mut issuers = issuers.clone();
    // Questions change windows, not this plan; they are counted by rate where they are shown.
    issuers.values_mut().for_each(|state| state.renewal_info = false);
    let mut subjects = subjects.to_vec();
    let mut queue: BinaryHeap<_> = (0..subjects.len()).map(|index| Reverse((now, index))).collect();
    let mut planned = Vec::new();
    while let Some(Reverse((at, index))) = queue.pop() {
        if at > until || planned.len() == most {
            break;
        }
        let subject = &mut subjects[index];
        let decision = decide(at, &subject.facts(), &subject.policy, &issuers, subject.seed);
        if at < decision.at {
            queue.push(Reverse((decision.at, index)));
            continue;
        }
        let issuer = subject.policy.issuers[decision.issuer].clone();
        let kind = subject.facts().order_kind(&issuer);
        if let Some(state) = issuers.get_mut(&issuer) {
            state.ledger.charge_order(at, &state.limits, kind, &subject.policy.charges);
        }
        planned.push(Planned {
            at,
            subject: index,
            issuer: issuer.clone(),
            reason: decision.reason,
            hold: decision.hold.map(|hold| hold.to_string()),
            survives: subject.current.as_ref().map(|current| current.not_after.duration_since(at)),
        });
        subject.renewed(at, issuer);
        queue.push(Reverse((at, index)));
    }
    planned
}

impl Subject {
    /// As decisions want it.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            current: self.current.as_ref().map(|held| Current {
                generation: held.generation,
                issuer: &held.issuer,
                identifiers: &held.identifiers,
                not_before: held.not_before,
                not_after: held.not_after,
                stored_at: held.not_before,
            }),
            changed: self.changed,
            damaged: self.damaged,
            quarantined: self.quarantined,
            order_pending: None,
            memory: &self.memory,
            request: None,
        }
    }

    fn renewed(&mut self, at: Timestamp, issuer: String) {
        let (generation, lifetime) = match &self.current {
            Some(held) => (held.generation + 1, held.not_after.duration_since(held.not_before)),
            None => (1, EXPECTED_LIFETIME),
        };
        self.memory.forget_failures();
        self.memory.ari = None;
        (self.changed, self.damaged, self.quarantined) = (None, false, false);
        let identifiers = self.policy.charges.identifiers.clone();
        self.current =
            Some(Held { generation, issuer, identifiers, not_before: at, not_after: plus(at, lifetime) });
    }
}
