//! Root and intermediate: which is in use, and when a new intermediate is due.

use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SerialNumber,
};
use time::OffsetDateTime;

use super::authority::{Authority, Files, generate, load_key};
use super::constraints::Constraints;
use crate::config::InternalConfig;
use crate::issuer::{ErrorClass, IssueError};
use crate::store::{StoreError, durable};

/// Long, because a new root must be handed to every client.
const ROOT_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 3652);

/// Short, because it renews itself; its key is the one that works every day.
const INTERMEDIATE_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 90);

/// Clients' clocks may be behind ours.
const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// The operator is told about the end of the root this long before.
pub(super) const ROOT_NOTICE: SignedDuration = SignedDuration::from_hours(24 * 365);

/// RFC 5280 appendix A: ub-common-name is 64 characters; the rest of ours fits beside this.
const NAME_IN_SUBJECT_CHARS: usize = 32;

/// The CA of one issuer.
pub(super) struct Hierarchy {
    dir: PathBuf,
    root: Authority,
    /// The highest number that has a certificate; 0: none yet.
    number: u64,
    /// The intermediate of that number, unless it is damaged.
    intermediate: Option<Authority>,
}

impl Hierarchy {
    /// Loads the CA in `dir`, or makes its root.
    ///
    /// # Errors
    /// See [`super::InternalIssuer::open`].
    pub(super) fn open(
        dir: PathBuf,
        name: &str,
        config: &InternalConfig,
        constraints: &Constraints,
        now: Timestamp,
    ) -> Result<Self, IssueError> {
        durable::create_dir(&dir)?;
        let number = newest_intermediate(&dir)?;
        let files = Files::new(&dir, "root");
        let root = match Authority::load(&files)? {
            Some(root) if root.is_signed_by(&root) => root,
            Some(_) => {
                let detail = "it is not signed by itself; restore it from a backup";
                return Err(StoreError::damaged(&files.certificate, detail).into());
            }
            // A new root would cut off every client, so it must be plain that there has been none.
            None if number > 0 => {
                let detail = format!(
                    "it is missing, but {} was signed by it; restore it from a backup, or move {} away to \
                     start with a new CA",
                    Files::new(&dir, &intermediate_stem(number)).certificate.display(),
                    dir.display()
                );
                return Err(StoreError::damaged(&files.certificate, detail).into());
            }
            None => make_root(&files, name, config, now)?,
        };
        let mut hierarchy = Self { dir, root, number, intermediate: None };
        hierarchy.intermediate = hierarchy.load_intermediate()?;
        match hierarchy.end_of_root(name, now) {
            // The agent may have other issuers to work with.
            Some(error) => tracing::error!(%error, "this issuer cannot issue any more"),
            // Now rather than at the first order: a directory that cannot be written is told at the start.
            None => {
                hierarchy.intermediate(name, config, constraints, now)?;
            }
        }
        Ok(hierarchy)
    }

    pub(super) fn root(&self) -> &Authority {
        &self.root
    }

    /// The intermediate to sign with now; a new one, with a new key, if it is due.
    ///
    /// # Errors
    /// The root has ended, or there is no usable intermediate and a new one could not be written.
    pub(super) fn intermediate(
        &mut self,
        name: &str,
        config: &InternalConfig,
        constraints: &Constraints,
        now: Timestamp,
    ) -> Result<&Authority, IssueError> {
        if let Some(error) = self.end_of_root(name, now) {
            return Err(error);
        }
        let leaf_lifetime = signed(config.leaf_lifetime);
        let due = self.intermediate.as_ref().is_none_or(|current| {
            self.is_due(current, leaf_lifetime, now) || Constraints::of(current.certificate()) != *constraints
        });
        if due {
            match self.renew(name, config, constraints, now) {
                Ok(()) => {}
                // A full disk must not stop leaves as long as the old one can sign them.
                Err(error)
                    if self.intermediate.as_ref().is_some_and(|current| {
                        current.not_after() >= now + leaf_lifetime
                            && Constraints::of(current.certificate()) == *constraints
                    }) =>
                {
                    tracing::warn!(issuer = name, %error, "the intermediate is due but cannot be renewed");
                }
                Err(error) => return Err(error),
            }
        }
        self.intermediate.as_ref().ok_or_else(|| {
            IssueError::new(ErrorClass::Ours, format!("issuer {name}: there is no usable intermediate"))
        })
    }

    /// What there is to say once the root has ended.
    fn end_of_root(&self, name: &str, now: Timestamp) -> Option<IssueError> {
        if now < self.root.not_after() {
            return None;
        }
        let message = format!(
            "issuer {name}: the root {} ended at {}: move {} away to start with a new CA, and give its root to \
             every client",
            Files::new(&self.dir, "root").certificate.display(),
            self.root.not_after(),
            self.dir.display()
        );
        Some(IssueError::new(ErrorClass::Ours, message))
    }

    /// Due: less than a third of its life is left, or a leaf would outlive it. Not if the root's end leaves no
    /// room for a later one.
    fn is_due(&self, current: &Authority, leaf_lifetime: SignedDuration, now: Timestamp) -> bool {
        let life = current.not_after().duration_since(current.not_before());
        let left = current.not_after().duration_since(now);
        (left * 3 < life || left < leaf_lifetime) && current.not_after() < self.root.not_after()
    }

    fn renew(
        &mut self,
        name: &str,
        config: &InternalConfig,
        constraints: &Constraints,
        now: Timestamp,
    ) -> Result<(), IssueError> {
        if self.root.not_after().duration_since(now) < ROOT_NOTICE {
            tracing::warn!(
                issuer = name,
                root = %Files::new(&self.dir, "root").certificate.display(),
                not_after = %self.root.not_after(),
                "the root ends within a year: plan a new CA and hand out its root"
            );
        }
        // Twice the leaf's, so that long leaves do not ask for a new intermediate each time.
        let lifetime = INTERMEDIATE_LIFETIME.max(signed(config.leaf_lifetime) * 2);
        let number = self.number + 1;
        let common_name = format!("Sealwire {} intermediate {number}", shortened(name));
        let mut params = ca_params(&common_name, config);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.name_constraints = constraints.to_rcgen();
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial()?);
        params.not_before = date((now - BACKDATE).max(self.root.not_before()))?;
        params.not_after = date((now + lifetime).min(self.root.not_after()))?;

        let files = Files::new(&self.dir, &intermediate_stem(number));
        let key = generate(&PKCS_ECDSA_P256_SHA256)?;
        self.intermediate = Some(Authority::create(&files, key, &params, Some(&self.root))?);
        self.number = number;
        tracing::info!(issuer = name, file = %files.certificate.display(), "intermediate made");
        Ok(())
    }

    /// The newest intermediate. One that is damaged or foreign is passed over: a new one costs nothing.
    fn load_intermediate(&self) -> Result<Option<Authority>, IssueError> {
        for number in 1..=self.number {
            // Old keys stay for what only they can sign (lists of revoked leaves), and stay secret.
            super::secret::read_secret(&Files::new(&self.dir, &intermediate_stem(number)).key)?;
        }
        if self.number == 0 {
            return Ok(None);
        }
        let files = Files::new(&self.dir, &intermediate_stem(self.number));
        match Authority::load(&files) {
            Ok(Some(intermediate)) if intermediate.is_signed_by(&self.root) => Ok(Some(intermediate)),
            Ok(_) => {
                tracing::warn!(file = %files.certificate.display(), "not signed by the root; a new one is made");
                Ok(None)
            }
            Err(error) => {
                tracing::warn!(%error, "a new intermediate is made");
                Ok(None)
            }
        }
    }
}

fn make_root(
    files: &Files,
    name: &str,
    config: &InternalConfig,
    now: Timestamp,
) -> Result<Authority, IssueError> {
    // A key without a certificate is what a crash left; it was never used, but it is not overwritten either.
    let key = match load_key(files)? {
        Some(key) => key,
        None => generate(&PKCS_ECDSA_P384_SHA384)?,
    };
    let mut params = ca_params(&format!("Sealwire {} root", shortened(name)), config);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.serial_number = Some(serial()?);
    params.not_before = date(now - BACKDATE)?;
    params.not_after = date(now + ROOT_LIFETIME)?;
    let root = Authority::create(files, key, &params, None)?;
    tracing::info!(issuer = name, file = %files.certificate.display(), "root made; give it to every client");
    Ok(root)
}

fn ca_params(common_name: &str, config: &InternalConfig) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    if let Some(organization) = &config.organization {
        subject.push(DnType::OrganizationName, organization.as_str());
    }
    subject.push(DnType::CommonName, common_name);
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// 126 random bits behind a leading 01: positive and always 16 bytes (RFC 5280 section 4.1.2.2).
pub(super) fn serial() -> Result<SerialNumber, IssueError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes)
        .map_err(|_| IssueError::new(ErrorClass::Ours, "the system's random generator failed"))?;
    bytes[0] = (bytes[0] & 0x3f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// X.509 counts whole seconds.
pub(super) fn date(at: Timestamp) -> Result<OffsetDateTime, IssueError> {
    OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|error| {
        IssueError::new(ErrorClass::Ours, format!("{at} does not fit a certificate: {error}"))
    })
}

fn signed(duration: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

fn shortened(name: &str) -> String {
    name.chars().take(NAME_IN_SUBJECT_CHARS).collect()
}

pub(super) fn intermediate_stem(number: u64) -> String {
    format!("intermediate-{number}")
}

/// The highest N of `intermediate-N.pem`; 0 if there is none.
pub(super) fn newest_intermediate(dir: &Path) -> Result<u64, StoreError> {
    let mut newest = 0;
    for entry in std::fs::read_dir(dir).map_err(StoreError::system("list", dir))? {
        let entry = entry.map_err(StoreError::system("list", dir))?;
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix("intermediate-")?.strip_suffix(".pem")?.parse::<u64>().ok());
        newest = newest.max(number.unwrap_or(0));
    }
    Ok(newest)
}
