//! What there is to see of a CA, as it was when something last changed: readers hold up nobody who signs.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls_pki_types::CertificateDer;
use sealwire_proto::anchors::roots_sha256;

use super::authority::Authority;
use super::crl::Crl;
use super::identity::AuthorityId;
use super::roots::Roots;

/// How a request for OCSP names an issuer: digests of its subject and of the bits of its key (RFC 6960
/// section 4.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digests {
    pub(super) name: Vec<u8>,
    pub(super) key: Vec<u8>,
}

/// An authority that answers may be asked for.
pub(super) struct Seen {
    pub(super) authority: Arc<Authority>,
    pub(super) sha1: Digests,
    pub(super) sha256: Digests,
}

/// The CA as readers see it.
#[derive(Default)]
pub(super) struct View {
    /// The published roots, the older one first.
    pub(super) roots: Vec<CertificateDer<'static>>,
    /// The same in PEM.
    pub(super) roots_pem: String,
    /// The digest by which nodes confirm them.
    pub(super) roots_sha256: [u8; 32],
    /// Counts changes of the roots.
    pub(super) roots_version: u64,
    pub(super) authorities: BTreeMap<AuthorityId, Seen>,
    pub(super) crls: BTreeMap<AuthorityId, Arc<Crl>>,
    /// How far the change of the root is, in words; empty: none is under way.
    pub(super) rotation: String,
    /// Who has not confirmed the new root.
    pub(super) waiting_for: Vec<String>,
    /// What could not be written or signed, while it cannot.
    pub(super) fault: Option<String>,
}

impl View {
    /// With the roots that are published now.
    pub(super) fn with_roots(mut self, roots: &Roots, before: &Self) -> Self {
        self.roots = roots.published().map(|(_, root)| root.certificate().clone()).collect();
        self.roots_pem = roots.published().map(|(_, root)| root.certificate_pem()).collect();
        self.roots_sha256 = roots_sha256(&self.roots);
        self.roots_version = before.roots_version + u64::from(self.roots != before.roots);
        self
    }

    /// Whether the loop has something to do about the difference.
    pub(super) fn concerns_loop(&self, before: &Self) -> bool {
        self.roots_version != before.roots_version
            || self.rotation != before.rotation
            || self.waiting_for != before.waiting_for
            || self.fault != before.fault
    }
}

impl Seen {
    pub(super) fn new(authority: Arc<Authority>) -> Self {
        let digests = |algorithm: &'static Algorithm| Digests {
            name: digest(algorithm, authority.subject()).as_ref().to_vec(),
            key: digest(algorithm, authority.public_key()).as_ref().to_vec(),
        };
        Self { sha1: digests(&SHA1_FOR_LEGACY_USE_ONLY), sha256: digests(&SHA256), authority }
    }
}
