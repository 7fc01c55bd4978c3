//! Who signs OCSP answers: for each authority a key of its own with a short-lived certificate of that
//! authority (RFC 6960 section 4.2.2.2). The keys are in memory only; a restart makes others.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SigningKey};
use x509_cert::Certificate;
use x509_cert::der::asn1::{BitString, ObjectIdentifier, OctetString};
use x509_cert::der::{Decode, Encode};
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_ocsp::{BasicOcspResponse, ResponderId, ResponseData};
use zeroize::Zeroizing;

use super::authority::{Authority, generate};
use super::identity::AuthorityId;
use super::make;
use super::record::Revocation;
use crate::config::PublishConfig;
use crate::issuer::{ErrorClass, IssueError};

/// How long a signer's certificate lives at least; it is replaced at half of its life.
const MIN_LIFETIME: SignedDuration = SignedDuration::from_hours(24);

/// Answers that are kept: of a few hundred bytes each, 20,000 are 10 MB.
const MAX_CACHED: usize = 20_000;

/// ecdsa-with-SHA256 (RFC 5758 section 3.2).
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");

/// One signer.
pub(super) struct Responder {
    key: Zeroizing<KeyPair>,
    certificate: Certificate,
    id: ResponderId,
    not_before: Timestamp,
    renew_at: Timestamp,
    pub(super) not_after: Timestamp,
}

/// An answer to one question without a nonce.
#[derive(Clone)]
pub(super) struct Cached {
    pub(super) answer: Bytes,
    pub(super) revoked: Option<Revocation>,
    pub(super) this_update: Timestamp,
    pub(super) next_update: Timestamp,
}

/// The signers of one CA, and what they have signed.
pub(super) struct Responders {
    name: String,
    /// How long an answer is good for.
    pub(super) answer_lifetime: SignedDuration,
    signers: Mutex<BTreeMap<AuthorityId, Arc<Responder>>>,
    /// By the question in DER.
    cache: Mutex<HashMap<Vec<u8>, Cached>>,
}

impl Responders {
    pub(super) fn new(name: &str, publish: Option<&PublishConfig>) -> Self {
        let answer_lifetime =
            publish.map_or(SignedDuration::ZERO, |publish| make::signed(publish.ocsp_lifetime));
        Self { name: name.to_owned(), answer_lifetime, signers: Mutex::default(), cache: Mutex::default() }
    }

    /// The signer for an authority; a new one if it is due.
    ///
    /// # Errors
    /// Its key or certificate could not be made.
    pub(super) fn signer(
        &self,
        id: AuthorityId,
        authority: &Authority,
        now: Timestamp,
    ) -> Result<Arc<Responder>, IssueError> {
        let mut signers = self.signers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signer) = signers.get(&id)
            && (signer.not_before..signer.renew_at).contains(&now)
        {
            return Ok(Arc::clone(signer));
        }
        signers.retain(|_, signer| signer.not_after > now);
        let lifetime = MIN_LIFETIME.max(self.answer_lifetime * 2);
        let signer = Arc::new(Responder::new(&self.name, authority, lifetime, now)?);
        signers.insert(id, Arc::clone(&signer));
        Ok(signer)
    }

    /// An answer from before, as long as it is less than half over and says what is known now.
    pub(super) fn cached(
        &self,
        question: &[u8],
        revoked: Option<Revocation>,
        now: Timestamp,
    ) -> Option<Cached> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = cache.get(question)?;
        let half = cached.this_update + cached.next_update.duration_since(cached.this_update) / 2;
        let good = (cached.this_update..half).contains(&now) && cached.revoked == revoked;
        good.then(|| cached.clone())
    }

    /// Keeps an answer.
    pub(super) fn keep(&self, question: Vec<u8>, answer: Cached, now: Timestamp) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MAX_CACHED {
            cache.retain(|_, cached| cached.next_update > now);
        }
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        cache.insert(question, answer);
    }
}

impl Responder {
    fn new(
        name: &str,
        authority: &Authority,
        lifetime: SignedDuration,
        now: Timestamp,
    ) -> Result<Self, IssueError> {
        let wrong = |detail: String| {
            IssueError::new(
                ErrorClass::Ours,
                format!("issuer {name}: cannot make a signer for OCSP: {detail}"),
            )
        };
        let not_after = (now + lifetime).min(authority.not_after());
        if not_after <= now {
            return Err(wrong(format!("the authority ended at {}", authority.not_after())));
        }
        let key = generate(&PKCS_ECDSA_P256_SHA256)?;
        let params = make::responder(name, authority, not_after, now)?;
        let signed = authority.signer().and_then(|signer| params.signed_by(&*key, &signer));
        let signed = signed.map_err(|error| wrong(error.to_string()))?;
        let certificate = Certificate::from_der(signed.der()).map_err(|error| wrong(error.to_string()))?;
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, key.der_bytes());
        let hash = OctetString::new(hash.as_ref()).map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            key,
            certificate,
            id: ResponderId::ByKey(hash),
            not_before: now,
            renew_at: now + not_after.duration_since(now) / 2,
            not_after,
        })
    }

    /// How it names itself in an answer.
    pub(super) fn id(&self) -> ResponderId {
        self.id.clone()
    }

    /// Signs an answer.
    ///
    /// # Errors
    /// What could not be encoded or signed.
    pub(super) fn sign(&self, data: ResponseData) -> Result<BasicOcspResponse, String> {
        let bytes = data.to_der().map_err(|error| error.to_string())?;
        let signature = self.key.sign(&bytes).map_err(|error| error.to_string())?;
        Ok(BasicOcspResponse {
            tbs_response_data: data,
            signature_algorithm: AlgorithmIdentifierOwned { oid: ECDSA_WITH_SHA256, parameters: None },
            signature: BitString::from_bytes(&signature).map_err(|error| error.to_string())?,
            certs: Some(vec![self.certificate.clone()]),
        })
    }
}
