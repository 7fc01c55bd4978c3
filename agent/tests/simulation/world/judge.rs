//! What must hold, whatever happens.

use std::fmt;

use super::{DAY, HOUR, START, World, at};

pub struct Report {
    pub violations: Vec<String>,
    text: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl World {
    pub(super) fn judge_expiry(&mut self, index: usize) {
        let cert = &mut self.certs[index];
        let Some(current) = cert.current.as_ref().filter(|current| current.not_after <= self.now) else {
            return;
        };
        if std::mem::replace(&mut cert.expired, true) {
            return;
        }
        // Excused only if no issuer of its was up for long enough, between the time it was due and the end:
        // a wait takes up to half of what is left, and the queue some minutes.
        let (from, to) = (cert.due_since.unwrap_or(current.not_after), current.not_after);
        let step = 600;
        let mut chance = false;
        for issuer in &cert.policy.issuers {
            let ca = self.cas.iter().find(|ca| ca.name == issuer).unwrap();
            let mut up_since = None;
            let mut when = from;
            while when < to {
                up_since = if ca.is_up(when) { up_since.or(Some(when)) } else { None };
                chance |= up_since.is_some_and(|since| when - since > (to - since) * 6 / 10 + HOUR);
                when += step;
            }
        }
        if chance {
            let text = format!(
                "certificate {index} (lifetime {} d, issuers {:?}) expired {} although an issuer was up; due since {}, memory {:?}",
                cert.lifetime / DAY,
                cert.policy.issuers,
                at(to),
                at(from),
                cert.memory
            );
            self.violations.push(text);
        } else {
            self.expiries_excused += 1;
        }
    }

    /// Replaced within 60 hours of the revocation (the CA wants to be asked once a day, and a clock that was
    /// wrong when it was asked last may cost 30 hours more), if the CA was up for the last ten of them.
    pub(super) fn judge_revoked(&mut self, index: usize) {
        let Some(current) = self.certs[index].current.clone() else { return };
        let ca = &self.cas[0];
        // One that the CA wanted replaced twice in a row waits for up to a day.
        let hurried = self.certs[index].memory.hurried > 0;
        let steady = (0..60).all(|part| {
            let when = self.now - part * HOUR;
            ca.mood(when).next().is_none()
        });
        if steady
            && !hurried
            && self.ahead == 0
            && ca.revoked.get(&index) == Some(&current.not_before)
            && current.issuer == 0
        {
            self.violations
                .push(format!("certificate {index} is revoked and was not replaced by {}", at(self.now)));
        }
    }

    /// Nobody starves: a hundred orders an hour, and the fallback besides.
    pub(super) fn judge_first(&mut self, index: usize) {
        let cert = &self.certs[index];
        let patience = 14 * DAY + self.certs.len() as i64 * 40;
        if cert.first_at.is_none_or(|first| first > START + patience) {
            self.violations
                .push(format!("certificate {index} starved: first obtained {:?}", cert.first_at.map(at)));
        }
    }

    pub fn report(&self) -> Report {
        let mut violations = self.violations.clone();
        for ca in &self.cas {
            violations.extend(ca.limit_hits.iter().map(|hit| format!("{}: over the limit: {hit}", ca.name)));
        }
        let orders: Vec<_> = self.cas.iter().map(|ca| (ca.orders.len(), ca.issued)).collect();
        let text = format!(
            "{} attempts, (orders, issued) {orders:?}, {} restarts, {} expired in outages of every issuer",
            self.attempts, self.restarts, self.expiries_excused
        );
        Report { violations, text }
    }
}
