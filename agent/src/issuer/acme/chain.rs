//! What a CA hands out: a chain in PEM, for our key.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sealwire_proto::validate::{LeafFacts, MAX_CHAIN_LEN};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A chain in PEM (RFC 8555 section 9.1), leaf first; never empty.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse_chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .take(MAX_CHAIN_LEN + 1)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("what the CA sent as the certificate is not PEM: {error}"))?;
    match chain.len() {
        0 => Err("what the CA sent as the certificate holds none".to_owned()),
        1..=MAX_CHAIN_LEN => Ok(chain),
        _ => Err(format!("the CA's chain has more than {MAX_CHAIN_LEN} certificates")),
    }
}

/// What the leaf says, if it is for the key of the CSR: a resumed order may have been finalized with the key of
/// an attempt whose journal is gone.
///
/// # Errors
/// What does not fit.
pub(super) fn check_key(leaf: &CertificateDer<'_>, csr_der: &[u8]) -> Result<LeafFacts, String> {
    let facts = LeafFacts::parse(leaf).map_err(|rejection| rejection.to_string())?;
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|error| error.to_string())?;
    let (_, csr) =
        X509CertificationRequest::from_der(csr_der).map_err(|error| format!("our CSR: {error}"))?;
    if certificate.public_key().raw != csr.certification_request_info.subject_pki.raw {
        return Err("the certificate is for another key than ours".to_owned());
    }
    Ok(facts)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    #[test]
    fn chains_are_bounded_and_belong_to_our_key() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let csr = params.serialize_request(&key).unwrap();
        let chain = parse_chain(&pem.repeat(2)).unwrap();
        assert_eq!(chain.len(), 2);
        assert_eq!(check_key(&chain[0], csr.der()).unwrap().names, ["a.example"]);
        let other = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
        assert!(check_key(&chain[0], other.der()).unwrap_err().contains("another key"));

        assert!(parse_chain(&pem.repeat(MAX_CHAIN_LEN)).is_ok());
        assert!(parse_chain(&pem.repeat(MAX_CHAIN_LEN + 1)).is_err());
        assert!(parse_chain("<html>").is_err());
        assert!(parse_chain("").is_err());
    }
}
