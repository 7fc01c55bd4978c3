//! Generations that were validated and wait for their Commit: one per certificate, the newest.

use std::collections::BTreeMap;

use sealwire_proto::v1::NackReason;
use sealwire_proto::validate::Rejection;

use super::served::Served;

/// Certificates that may wait at the same time. Each holds a chain and a key, some 10 KiB.
const MAX_PREPARED: usize = 1024;

/// What waits on one stream. Keys are wiped with it: it is dropped when the stream ends.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    by_certificate: BTreeMap<String, (Served, bool)>,
}

impl Prepared {
    /// Holds a generation in place of another of its certificate; `rollback`: its number may be lower than the one
    /// that is served.
    pub(super) fn hold(&mut self, served: Served, rollback: bool) -> Result<(), Rejection> {
        if self.by_certificate.len() >= MAX_PREPARED && !self.by_certificate.contains_key(&served.certificate)
        {
            let detail = format!("{MAX_PREPARED} certificates wait for their commit already");
            return Err(Rejection::new(NackReason::Internal, detail));
        }
        self.by_certificate.insert(served.certificate.clone(), (served, rollback));
        Ok(())
    }

    /// Gives out what was held, if it is this generation.
    pub(super) fn take(&mut self, certificate: &str, generation: u64) -> Result<(Served, bool), Rejection> {
        let held = self.by_certificate.get(certificate).map(|(served, _)| served.generation);
        if held == Some(generation)
            && let Some(taken) = self.by_certificate.remove(certificate)
        {
            return Ok(taken);
        }
        let instead = held.map_or_else(|| "nothing".to_owned(), |held| format!("generation {held}"));
        let detail = format!("{instead} is prepared of it; send it again");
        Err(Rejection::new(NackReason::NotPrepared, detail))
    }

    /// Forgets a generation.
    pub(super) fn discard(&mut self, certificate: &str, generation: u64) {
        // Another generation stays: this message was overtaken.
        let _ = self.take(certificate, generation);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::certs::validate::tests::{bundle_for, checked};

    fn served(generation: u64) -> Served {
        checked(&bundle_for("web", generation, &["a.example"]))
    }

    #[test]
    fn the_newest_is_held_and_given_out_once() {
        let mut prepared = Prepared::default();
        assert_eq!(prepared.take("web", 1).unwrap_err().reason, NackReason::NotPrepared);
        prepared.hold(served(1), false).unwrap();
        prepared.hold(served(2), true).unwrap();
        let rejection = prepared.take("web", 1).unwrap_err();
        assert!(rejection.detail.starts_with("generation 2 is prepared"), "{rejection}");
        prepared.discard("web", 1);
        let (taken, rollback) = prepared.take("web", 2).unwrap();
        assert!((taken.generation, rollback) == (2, true));
        assert!(prepared.take("web", 2).is_err());
        prepared.hold(served(3), false).unwrap();
        prepared.discard("web", 3);
        assert!(prepared.take("web", 3).is_err());
    }

    #[test]
    fn what_waits_is_bounded() {
        let (mut prepared, one) = (Prepared::default(), served(1));
        let named = |certificate: String| {
            let mut served = one.clone();
            served.certificate = certificate;
            served
        };
        for number in 0..MAX_PREPARED {
            prepared.hold(named(number.to_string()), false).unwrap();
        }
        assert_eq!(prepared.hold(one.clone(), false).unwrap_err().reason, NackReason::Internal);
        assert!(prepared.hold(named("0".into()), false).is_ok(), "in place of another");
    }
}
