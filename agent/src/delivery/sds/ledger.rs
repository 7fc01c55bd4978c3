//! Which response an answer is about: xDS answers name a nonce. Pure.

use std::collections::BTreeMap;

use crate::delivery::slot::Digest;

/// Responses without an answer that are remembered; a client that answers none is given up long before.
const MAX_UNANSWERED: usize = 64;

/// What a response had in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) certificate: String,
    pub(super) generation: u64,
    pub(super) staple: Option<Digest>,
    /// The generation was there already: it was sent for the sake of the staple.
    pub(super) for_staple: bool,
}

/// The responses of one stream that wait for an answer.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    last: u64,
    sent: BTreeMap<u64, Sent>,
}

impl Ledger {
    /// Enters a response and gives it a nonce.
    pub(super) fn send(&mut self, sent: Sent) -> String {
        self.last += 1;
        self.sent.insert(self.last, sent);
        if self.sent.len() > MAX_UNANSWERED {
            self.sent.pop_first();
        }
        self.last.to_string()
    }

    /// What an answer is about; `None` for what was answered already, as when a client only changes what it asks
    /// for. Who answers a later response about a certificate has dealt with the earlier ones.
    pub(super) fn answer(&mut self, nonce: &str) -> Option<Sent> {
        let number: u64 = nonce.parse().ok()?;
        let sent = self.sent.remove(&number)?;
        self.sent.retain(|other, earlier| *other > number || earlier.certificate != sent.certificate);
        Some(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(certificate: &str, generation: u64) -> Sent {
        Sent { certificate: certificate.to_owned(), generation, staple: None, for_staple: false }
    }

    #[test]
    fn an_answer_counts_once_and_settles_what_came_before() {
        let mut ledger = Ledger::default();
        let one = ledger.send(sent("web", 1));
        let other = ledger.send(sent("api", 1));
        let two = ledger.send(sent("web", 2));
        assert_eq!(ledger.answer(&two), Some(sent("web", 2)));
        assert_eq!(ledger.answer(&two), None, "a second time");
        assert_eq!(ledger.answer(&one), None, "superseded");
        assert_eq!(ledger.answer(&other), Some(sent("api", 1)));
        for stranger in ["", "0", "99", "-1", "x"] {
            assert_eq!(ledger.answer(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn a_client_that_never_answers_costs_little() {
        let mut ledger = Ledger::default();
        for generation in 0..1000 {
            let certificate = format!("c{generation}");
            ledger.send(sent(&certificate, generation));
        }
        assert_eq!(ledger.sent.len(), MAX_UNANSWERED);
    }
}
