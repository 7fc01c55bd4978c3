//! Trust anchors: the roots to which a chain must build.

use std::path::{Path, PathBuf};

use rustls_pki_types::{CertificateDer, TrustAnchor, pem::PemObject};
use webpki::anchor_from_trusted_cert;

/// Roots, ready for path building.
#[derive(Clone, Debug, Default)]
pub struct Anchors {
    certificates: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
}

/// Why roots could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The file could not be read.
    #[error("cannot read the trust anchors in {path}: {source}; check that the file exists and is readable")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not PEM, or holds no certificate.
    #[error("{path} holds no trust anchor: expected one or more PEM blocks of type CERTIFICATE ({detail})")]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// A certificate that cannot serve as a root.
    #[error("certificate {index} of the trust anchors cannot be used as a root: {detail}")]
    Unusable {
        /// Position in the list, from 1.
        index: usize,
        /// What webpki said.
        detail: String,
    },
}

/// The digest by which a node confirms the roots of an issuer: SHA-256 over the SHA-256 digests of their DER,
/// in the order given.
#[must_use]
pub fn roots_sha256(roots: &[CertificateDer<'_>]) -> [u8; 32] {
    crate::validate::digest_of_all(roots)
}

impl Anchors {
    /// Roots given as DER certificates.
    ///
    /// # Errors
    /// [`AnchorError::Unusable`] names the first certificate that is not one.
    pub fn from_der<I>(certificates: I) -> Result<Self, AnchorError>
    where
        I: IntoIterator<Item = CertificateDer<'static>>,
    {
        let certificates: Vec<_> = certificates.into_iter().collect();
        let anchors = certificates
            .iter()
            .enumerate()
            .map(|(position, certificate)| {
                anchor_from_trusted_cert(certificate)
                    .map(|anchor| anchor.to_owned())
                    .map_err(|error| AnchorError::Unusable { index: position + 1, detail: error.to_string() })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { certificates, anchors })
    }

    /// Roots in a PEM file; other blocks in it are passed over.
    ///
    /// # Errors
    /// See [`AnchorError`]; each message names the file and what to do.
    pub fn from_pem_file(path: &Path) -> Result<Self, AnchorError> {
        let text = std::fs::read(path)
            .map_err(|source| AnchorError::Unreadable { path: path.to_owned(), source })?;
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|error| AnchorError::NotPem { path: path.to_owned(), detail: error.to_string() })?;
        if certificates.is_empty() {
            return Err(AnchorError::NotPem { path: path.to_owned(), detail: "none found".to_owned() });
        }
        Self::from_der(certificates)
    }

    /// The roots of the operating system (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured). Those that
    /// webpki cannot use are passed over, as browsers do: one odd root must not stop a service.
    #[must_use]
    pub fn platform() -> Self {
        let loaded = rustls_native_certs::load_native_certs();
        for error in &loaded.errors {
            tracing::warn!(%error, "a root of the operating system could not be loaded");
        }
        let mut platform = Self::default();
        for certificate in loaded.certs {
            if let Ok(anchor) = anchor_from_trusted_cert(&certificate) {
                platform.anchors.push(anchor.to_owned());
                platform.certificates.push(certificate);
            }
        }
        platform
    }

    /// As the path builder wants them.
    #[must_use]
    pub fn as_slice(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    /// The certificates themselves (DER).
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// The certificate that an anchor of [`Anchors::as_slice`] was made from.
    #[must_use]
    pub fn certificate_of(&self, anchor: &TrustAnchor<'_>) -> Option<&CertificateDer<'static>> {
        let position = self.anchors.iter().position(|own| own == anchor)?;
        self.certificates.get(position)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }
}
