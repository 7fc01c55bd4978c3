//! Answers about what a CA issued (RFC 6960): good only for what is on record, revoked for what was revoked,
//! unknown for every other serial number; and nothing at all about other issuers.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use x509_cert::der::asn1::{GeneralizedTime, ObjectIdentifier};
use x509_cert::der::{self, Decode, Encode};
use x509_cert::ext::pkix::CrlReason;
use x509_cert::ext::{Extension, Extensions};
use x509_ocsp::{
    CertId, CertStatus, OcspGeneralizedTime, OcspRequest, OcspResponse, ResponseData, RevokedInfo,
    SingleResponse, Version,
};

use super::InternalIssuer;
use super::identity::AuthorityId;
use super::make::BACKDATE;
use super::record::{Entry, Revocation};
use super::responder::Cached;
use super::view::View;

/// Questions in one request: a chain has two.
const MAX_QUESTIONS: usize = 10;

/// A longer nonce is not echoed (RFC 9654 section 2.1 asks for 16 to 32 bytes to be)
const MAX_ECHOED_NONCE_BYTES: usize = 32;
/// and beyond this, as an empty one, is malformed.
const MAX_NONCE_BYTES: usize = 128;

const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// What is sent back.
pub(super) struct Answer {
    pub(super) der: Bytes,
    /// From when until when it is good; `None` if it must not be kept.
    pub(super) good: Option<(Timestamp, Timestamp)>,
}

/// Why there is no answer (RFC 6960 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Malformed,
    /// It is about issuers that we do not speak for, or about several at once.
    Unauthorized,
    TryLater,
}

impl InternalIssuer {
    /// Answers a request in DER. There is always an answer.
    pub(super) fn answer_ocsp(&self, request: &[u8]) -> Answer {
        self.answered(request, self.clock.now()).unwrap_or_else(|refusal| {
            let response = match refusal {
                Refusal::Malformed => OcspResponse::malformed_request(),
                Refusal::Unauthorized => OcspResponse::unauthorized(),
                Refusal::TryLater => OcspResponse::try_later(),
            };
            Answer { der: response.to_der().unwrap_or_default().into(), good: None }
        })
    }

    fn answered(&self, request: &[u8], now: Timestamp) -> Result<Answer, Refusal> {
        let request = OcspRequest::from_der(request).map_err(|_| Refusal::Malformed)?.tbs_request;
        let nonce = nonce(request.request_extensions.as_ref())?;
        let questions: Vec<CertId> =
            request.request_list.into_iter().map(|question| question.req_cert).collect();
        if questions.is_empty() || questions.len() > MAX_QUESTIONS {
            return Err(Refusal::Malformed);
        }
        let view = self.view();
        let id = issuer_of(&view, &questions).ok_or(Refusal::Unauthorized)?;

        let entries: Vec<_> = questions.iter().map(|question| self.entry(id, question)).collect();
        // Every other question would be answered anew: only what was issued is worth keeping.
        let key = match (&questions[..], &entries[..], &nonce) {
            ([question], [Some(entry)], None) => question.to_der().ok().map(|key| (key, entry.revoked)),
            _ => None,
        };
        if let Some((key, revoked)) = &key
            && let Some(cached) = self.responders.cached(key, *revoked, now)
        {
            let good = Some((cached.this_update, cached.next_update));
            return Ok(Answer { der: cached.answer, good });
        }
        let signed = self.signed(&view, id, questions, &entries, nonce.as_ref(), now);
        let (der, this_update, next_update) = signed.map_err(|error| {
            tracing::error!(issuer = self.shared.name, authority = %id, error, "cannot answer a request for OCSP");
            Refusal::TryLater
        })?;
        let good = nonce.is_none().then_some((this_update, next_update));
        if let Some((key, revoked)) = key {
            let cached = Cached { answer: der.clone(), revoked, this_update, next_update };
            self.responders.keep(key, cached, now);
        }
        Ok(Answer { der, good })
    }

    fn entry(&self, by: AuthorityId, question: &CertId) -> Option<Entry> {
        self.shared.record.find(question.serial_number.as_bytes()).filter(|entry| entry.by == by)
    }

    fn signed(
        &self,
        view: &View,
        id: AuthorityId,
        questions: Vec<CertId>,
        entries: &[Option<Entry>],
        nonce: Option<&Extension>,
        now: Timestamp,
    ) -> Result<(Bytes, Timestamp, Timestamp), String> {
        let seen = view.authorities.get(&id).ok_or("the authority is gone")?;
        let signer = self.responders.signer(id, &seen.authority, now).map_err(|error| error.message)?;
        let this_update = now - BACKDATE;
        let next_update = (now + self.responders.answer_lifetime).min(signer.not_after);
        let time = |at| time(at).map_err(|error| error.to_string());
        let answer = |(question, entry): (CertId, &Option<Entry>)| {
            Ok::<_, String>(SingleResponse {
                cert_id: question,
                cert_status: match entry {
                    Some(Entry { revoked: Some(revocation), .. }) => CertStatus::Revoked(RevokedInfo {
                        revocation_time: time(revocation.at)?,
                        revocation_reason: reason(*revocation),
                    }),
                    Some(_) => CertStatus::good(),
                    None => CertStatus::unknown(),
                },
                this_update: time(this_update)?,
                next_update: Some(time(next_update)?),
                single_extensions: None,
            })
        };
        let data = ResponseData {
            version: Version::V1,
            responder_id: signer.id(),
            produced_at: time(now)?,
            responses: questions.into_iter().zip(entries).map(answer).collect::<Result<_, _>>()?,
            response_extensions: nonce.map(|nonce| vec![nonce.clone()]),
        };
        let response = OcspResponse::successful(signer.sign(data)?).and_then(|response| response.to_der());
        Ok((response.map_err(|error| error.to_string())?.into(), this_update, next_update))
    }
}

/// The authority that every question is about. An answer has one signer, and each authority its own.
fn issuer_of(view: &View, questions: &[CertId]) -> Option<AuthorityId> {
    let mut of_each = questions.iter().map(|question| {
        let algorithm = question.hash_algorithm.oid;
        view.authorities.iter().find_map(|(id, seen)| {
            let digests = match algorithm {
                SHA1 => &seen.sha1,
                SHA256 => &seen.sha256,
                _ => return None,
            };
            let same = digests.name == question.issuer_name_hash.as_bytes()
                && digests.key == question.issuer_key_hash.as_bytes();
            same.then_some(*id)
        })
    });
    let first = of_each.next()??;
    of_each.all(|id| id == Some(first)).then_some(first)
}

/// The nonce to send back. Other extensions are passed over unless they are critical (RFC 6960 section 4.4).
fn nonce(extensions: Option<&Extensions>) -> Result<Option<Extension>, Refusal> {
    let mut found = None;
    for extension in extensions.into_iter().flatten() {
        if extension.extn_id != NONCE {
            if extension.critical {
                return Err(Refusal::Malformed);
            }
            continue;
        }
        // An OCTET STRING within the extension's own (RFC 9654 section 2.1).
        let inner = der::asn1::OctetStringRef::from_der(extension.extn_value.as_bytes());
        let length = inner.map_err(|_| Refusal::Malformed)?.as_bytes().len();
        if found.is_some() || length == 0 || length > MAX_NONCE_BYTES {
            return Err(Refusal::Malformed);
        }
        found = (length <= MAX_ECHOED_NONCE_BYTES).then(|| extension.clone());
    }
    Ok(found)
}

/// That of no reason is left out, as on lists.
fn reason(revocation: Revocation) -> Option<CrlReason> {
    match revocation.reason {
        1 => Some(CrlReason::KeyCompromise),
        3 => Some(CrlReason::AffiliationChanged),
        4 => Some(CrlReason::Superseded),
        5 => Some(CrlReason::CessationOfOperation),
        _ => None,
    }
}

fn time(at: Timestamp) -> der::Result<OcspGeneralizedTime> {
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    GeneralizedTime::from_unix_duration(Duration::from_secs(seconds)).map(OcspGeneralizedTime)
}

#[cfg(test)]
#[path = "ocsp_tests.rs"]
mod tests;
