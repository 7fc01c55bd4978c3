//! Answers of our own to questions of our own, to see whether those of a CA would arrive.

use std::any::Any;

use super::TlsAlpn01;
use super::tls_alpn01;

pub(crate) use super::tls_alpn01::PROTOCOL;

/// Answers for `identifier` with a certificate that holds `digest`, until the guard is dropped.
///
/// # Errors
/// No certificate could be made.
pub(crate) fn answer_tls_alpn01(
    responder: &TlsAlpn01,
    identifier: &str,
    digest: [u8; 32],
) -> Result<Box<dyn Any + Send + Sync>, String> {
    let served = responder.provision(identifier, digest).map_err(|error| error.message)?;
    Ok(Box::new(served))
}

/// What a CA puts into the SNI for an identifier.
pub(crate) fn server_name(identifier: &str) -> String {
    tls_alpn01::server_name(identifier)
}
