//! Staples: OCSP responses that handshakes present. Checked here again: a client would refuse the connection for
//! one that does not hold, which is worse than none.

use rustls_pki_types::{CertificateDer, UnixTime};
use sealwire_proto::ocsp::{self, OcspError, Status};
use sealwire_proto::v1::NackReason;
use sealwire_proto::validate::{Rejection, sha256};

/// A response that may be presented.
#[derive(Clone, Debug)]
pub(crate) struct Staple {
    pub(crate) response: Vec<u8>,
    pub(crate) sha256: [u8; 32],
    /// `nextUpdate`: seconds since the Unix epoch.
    pub(crate) until: i64,
}

impl Staple {
    /// Checks a response about `leaf` at `now`.
    ///
    /// # Errors
    /// [`NackReason::Revoked`] if it says so, else [`NackReason::BadStaple`].
    pub(crate) fn check(
        response: Vec<u8>,
        leaf: &CertificateDer<'_>,
        issuer: Option<&CertificateDer<'_>>,
        now: UnixTime,
    ) -> Result<Self, Rejection> {
        let bad = |detail: String| Rejection::new(NackReason::BadStaple, detail);
        let issuer = issuer
            .ok_or_else(|| bad("the leaf's issuer is neither in the chain nor among the roots".to_owned()))?;
        let verified =
            ocsp::verify(&response, leaf, issuer, now).map_err(|error: OcspError| bad(error.to_string()))?;
        match verified.status {
            Status::Good => {}
            Status::Unknown => return Err(bad("the responder does not know the certificate".to_owned())),
            Status::Revoked { at, reason } => {
                let at = jiff::Timestamp::from_second(at).map(|at| at.to_string()).unwrap_or_default();
                let reason = reason.map_or_else(|| "no reason".to_owned(), |code| format!("reason {code}"));
                return Err(Rejection::new(NackReason::Revoked, format!("revoked since {at}, {reason}")));
            }
        }
        // RFC 5019 section 2.2.4; without it nobody knows how long it may be presented.
        let until = verified.next_update.ok_or_else(|| bad("it has no nextUpdate".to_owned()))?;
        Ok(Self { sha256: sha256(&response), response, until })
    }
}
