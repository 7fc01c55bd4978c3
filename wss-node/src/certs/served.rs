//! A generation as handshakes present it: chain and key, and a staple for as long as it is valid.

use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, UnixTime};
use sealwire_proto::v1::{Held, StaplePolicy};
use sealwire_proto::validate::{Checked, LeafFacts, digest_of_all};

use super::staple::Staple;

/// A generation that is served, or held until it is. Never changed: a new staple makes a new one.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) certificate: String,
    pub(crate) generation: u64,
    pub(crate) leaf: LeafFacts,
    pub(crate) chain_sha256: [u8; 32],
    /// Against whom staples are checked; `None`: nobody known, so there are none.
    pub(crate) issuer: Option<CertificateDer<'static>>,
    pub(crate) stapling: Stapling,
    /// Without a staple.
    bare: Arc<CertifiedKey>,
    stapled: Option<Stapled>,
}

/// What is done without a valid staple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stapling {
    pub(crate) policy: StaplePolicy,
    /// Seconds.
    pub(crate) grace_s: i64,
    /// End of the last staple, or when the generation came if there was none: seconds since the Unix epoch.
    pub(crate) covered_until: i64,
}

#[derive(Clone, Debug)]
struct Stapled {
    key: Arc<CertifiedKey>,
    sha256: [u8; 32],
    until: i64,
}

/// Seconds since the Unix epoch, as everything here counts.
pub(crate) fn seconds(now: UnixTime) -> i64 {
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

impl Served {
    /// A generation that passed its checks, without a staple.
    pub(crate) fn new(certificate: String, generation: u64, checked: Checked, stapling: Stapling) -> Self {
        Self {
            certificate,
            generation,
            chain_sha256: digest_of_all(&checked.certified_key.cert),
            leaf: checked.leaf,
            issuer: checked.issuer,
            stapling,
            bare: checked.certified_key,
            stapled: None,
        }
    }

    /// The same with another staple; `None` keeps the one there is.
    pub(crate) fn with_staple(&self, staple: Option<Staple>, policy: StaplePolicy, grace_s: u64) -> Self {
        let mut new = self.clone();
        new.stapling.policy = policy;
        new.stapling.grace_s = i64::try_from(grace_s).unwrap_or(i64::MAX);
        if let Some(staple) = staple {
            new.stapling.covered_until = staple.until;
            let mut key = CertifiedKey::clone(&self.bare);
            key.ocsp = Some(staple.response);
            new.stapled = Some(Stapled { key: Arc::new(key), sha256: staple.sha256, until: staple.until });
        }
        if policy == StaplePolicy::Unspecified {
            new.stapled = None;
        }
        new
    }

    /// The same with the staple of an earlier delivery of the same leaf, unless this one brought its own.
    pub(crate) fn keeping_staple_of(mut self, earlier: &Self) -> Self {
        let keeps = self.stapled.is_none() && self.leaf.sha256 == earlier.leaf.sha256;
        if keeps {
            self.stapling.covered_until = earlier.stapling.covered_until;
            if self.stapling.policy != StaplePolicy::Unspecified {
                self.stapled.clone_from(&earlier.stapled);
            }
        }
        self
    }

    /// The leaf's DER.
    pub(crate) fn leaf_der(&self) -> Option<&CertificateDer<'static>> {
        self.bare.cert.first()
    }

    /// What a handshake presents at `now`. A staple that has ended is left out, however late anybody else notices.
    pub(crate) fn key(&self, now: i64) -> &Arc<CertifiedKey> {
        self.stapled_at(now).map_or(&self.bare, |stapled| &stapled.key)
    }

    /// SHA-256 of the staple that a handshake presents at `now`.
    pub(crate) fn staple_sha256(&self, now: i64) -> Option<[u8; 32]> {
        self.stapled_at(now).map(|stapled| stapled.sha256)
    }

    /// Until when there is a staple: seconds since the Unix epoch.
    pub(crate) fn stapled_until(&self) -> Option<i64> {
        self.stapled.as_ref().map(|stapled| stapled.until)
    }

    fn stapled_at(&self, now: i64) -> Option<&Stapled> {
        self.stapled.as_ref().filter(|stapled| now < stapled.until)
    }

    /// Whether a swap to `other` would change nothing.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let of = |served: &Self| {
            let staple = served.stapled.as_ref().map(|stapled| stapled.sha256);
            (served.generation, served.chain_sha256, staple, served.stapling)
        };
        of(self) == of(other)
    }

    /// As the agent is told.
    pub(crate) fn held(&self, now: i64) -> Held {
        Held {
            certificate: self.certificate.clone(),
            generation: self.generation,
            leaf_sha256: self.leaf.sha256.to_vec(),
            staple_sha256: self.staple_sha256(now).map(Vec::from).unwrap_or_default(),
        }
    }
}
