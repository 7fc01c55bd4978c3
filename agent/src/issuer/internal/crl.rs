//! A list of revoked certificates (RFC 5280 section 5): one for each authority. That of an intermediate names
//! its address and what it is about (issuing distribution point, section 5.2.5): it covers leaves, nothing
//! else. That of a root has none: it covers all that the root signed, the root itself included, which has no
//! address of a list for a checker to compare (openssl's `-crl_check_all` looks there too).

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope,
    KeyIdMethod, RevocationReason as Reason, RevokedCertParams, SerialNumber,
};
use x509_parser::prelude::{FromDer, ParsedExtension};
use x509_parser::revocation_list::CertificateRevocationList;

use super::authority::Authority;
use super::make::{BACKDATE, date};
use super::record::{Revocation, Serial};

/// A signed list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Crl {
    pub(super) der: Bytes,
    pub(super) number: u64,
    pub(super) this_update: Timestamp,
    pub(super) next_update: Timestamp,
    /// The address in it.
    url: Option<String>,
    /// What is on it, in the order of the serial numbers.
    serials: Vec<Serial>,
}

impl Crl {
    /// Reads a list of ours.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(der: Vec<u8>) -> Result<Self, String> {
        let (rest, parsed) = CertificateRevocationList::from_der(&der).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err(format!("{} bytes follow the list", rest.len()));
        }
        let instant = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|error| error.to_string())
        };
        let number = parsed.crl_number().and_then(|number| u64::try_from(number).ok());
        let this_update = instant(parsed.last_update())?;
        let next_update = instant(parsed.next_update().ok_or("it has no nextUpdate")?)?;
        let serials =
            parsed.iter_revoked_certificates().map(|revoked| Serial::try_from(revoked.raw_serial()));
        let mut serials: Vec<_> =
            serials.collect::<Result<_, _>>().map_err(|_| "a serial number is not ours")?;
        serials.sort_unstable();
        let url = parsed.extensions().iter().find_map(|extension| {
            let ParsedExtension::IssuingDistributionPoint(point) = extension.parsed_extension() else {
                return None;
            };
            super::endpoints::url_of(point.distribution_point.as_ref()?)
        });
        let number = number.ok_or("it has no number")?;
        Ok(Self { number, this_update, next_update, url, serials, der: der.into() })
    }

    /// Whether another one is to take its place: at half of its life, when something else is revoked, when its
    /// address has changed, or when the clock went back before it.
    pub(super) fn is_due(&self, url: Option<&str>, revoked: &[(Serial, Revocation)], now: Timestamp) -> bool {
        let half = self.this_update + self.next_update.duration_since(self.this_update) / 2;
        now >= half
            || now < self.this_update
            || self.url.as_deref() != url
            || !self.serials.iter().eq(revoked.iter().map(|(serial, _)| serial))
    }

    /// Seconds until the next one is expected: for caches.
    pub(super) fn fresh_for(&self, now: Timestamp) -> i64 {
        let half = self.this_update + self.next_update.duration_since(self.this_update) / 2;
        half.duration_since(now).as_secs().max(0)
    }
}

/// The number of the list after the last one. It counts seconds where it can, so that it does not go back
/// when the state directory is lost or restored.
pub(super) fn next_number(last: Option<u64>, now: Timestamp) -> u64 {
    let counted = last.map_or(1, |last| last.saturating_add(1));
    counted.max(u64::try_from(now.as_second()).unwrap_or(0))
}

/// Signs the list of an authority, about leaves and for `url` if there is one.
///
/// # Errors
/// What rcgen could not do.
pub(super) fn sign(
    authority: &Authority,
    url: Option<&str>,
    number: u64,
    revoked: &[(Serial, Revocation)],
    lifetime: SignedDuration,
    now: Timestamp,
) -> Result<Crl, String> {
    let date = |at| date(at).map_err(|error| error.message);
    let entry = |(serial, revocation): &(Serial, Revocation)| {
        Ok::<_, String>(RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: date(revocation.at)?,
            reason_code: reason(revocation.reason),
            invalidity_date: None,
        })
    };
    let params = CertificateRevocationListParams {
        this_update: date(now - BACKDATE)?,
        next_update: date(now + lifetime)?,
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: url.map(|url| CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint { uris: vec![url.to_owned()] },
            scope: Some(CrlScope::UserCertsOnly),
        }),
        revoked_certs: revoked.iter().map(entry).collect::<Result<_, _>>()?,
        // As in the certificates of ours.
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let signed = authority.signer().and_then(|signer| params.signed_by(&signer));
    Crl::read(signed.map_err(|error| error.to_string())?.der().to_vec())
}

/// The reason of a number; that of no reason is left out (RFC 5280 section 5.3.1).
fn reason(code: u8) -> Option<Reason> {
    match code {
        1 => Some(Reason::KeyCompromise),
        2 => Some(Reason::CaCompromise),
        3 => Some(Reason::AffiliationChanged),
        4 => Some(Reason::Superseded),
        5 => Some(Reason::CessationOfOperation),
        _ => None,
    }
}
