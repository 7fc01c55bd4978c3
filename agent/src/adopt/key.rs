//! Keys as other clients write them, to PKCS#8.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair};
use base64::Engine;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

/// The first private key of a PEM text, as PKCS#8 DER. lego and Caddy write SEC 1 (`EC PRIVATE KEY`).
pub(super) fn to_pkcs8(pem: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| format!("no private key: {error}"))?;
    let der = match &key {
        PrivateKeyDer::Pkcs8(key) => return Ok(Zeroizing::new(key.secret_pkcs8_der().to_vec())),
        PrivateKeyDer::Sec1(key) => {
            let der = key.secret_sec1_der();
            let pair = [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING]
                .into_iter()
                .find_map(|algorithm| EcdsaKeyPair::from_private_key_der(algorithm, der).ok());
            let pair = pair.ok_or("the EC key is neither P-256 nor P-384")?;
            Zeroizing::new(pair.to_pkcs8v1().map_err(|error| error.to_string())?.as_ref().to_vec())
        }
        PrivateKeyDer::Pkcs1(key) => {
            let pair = rsa::KeyPair::from_der(key.secret_pkcs1_der()).map_err(|error| error.to_string())?;
            let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| "the RSA key cannot be written as PKCS#8")?;
            Zeroizing::new(der.as_ref().to_vec())
        }
        _ => return Err("a private key of an unknown kind".to_owned()),
    };
    Ok(der)
}

/// PEM of a PKCS#8 key.
pub(super) fn pem_of(pkcs8: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(pkcs8));
    let mut pem = Zeroizing::new(String::with_capacity(body.len() + body.len() / 64 + 64));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}
