//! A CA key with its certificate, and the pair of files they live in.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rcgen::{CertificateParams, Issuer, KeyPair, PublicKeyData, SignatureAlgorithm};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::identity::AuthorityId;
use super::secret::read_secret;
use crate::issuer::{ErrorClass, IssueError};
use crate::store::{StoreError, durable};

/// Where one CA generation is kept.
///
/// The key is written (and fsynced) first, the certificate last, both under names that no other generation
/// uses. The rename of the certificate is therefore what makes the pair exist: a crash before it leaves at
/// most a key that nobody has ever used, and never a key beside a certificate of another one.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) key: PathBuf,
    pub(super) certificate: PathBuf,
}

impl Files {
    pub(super) fn new(dir: &Path, id: AuthorityId) -> Self {
        let stem = id.stem();
        Self { key: dir.join(format!("{stem}.key.pem")), certificate: dir.join(format!("{stem}.pem")) }
    }
}

/// A CA that can sign.
pub(super) struct Authority {
    /// rcgen keeps the PKCS#8 form beside the key: that is wiped on drop, and aws-lc wipes its own.
    key: Zeroizing<KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    serial: Vec<u8>,
    /// The subject in DER, as names in requests for OCSP are hashed.
    subject: Vec<u8>,
    /// The bits of the public key, as keys in requests for OCSP are hashed.
    public_key: Vec<u8>,
    subject_text: String,
    not_after: Timestamp,
    not_before: Timestamp,
}

impl Authority {
    /// Loads a pair; `None` if there is no certificate, whatever else there is.
    ///
    /// # Errors
    /// A damaged or mismatched pair, or a key that others may read.
    pub(super) fn load(files: &Files) -> Result<Option<Self>, IssueError> {
        let Some(certificate) = durable::read(&files.certificate)? else { return Ok(None) };
        let restore = "restore it from a backup";
        let damaged = |path: &Path, detail: String| StoreError::damaged(path, format!("{detail}; {restore}"));
        let Some(key) = load_key(files)? else {
            let detail = format!("it is missing beside {}", files.certificate.display());
            return Err(damaged(&files.key, detail).into());
        };
        let certificate_pem = String::from_utf8(certificate)
            .map_err(|_| damaged(&files.certificate, "it is not PEM".to_owned()))?;
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| damaged(&files.certificate, error.to_string()))?;
        Self::new(key, certificate, certificate_pem)
            .map(Some)
            .map_err(|detail| damaged(&files.certificate, detail).into())
    }

    /// Writes `key` and a certificate for it, signed by `issuer` or, if there is none, by itself.
    ///
    /// # Errors
    /// The files could not be written, or (a fault of ours) the certificate could not be made.
    pub(super) fn create(
        files: &Files,
        key: Zeroizing<KeyPair>,
        params: &CertificateParams,
        issuer: Option<&Self>,
    ) -> Result<Self, IssueError> {
        let made = match issuer {
            Some(issuer) => issuer.signer().and_then(|signer| params.signed_by(&*key, &signer)),
            None => params.self_signed(&*key),
        };
        let made = made.map_err(|error| cannot_make(&files.certificate, &error.to_string()))?;
        let authority = Self::new(key, made.der().clone(), made.pem())
            .map_err(|detail| cannot_make(&files.certificate, &detail))?;
        let key_pem = Zeroizing::new(authority.key.serialize_pem());
        durable::write(&files.key, key_pem.as_bytes(), 0o600)?;
        durable::write(&files.certificate, authority.certificate_pem.as_bytes(), 0o644)?;
        Ok(authority)
    }

    fn new(
        key: Zeroizing<KeyPair>,
        certificate: CertificateDer<'static>,
        certificate_pem: String,
    ) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|error| error.to_string())?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err("it does not belong to the key beside it".to_owned());
        }
        if !parsed.is_ca() {
            return Err("it is not a CA certificate".to_owned());
        }
        let instant = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|error| error.to_string())
        };
        let not_before = instant(parsed.validity().not_before)?;
        let not_after = instant(parsed.validity().not_after)?;
        let serial = parsed.raw_serial().to_vec();
        let subject = parsed.subject().as_raw().to_vec();
        let subject_text = parsed.subject().to_string();
        let public_key = parsed.public_key().subject_public_key.data.to_vec();
        Ok(Self {
            key,
            certificate,
            certificate_pem,
            serial,
            subject,
            public_key,
            subject_text,
            not_after,
            not_before,
        })
    }

    /// Whether this certificate is signed by `issuer`.
    pub(super) fn is_signed_by(&self, issuer: &Self) -> bool {
        issuer.has_signed(&self.certificate)
    }

    /// Whether a certificate is signed by this key.
    pub(super) fn has_signed(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
        let Ok((_, own)) = X509Certificate::from_der(&self.certificate) else { return false };
        certificate.verify_signature(Some(own.public_key())).is_ok()
    }

    /// As rcgen signs with it.
    pub(super) fn signer(&self) -> Result<Issuer<'static, &KeyPair>, rcgen::Error> {
        Issuer::from_ca_cert_der(&self.certificate, &*self.key)
    }

    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub(super) fn serial(&self) -> &[u8] {
        &self.serial
    }

    pub(super) fn subject(&self) -> &[u8] {
        &self.subject
    }

    pub(super) fn subject_text(&self) -> &str {
        &self.subject_text
    }

    pub(super) fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    pub(super) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    pub(super) fn not_before(&self) -> Timestamp {
        self.not_before
    }

    pub(super) fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

/// The key alone, whether or not it has a certificate yet.
///
/// # Errors
/// It is damaged, or others may read it.
pub(super) fn load_key(files: &Files) -> Result<Option<Zeroizing<KeyPair>>, IssueError> {
    let Some(pem) = read_secret(&files.key)? else { return Ok(None) };
    let pair = std::str::from_utf8(&pem)
        .map_err(|error| error.to_string())
        .and_then(|pem| KeyPair::from_pem(pem).map_err(|error| error.to_string()))
        .map_err(|error| StoreError::damaged(&files.key, format!("{error}; restore it from a backup")))?;
    Ok(Some(Zeroizing::new(pair)))
}

/// A new key.
pub(super) fn generate(algorithm: &'static SignatureAlgorithm) -> Result<Zeroizing<KeyPair>, IssueError> {
    KeyPair::generate_for(algorithm)
        .map(Zeroizing::new)
        .map_err(|error| IssueError::new(ErrorClass::Ours, format!("cannot make a CA key: {error}")))
}

fn cannot_make(path: &Path, detail: &str) -> IssueError {
    IssueError::new(ErrorClass::Ours, format!("cannot make {}: {detail}", path.display()))
}
