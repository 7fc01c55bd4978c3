//! Where what a CA publishes is found, as URLs in its certificates (RFC 5280 sections 4.2.1.13 and 4.2.2.1).

use rcgen::{CertificateParams, CrlDistributionPoint, CustomExtension};
use rustls_pki_types::CertificateDer;
use x509_cert::der::asn1::{Ia5String, ObjectIdentifier};
use x509_cert::der::{self, Encode};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AccessDescription, AuthorityInfoAccessSyntax};
use x509_parser::extensions::{DistributionPointName, GeneralName as ParsedName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::identity::AuthorityId;

/// id-pe-authorityInfoAccess (RFC 5280 section 4.2.2.1).
const AUTHORITY_INFO_ACCESS: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
const OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
const CA_ISSUERS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.2");

/// The last part of the path of the roots.
pub(super) const ROOTS: &str = "roots.pem";
/// The last part of the path of the responder.
pub(super) const RESPONDER: &str = "ocsp";
/// How names of revocation lists end.
pub(super) const CRL_SUFFIX: &str = ".crl";
/// How names of CA certificates (DER) end.
pub(super) const CERTIFICATE_SUFFIX: &str = ".cer";

/// The URLs of one issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoints {
    /// `http://pki.internal:8089/NAME`
    base: String,
}

impl Endpoints {
    /// Below `url` of the configuration, for the issuer of that name.
    pub(super) fn new(url: &str, issuer: &str) -> Self {
        Self { base: format!("{}/{issuer}", url.trim_end_matches('/')) }
    }

    /// The list of what an authority revoked. Each has its own, so that none grows with the others.
    pub(super) fn crl(&self, authority: AuthorityId) -> String {
        format!("{}/{authority}{CRL_SUFFIX}", self.base)
    }

    fn certificate(&self, authority: AuthorityId) -> String {
        format!("{}/{authority}{CERTIFICATE_SUFFIX}", self.base)
    }

    fn responder(&self) -> String {
        format!("{}/{RESPONDER}", self.base)
    }

    /// Writes the URLs into a certificate that `issuer` is about to sign.
    ///
    /// # Errors
    /// The URL is not ASCII.
    pub(super) fn write(&self, params: &mut CertificateParams, issuer: AuthorityId) -> Result<(), String> {
        params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![self.crl(issuer)] }];
        let access = self.access(issuer).map_err(|error| format!("{}: {error}", self.base))?;
        let extension = CustomExtension::from_oid_content(AUTHORITY_INFO_ACCESS, access);
        params.custom_extensions.push(extension);
        Ok(())
    }

    fn access(&self, issuer: AuthorityId) -> der::Result<Vec<u8>> {
        let at = |method, url: &str| {
            let access_location = GeneralName::UniformResourceIdentifier(Ia5String::new(url)?);
            Ok::<_, der::Error>(AccessDescription { access_method: method, access_location })
        };
        let access = vec![at(OCSP, &self.responder())?, at(CA_ISSUERS, &self.certificate(issuer))?];
        AuthorityInfoAccessSyntax(access).to_der()
    }
}

/// The first URL of a revocation list in a certificate.
pub(super) fn crl_url(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    parsed.extensions().iter().find_map(|extension| {
        let ParsedExtension::CRLDistributionPoints(points) = extension.parsed_extension() else {
            return None;
        };
        points.iter().filter_map(|point| point.distribution_point.as_ref()).find_map(url_of)
    })
}

/// The first URL of a distribution point.
pub(super) fn url_of(point: &DistributionPointName<'_>) -> Option<String> {
    let DistributionPointName::FullName(names) = point else { return None };
    names.iter().find_map(|name| match name {
        ParsedName::URI(url) => Some((*url).to_owned()),
        _ => None,
    })
}
