//! ACME renewal information (RFC 9773): when the CA would like a certificate to be renewed.

use std::time::Duration;

use instant_acme::CertificateIdentifier;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use serde::Deserialize;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::jws::encode;
use super::wire::Wire;
use crate::issuer::{ErrorClass, IssueError, RenewalInfo};

/// A page address longer than this is not for people.
const MAX_EXPLANATION_BYTES: usize = 1024;

/// The unique name of a certificate at its CA (section 4.1).
///
/// # Errors
/// The leaf has no authority key identifier, or is none.
pub(super) fn certificate_id(leaf: &CertificateDer<'_>) -> Result<CertificateIdentifier<'static>, String> {
    let (_, parsed) =
        X509Certificate::from_der(leaf).map_err(|error| format!("the leaf is not X.509: {error}"))?;
    let key_id = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(authority) => {
            authority.key_identifier.as_ref().map(|key_id| encode(key_id.0))
        }
        _ => None,
    });
    let key_id = key_id.ok_or("the leaf does not say by which key it was signed (no AKI keyIdentifier)")?;
    Ok(CertificateIdentifier {
        authority_key_identifier: key_id.into(),
        // With the zero byte that DER puts before a high bit.
        serial: encode(parsed.raw_serial()).into(),
    })
}

/// A RenewalInfo object (section 4.2).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    suggested_window: Window,
    #[serde(rename = "explanationURL")]
    explanation_url: Option<String>,
}

#[derive(Deserialize)]
struct Window {
    start: Timestamp,
    end: Timestamp,
}

fn parse(body: &[u8], retry_after: Option<Duration>) -> Result<RenewalInfo, String> {
    let object: Object =
        serde_json::from_slice(body).map_err(|error| format!("it is not readable: {error}"))?;
    let Window { start, end } = object.suggested_window;
    if end <= start {
        return Err(format!("its window ends at {end}, not after its start at {start}"));
    }
    let explanation_url = object
        .explanation_url
        .filter(|url| url.len() <= MAX_EXPLANATION_BYTES && !url.contains(char::is_control));
    Ok(RenewalInfo { start, end, explanation_url, retry_after })
}

/// Asks for `leaf`; `None` if the CA does not offer renewal information.
///
/// # Errors
/// [`IssueError`]; class `Transient` for a window that makes no sense.
pub(super) async fn renewal_info(
    wire: Wire<'_>,
    leaf: &CertificateDer<'_>,
) -> Result<Option<RenewalInfo>, IssueError> {
    let Some(base) = &wire.directory.renewal_info else { return Ok(None) };
    let issuer = &wire.ca.issuer;
    let id = certificate_id(leaf).map_err(|why| {
        IssueError::new(ErrorClass::Ours, format!("issuer {issuer}: no renewal information: {why}"))
    })?;
    let url = format!("{}/{id}", base.trim_end_matches('/'));
    let reply = wire.get(&url).await.map_err(|refused| wire.error("get renewal information", &refused))?;
    match parse(&reply.body, reply.answer.retry_after) {
        Ok(info) => Ok(Some(info)),
        Err(why) => Err(IssueError {
            class: ErrorClass::Transient,
            message: format!("issuer {issuer}: the renewal information from {url} cannot be used: {why}"),
            retry_after: reply.answer.retry_after,
            issuer_wide: false,
            gate: false,
        }),
    }
}

#[cfg(test)]
#[path = "ari_tests.rs"]
mod tests;
