//! Keys of certificates: which kinds there are, and how they are made.

use std::fmt;

use rcgen::{KeyPair, RsaKeySize, SignatureAlgorithm};
use serde::{Deserialize, Serialize};

use crate::issuer::{ErrorClass, IssueError};

/// A kind of key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// ECDSA on P-256: small, fast, taken by everyone.
    #[default]
    P256,
    /// ECDSA on P-384.
    P384,
    /// RSA with 2048 bits, for old clients.
    Rsa2048,
    /// RSA with 3072 bits.
    Rsa3072,
    /// RSA with 4096 bits.
    Rsa4096,
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::Rsa2048 => "RSA 2048",
            Self::Rsa3072 => "RSA 3072",
            Self::Rsa4096 => "RSA 4096",
        })
    }
}

impl KeyType {
    /// Makes a key, on a thread that may be busy: large RSA keys take seconds.
    ///
    /// # Errors
    /// Class `Ours`: the library or the machine could not.
    pub async fn generate(self) -> Result<KeyPair, IssueError> {
        let made = match self.generator() {
            (algorithm, None) => KeyPair::generate_for(algorithm),
            (algorithm, Some(size)) => {
                let task = tokio::task::spawn_blocking(move || KeyPair::generate_rsa_for(algorithm, size));
                task.await.map_err(|error| failed(self, &error))?
            }
        };
        made.map_err(|error| failed(self, &error))
    }

    fn generator(self) -> (&'static SignatureAlgorithm, Option<RsaKeySize>) {
        match self {
            Self::P256 => (&rcgen::PKCS_ECDSA_P256_SHA256, None),
            Self::P384 => (&rcgen::PKCS_ECDSA_P384_SHA384, None),
            Self::Rsa2048 => (&rcgen::PKCS_RSA_SHA256, Some(RsaKeySize::_2048)),
            Self::Rsa3072 => (&rcgen::PKCS_RSA_SHA256, Some(RsaKeySize::_3072)),
            Self::Rsa4096 => (&rcgen::PKCS_RSA_SHA256, Some(RsaKeySize::_4096)),
        }
    }
}

fn failed(kind: KeyType, error: &dyn fmt::Display) -> IssueError {
    IssueError::new(ErrorClass::Ours, format!("cannot make a key ({kind}): {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keys_are_of_their_kind_and_survive_pem() {
        for (kind, bits) in [(KeyType::P256, 256), (KeyType::P384, 384), (KeyType::Rsa2048, 2048)] {
            let key = kind.generate().await.unwrap();
            let again = KeyPair::from_pem(&key.serialize_pem()).unwrap();
            let params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
            let csr = params.serialize_request(&again).unwrap();
            use x509_parser::prelude::{FromDer, X509CertificationRequest};
            let (_, csr) = X509CertificationRequest::from_der(csr.der()).unwrap();
            csr.verify_signature().unwrap();
            let public = csr.certification_request_info.subject_pki.parsed().unwrap();
            assert_eq!(public.key_size(), bits, "{kind}");
        }
    }
}
