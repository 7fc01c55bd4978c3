//! Whom to ask about which certificate of a chain: OCSP responders of its authority information access (RFC 5280
//! section 4.2.2.1) and CRLs of its distribution points (section 4.2.1.13).

use std::fmt;
use std::sync::Arc;

use rustls_pki_types::CertificateDer;
use sealwire_proto::anchors::Anchors;
use sealwire_proto::validate::sha256;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_OCSP;
use x509_parser::prelude::{FromDer, X509Certificate};

/// SHA-256 of a certificate's DER.
pub type Id = [u8; 32];

/// More URLs of one kind in one certificate are not asked. Real ones have one, seldom two.
const MAX_SOURCES: usize = 4;

/// Longest URL taken, in bytes.
const MAX_URL_BYTES: usize = 1024;

/// Which certificate of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// The first.
    Leaf,
    /// One above it, by its subject.
    Intermediate(String),
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaf => f.write_str("the leaf"),
            Self::Intermediate(name) => write!(f, "the intermediate {name}"),
        }
    }
}

/// Who issued a certificate.
#[derive(Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Of its certificate.
    pub id: Id,
    /// Its certificate.
    pub der: CertificateDer<'static>,
}

/// A certificate whose revocation can be asked for.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Of its DER.
    pub id: Id,
    /// Its place in the chain.
    pub which: Which,
    /// The certificate itself; kept only if there is an OCSP responder to ask.
    pub der: Option<CertificateDer<'static>>,
    /// Contents of its serial number's INTEGER, without the zero before a high bit.
    pub serial: Vec<u8>,
    /// Who issued it.
    pub issuer: Arc<Issuer>,
    /// URLs of OCSP responders, the first choice first.
    pub responders: Vec<String>,
    /// URIs of the distribution points that are for all reasons and by its own issuer; those that are http are
    /// asked.
    pub points: Vec<String>,
    /// What it names besides and cannot be used, in words.
    pub notes: Vec<String>,
}

impl Subject {
    /// URLs of CRLs to fetch.
    pub fn crls(&self) -> impl Iterator<Item = &str> {
        self.points.iter().map(String::as_str).filter(|url| is_http(url)).take(MAX_SOURCES)
    }

    /// Whether it is a CA's certificate.
    #[must_use]
    pub fn is_ca(&self) -> bool {
        self.which != Which::Leaf
    }
}

/// The certificates of a chain (leaf first) with their issuers, which are looked for in the chain and then among
/// `anchors`. Self-signed ones, and those whose issuer is not there, are left out: nobody could be believed about
/// them.
///
/// The chain has passed the gate, so a signature is checked only where several certificates have the issuer's name.
#[must_use]
pub fn subjects(chain: &[CertificateDer<'static>], anchors: &Anchors) -> Vec<Subject> {
    let parsed: Vec<_> = chain.iter().filter_map(|der| Some((der, parse(der)?))).collect();
    let mut found = Vec::new();
    for (position, (der, one)) in parsed.iter().enumerate() {
        let name = one.issuer().as_raw();
        if one.subject().as_raw() == name {
            continue;
        }
        let mut named: Vec<_> = parsed
            .iter()
            .skip(1)
            .filter(|(_, above)| above.subject().as_raw() == name)
            .map(|(der, _)| *der)
            .collect();
        if named.is_empty() {
            named = roots(anchors, name);
        }
        let issuer = match named[..] {
            [] => continue,
            [only] => only,
            [first, ..] => {
                named.iter().copied().find(|candidate| has_signed(candidate, one)).unwrap_or(first)
            }
        };
        let which = if position == 0 { Which::Leaf } else { Which::Intermediate(one.subject().to_string()) };
        found.push(subject(der, one, which, issuer));
    }
    found
}

/// Roots of that name (DER). The platform has some hundred and fifty, which are not parsed for this.
fn roots<'a>(anchors: &'a Anchors, name: &[u8]) -> Vec<&'a CertificateDer<'static>> {
    let both = anchors.as_slice().iter().zip(anchors.certificates());
    // An anchor's subject is without the tag and length (2 to 4 bytes) that are before it in the name.
    let same = |subject: &[u8]| name.ends_with(subject) && (2..=4).contains(&(name.len() - subject.len()));
    both.filter(|(anchor, _)| same(anchor.subject.as_ref())).map(|(_, der)| der).collect()
}

fn has_signed(candidate: &CertificateDer<'_>, certificate: &X509Certificate<'_>) -> bool {
    parse(candidate)
        .is_some_and(|candidate| certificate.verify_signature(Some(candidate.public_key())).is_ok())
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    X509Certificate::from_der(der).ok().map(|(_, parsed)| parsed)
}

fn subject(
    der: &CertificateDer<'static>,
    parsed: &X509Certificate<'_>,
    which: Which,
    issuer: &CertificateDer<'static>,
) -> Subject {
    let mut subject = Subject {
        id: sha256(der),
        which,
        der: None,
        serial: without_sign_byte(parsed.raw_serial()).to_vec(),
        issuer: Arc::new(Issuer { id: sha256(issuer), der: issuer.clone() }),
        responders: Vec::new(),
        points: Vec::new(),
        notes: Vec::new(),
    };
    for extension in parsed.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::AuthorityInfoAccess(access) => {
                let ocsp = access.iter().filter(|one| one.access_method == OID_PKIX_ACCESS_DESCRIPTOR_OCSP);
                for one in ocsp {
                    match &one.access_location {
                        GeneralName::URI(url) if is_http(url) => subject.responders.push((*url).to_owned()),
                        other => subject.notes.push(format!("an OCSP responder that is not http: {other}")),
                    }
                }
            }
            ParsedExtension::CRLDistributionPoints(points) => {
                for point in &points.points {
                    if point.reasons.is_some() {
                        subject.notes.push("a CRL for some reasons of revocation only".to_owned());
                    } else if point.crl_issuer.is_some() {
                        subject.notes.push("a CRL by another issuer (indirect)".to_owned());
                    } else if let Some(DistributionPointName::FullName(names)) = &point.distribution_point {
                        subject.points.extend(names.iter().filter_map(uri));
                    } else {
                        subject.notes.push("a CRL that is not named by a URL".to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    let others = subject.points.iter().filter(|url| !is_http(url));
    subject.notes.extend(others.map(|url| format!("a CRL that is not http: {url}")));
    subject.responders.truncate(MAX_SOURCES);
    subject.points.truncate(4 * MAX_SOURCES);
    if !subject.responders.is_empty() {
        subject.der = Some(der.clone());
    }
    subject
}

fn uri(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::URI(url) => Some((*url).to_owned()),
        _ => None,
    }
}

/// http only: https would need the revocation of another certificate first (RFC 5280 section 8).
fn is_http(url: &str) -> bool {
    let scheme = url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"));
    scheme && url.len() <= MAX_URL_BYTES
}

/// One parser keeps the zero that DER puts before a high bit, another does not.
pub(super) fn without_sign_byte(serial: &[u8]) -> &[u8] {
    match serial {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    }
}

#[cfg(test)]
#[path = "subject_tests.rs"]
mod tests;
