//! The form of a CRL (RFC 5280 section 5), whose signature covers the bytes that came. Not webpki's parser: that one
//! takes no issuing distribution point without a name (roots of public CAs have such), and keeps no CRL number.

use std::fmt;

use jiff::Timestamp;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::prelude::{ASN1Time, FromDer, X509Extension};

use super::tlv::{
    BIT_STRING, BOOLEAN, CONTEXT_0, GENERALIZED_TIME, INTEGER, NotDer, OBJECT_IDENTIFIER, SEQUENCE, Tlv,
    Tlvs, UTC_TIME,
};
use crate::revocation::at_second;
use crate::revocation::subject::without_sign_byte;

/// Why a CRL cannot be used, for anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Not DER, or not a CRL.
    #[error("not a CRL: {0}")]
    Malformed(&'static str),
    /// Parts of it must be understood and are not (section 5.2).
    #[error("the CRL has a critical extension that is not known")]
    Critical,
    /// It only has what changed since another one (section 5.2.4).
    #[error("it is a delta CRL, which says nothing by itself")]
    Delta,
    /// It is about certificates of other issuers (section 5.2.5).
    #[error("it is an indirect CRL, which is not taken")]
    Indirect,
    /// It is about some reasons only, or about attribute certificates.
    #[error("the CRL does not cover all reasons of revocation of public key certificates")]
    Partial,
    /// Another CA's.
    #[error("the CRL is by another issuer: {0}")]
    OtherIssuer(String),
    /// The issuer may not sign CRLs (`cRLSign`, section 4.2.1.3).
    #[error("the certificate of its issuer is not for signing CRLs")]
    MayNotSign,
    /// The issuer did not sign it.
    #[error("the signature of the CRL is not its issuer's")]
    Signature,
    /// Its beginning lies ahead.
    #[error("the CRL begins to be valid at {0:.0}; check the clocks")]
    NotYetValid(Timestamp),
    /// It is over.
    #[error("the CRL ended at {0:.0}")]
    Stale(Timestamp),
    /// One with a higher number, or a later date, was seen before.
    #[error(
        "the CRL is older than one seen before ({0}): somebody replays it, or the CA lost its records; to take it, \
         remove {1} below the state directory"
    )]
    GoesBack(String, String),
}

impl From<NotDer> for CrlError {
    fn from(NotDer: NotDer) -> Self {
        Self::Malformed("its DER does not hold what a CRL must")
    }
}

/// A number of up to twenty bytes (section 5.2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number(Vec<u8>);

impl Ord for Number {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", sealwire_proto::hex(&self.0))
    }
}

/// Which certificates of its issuer a CRL is about (issuing distribution point, section 5.2.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// URIs that it is published at; `None`: it does not say, and is about all.
    pub names: Option<Vec<String>>,
    /// Not about CAs.
    pub users_only: bool,
    /// Only about CAs.
    pub authorities_only: bool,
}

/// A CRL in its parts; nothing is checked yet but its form.
#[derive(Clone, Debug)]
pub struct Crl<'a> {
    /// What was signed.
    pub signed: &'a [u8],
    /// Contents of the `AlgorithmIdentifier`, as webpki names algorithms.
    pub algorithm: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
    /// The issuer's name, DER with its tag.
    pub issuer: &'a [u8],
    /// When it was issued.
    pub this_update: Timestamp,
    /// Until when the next one is issued.
    pub next_update: Timestamp,
    /// Its number.
    pub number: Option<Number>,
    /// What it is about.
    pub scope: Scope,
    entries: &'a [u8],
}

/// A revoked certificate.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// As in [`super::Subject`].
    pub serial: &'a [u8],
    time: Tlv<'a>,
    extensions: Option<&'a [u8]>,
}

impl<'a> Crl<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// [`CrlError`]: not a CRL, or of a kind that is not taken.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CrlError> {
        if bytes.starts_with(b"-----BEGIN") {
            return Err(CrlError::Malformed(
                "it is PEM; CRLs are published as DER (RFC 5280 section 4.2.1.13)",
            ));
        }
        let mut outer = Tlvs(bytes);
        let mut list = Tlvs(outer.expect(SEQUENCE)?.value);
        if !outer.is_empty() {
            return Err(CrlError::Malformed("something follows it"));
        }
        let signed = list.expect(SEQUENCE)?;
        let algorithm = list.expect(SEQUENCE)?.value;
        // No unused bits: signatures are whole bytes.
        let signature = list.expect(BIT_STRING)?.value.strip_prefix(&[0]).ok_or(NotDer)?;
        if !list.is_empty() {
            return Err(CrlError::Malformed("something follows its signature"));
        }

        let mut body = Tlvs(signed.value);
        if body.expect(INTEGER)?.value != [1] {
            return Err(CrlError::Malformed("its version is not 2"));
        }
        if body.expect(SEQUENCE)?.value != algorithm {
            return Err(CrlError::Malformed("it names two algorithms (RFC 5280 section 5.1.1.2)"));
        }
        let issuer = body.expect(SEQUENCE)?.whole;
        let this_update = time(body.next()?)?;
        let next_update = match body.peek() {
            Some(UTC_TIME | GENERALIZED_TIME) => time(body.next()?)?,
            _ => return Err(CrlError::Malformed("it has no nextUpdate (RFC 5280 section 5.1.2.5)")),
        };
        let entries = body.optional(SEQUENCE)?.map(|entries| entries.value).unwrap_or_default();
        let extensions = body.optional(CONTEXT_0)?;
        if !body.is_empty() {
            return Err(CrlError::Malformed("something follows its extensions"));
        }
        let mut crl = Self {
            signed: signed.whole,
            algorithm,
            signature,
            issuer,
            this_update,
            next_update,
            number: None,
            scope: Scope::default(),
            entries,
        };
        if let Some(extensions) = extensions {
            crl.read_extensions(extensions.value)?;
        }
        Ok(crl)
    }

    fn read_extensions(&mut self, bytes: &[u8]) -> Result<(), CrlError> {
        let mut outer = Tlvs(bytes);
        let mut list = Tlvs(outer.expect(SEQUENCE)?.value);
        while !list.is_empty() {
            let (_, extension) = X509Extension::from_der(list.expect(SEQUENCE)?.whole)
                .map_err(|_| CrlError::Malformed("an extension cannot be read"))?;
            match extension.parsed_extension() {
                ParsedExtension::CRLNumber(_) => {
                    let number = Tlvs(extension.value).expect(INTEGER)?.value;
                    if number.len() > 20 || number.first().is_none_or(|first| *first >= 0x80) {
                        return Err(CrlError::Malformed("its number is negative or too long"));
                    }
                    self.number = Some(Number(without_sign_byte(number).to_vec()));
                }
                ParsedExtension::IssuingDistributionPoint(point) => {
                    if point.indirect_crl {
                        return Err(CrlError::Indirect);
                    }
                    if point.only_some_reasons.is_some() || point.only_contains_attribute_certs {
                        return Err(CrlError::Partial);
                    }
                    self.scope = Scope {
                        names: point.distribution_point.as_ref().map(uris),
                        users_only: point.only_contains_user_certs,
                        authorities_only: point.only_contains_ca_certs,
                    };
                }
                ParsedExtension::AuthorityKeyIdentifier(_) | ParsedExtension::IssuerAlternativeName(_) => {}
                // Critical or not: one that is known and damaged may be a number that must not be passed over.
                ParsedExtension::ParseError { .. } | ParsedExtension::Unparsed => {
                    return Err(CrlError::Malformed("an extension cannot be read"));
                }
                // id-ce-deltaCRLIndicator
                _ if extension.oid.to_id_string() == "2.5.29.27" => return Err(CrlError::Delta),
                _ if extension.critical => return Err(CrlError::Critical),
                _ => {}
            }
        }
        Ok(())
    }

    /// Goes over the revoked certificates; the first error ends it.
    pub fn entries(&self) -> impl Iterator<Item = Result<Entry<'a>, CrlError>> + use<'a> {
        let mut list = Tlvs(self.entries);
        std::iter::from_fn(move || {
            if list.is_empty() {
                return None;
            }
            let entry = Entry::read(&mut list);
            if entry.is_err() {
                list = Tlvs(&[]);
            }
            Some(entry)
        })
    }
}

impl<'a> Entry<'a> {
    fn read(list: &mut Tlvs<'a>) -> Result<Self, CrlError> {
        let mut entry = Tlvs(list.expect(SEQUENCE)?.value);
        let serial = without_sign_byte(entry.expect(INTEGER)?.value);
        let time = entry.next()?;
        let extensions = entry.optional(SEQUENCE)?.map(|extensions| extensions.value);
        if !entry.is_empty() {
            return Err(NotDer.into());
        }
        // One that is critical and not known makes the whole CRL unusable (RFC 5280 section 5.3).
        let mut list = Tlvs(extensions.unwrap_or_default());
        while !list.is_empty() {
            let mut extension = Tlvs(list.expect(SEQUENCE)?.value);
            let oid = extension.expect(OBJECT_IDENTIFIER)?.value;
            let critical = extension.optional(BOOLEAN)?.is_some_and(|critical| critical.value != [0]);
            match oid {
                REASON_CODE | INVALIDITY_DATE => {}
                CERTIFICATE_ISSUER => return Err(CrlError::Indirect),
                _ if critical => return Err(CrlError::Critical),
                _ => {}
            }
        }
        Ok(Self { serial, time, extensions })
    }

    /// When it was revoked.
    ///
    /// # Errors
    /// Not a time.
    pub fn at(&self) -> Result<Timestamp, CrlError> {
        time(self.time)
    }

    /// Why, if the CA says.
    #[must_use]
    pub fn reason(&self) -> Option<u8> {
        let mut list = Tlvs(self.extensions?);
        while let Ok(extension) = list.next() {
            if let Ok((_, parsed)) = X509Extension::from_der(extension.whole)
                && let ParsedExtension::ReasonCode(code) = parsed.parsed_extension()
            {
                return Some(code.0);
            }
        }
        None
    }
}

/// 2.5.29.21, 2.5.29.24 and 2.5.29.29.
const REASON_CODE: &[u8] = &[0x55, 0x1d, 21];
const INVALIDITY_DATE: &[u8] = &[0x55, 0x1d, 24];
const CERTIFICATE_ISSUER: &[u8] = &[0x55, 0x1d, 29];

fn time(tlv: Tlv<'_>) -> Result<Timestamp, CrlError> {
    let (_, time) =
        ASN1Time::from_der(tlv.whole).map_err(|_| CrlError::Malformed("a time in it cannot be read"))?;
    Ok(at_second(time.timestamp()))
}

fn uris(point: &DistributionPointName<'_>) -> Vec<String> {
    match point {
        DistributionPointName::FullName(names) => names
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(url) => Some((*url).to_owned()),
                _ => None,
            })
            .collect(),
        // Relative to the issuer: no URI of a certificate can equal it.
        DistributionPointName::NameRelativeToCRLIssuer(_) => Vec::new(),
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
