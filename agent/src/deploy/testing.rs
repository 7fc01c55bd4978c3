//! Generations for the tests of targets.
#![allow(clippy::unwrap_used)]

use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair};
use sealwire_proto::validate::LeafFacts;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use crate::store::{Chain, Generation, Metadata};

/// One for `a.example` that is valid until so many seconds from now.
pub(crate) fn generation_until(number: u64, seconds: i64) -> Generation {
    let key = KeyPair::generate().unwrap();
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (now - Duration::DAY, now + Duration::seconds(seconds));
    let leaf = params.self_signed(&key).unwrap().der().clone();
    let metadata = Metadata {
        profile: None,
        key_type: Default::default(),
        issuer: "pki".into(),
        identifiers: vec!["a.example".into()],
        stored_at: Timestamp::UNIX_EPOCH,
    };
    Generation {
        number,
        leaf: LeafFacts::parse(&leaf).unwrap(),
        chain: Chain::of(vec![leaf]).unwrap(),
        key: Zeroizing::new(key.serialize_der()),
        metadata,
    }
}

/// One that is valid for an hour.
pub(crate) fn generation(number: u64) -> Generation {
    generation_until(number, 3600)
}
