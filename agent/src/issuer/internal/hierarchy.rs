//! Roots and intermediates: which sign now, and when a new intermediate is due.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rcgen::PKCS_ECDSA_P256_SHA256;

use super::Shared;
use super::authority::{Authority, Files, generate};
use super::constraints::Constraints;
use super::endpoints;
use super::identity::AuthorityId;
use super::make;
use super::record::{Revocation, Serial};
use super::roots::{Roots, is_intermediate, newest};
use super::secret::read_secret;
use crate::issuer::{ErrorClass, IssueError};
use crate::store::durable;

/// Intermediates that have not ended. One lives for 90 days unless leaves live long; more come from an
/// operator who asks again and again.
const MAX_INTERMEDIATES: usize = 64;

/// The CA of one issuer.
pub(super) struct Hierarchy {
    dir: PathBuf,
    shared: Arc<Shared>,
    roots: Roots,
    /// The highest number that has a certificate; 0: none yet.
    newest: u64,
    /// Those that have not ended and whose root is published.
    intermediates: BTreeMap<u64, Intermediate>,
}

struct Intermediate {
    authority: Arc<Authority>,
    /// The number of the root above it.
    root: u64,
}

impl Hierarchy {
    /// Loads the CA in `dir`, or makes its root.
    ///
    /// # Errors
    /// See [`super::InternalIssuer::open`].
    pub(super) fn open(dir: PathBuf, shared: Arc<Shared>, now: Timestamp) -> Result<Self, IssueError> {
        let roots = Roots::open(dir.clone(), &shared.name, &shared.config, now)?;
        let newest = newest(&dir, is_intermediate)?;
        let mut hierarchy = Self { dir, shared, roots, newest, intermediates: BTreeMap::new() };
        hierarchy.load_intermediates(now)?;
        match hierarchy.end_of_root(now) {
            // The agent may have other issuers to work with.
            Some(error) => tracing::error!(%error, "this issuer cannot issue any more"),
            // Now rather than at the first order: a directory that cannot be written is told at the start.
            None => {
                hierarchy.intermediate(now)?;
            }
        }
        Ok(hierarchy)
    }

    pub(super) fn roots(&self) -> &Roots {
        &self.roots
    }

    pub(super) fn roots_mut(&mut self) -> &mut Roots {
        &mut self.roots
    }

    /// The intermediate to sign with now; a new one, with a new key, if it is due.
    ///
    /// # Errors
    /// The root has ended, or there is no usable intermediate and a new one could not be written.
    pub(super) fn intermediate(
        &mut self,
        now: Timestamp,
    ) -> Result<(AuthorityId, &Arc<Authority>), IssueError> {
        if let Some(error) = self.end_of_root(now) {
            return Err(error);
        }
        if self.is_due(now) {
            match self.renew(now) {
                Ok(_) => {}
                // A full disk must not stop leaves as long as the old one can sign them.
                Err(error) if self.can_go_on(now) => {
                    tracing::warn!(issuer = self.shared.name, %error, "the intermediate is due but cannot be renewed");
                }
                Err(error) => return Err(error),
            }
        }
        match self.intermediates.get(&self.newest) {
            Some(newest) => Ok((AuthorityId::Intermediate(self.newest), &newest.authority)),
            None => {
                let text = format!("issuer {}: there is no usable intermediate", self.shared.name);
                Err(IssueError::new(ErrorClass::Ours, text))
            }
        }
    }

    /// What there is to say once the root has ended.
    fn end_of_root(&self, now: Timestamp) -> Option<IssueError> {
        let (number, root) = self.roots.issuing();
        if now < root.not_after() {
            return None;
        }
        let message = format!(
            "issuer {}: the root {} ended at {}: a new one is made within a minute (`sealwire ca status`); give it \
             to every client",
            self.shared.name,
            Files::new(&self.dir, AuthorityId::Root(number)).certificate.display(),
            root.not_after(),
        );
        Some(IssueError::new(ErrorClass::Ours, message))
    }

    /// Due: there is none of the root that issues, it is revoked, less than a third of its life is left, a leaf
    /// would outlive it, or it says something else than the configuration. Not if the root's end leaves no room
    /// for a later one.
    fn is_due(&self, now: Timestamp) -> bool {
        let (root_number, root) = self.roots.issuing();
        let Some(newest) = self.intermediates.get(&self.newest) else { return true };
        let current = &newest.authority;
        if newest.root != root_number || self.is_revoked(current) || !self.is_as_configured(newest) {
            return true;
        }
        let life = current.not_after().duration_since(current.not_before());
        let left = current.not_after().duration_since(now);
        (left * 3 < life || left < self.leaf_lifetime()) && current.not_after() < root.not_after()
    }

    /// Whether the newest one can sign leaves although it is due.
    fn can_go_on(&self, now: Timestamp) -> bool {
        self.intermediates.get(&self.newest).is_some_and(|newest| {
            newest.authority.not_after() >= now + self.leaf_lifetime()
                && Constraints::of(newest.authority.certificate()) == self.shared.constraints
                && !self.is_revoked(&newest.authority)
        })
    }

    fn is_as_configured(&self, intermediate: &Intermediate) -> bool {
        let certificate = intermediate.authority.certificate();
        let root = AuthorityId::Root(intermediate.root);
        let url = self.shared.endpoints.as_ref().map(|endpoints| endpoints.crl(root));
        Constraints::of(certificate) == self.shared.constraints && endpoints::crl_url(certificate) == url
    }

    fn is_revoked(&self, authority: &Authority) -> bool {
        self.shared.record.find(authority.serial()).is_some_and(|entry| entry.revoked.is_some())
    }

    fn leaf_lifetime(&self) -> SignedDuration {
        make::signed(self.shared.config.leaf_lifetime)
    }

    /// Makes the next intermediate, with a new key, and returns its number.
    ///
    /// # Errors
    /// The root has ended, it could not be written, or there are very many.
    pub(super) fn renew(&mut self, now: Timestamp) -> Result<u64, IssueError> {
        if let Some(error) = self.end_of_root(now) {
            return Err(error);
        }
        self.intermediates.retain(|_, intermediate| intermediate.authority.not_after() > now);
        let Shared { name, config, constraints, endpoints, record, .. } = &*self.shared;
        if self.intermediates.len() >= MAX_INTERMEDIATES {
            let text = format!(
                "issuer {name}: {MAX_INTERMEDIATES} intermediates have not ended; wait until one has"
            );
            return Err(IssueError::new(ErrorClass::Ours, text));
        }
        let number = self.newest + 1;
        let (root_number, root) = self.roots.issuing();
        let id = AuthorityId::Root(root_number);
        let (mut params, serial, not_after) = make::intermediate(name, number, config, root, now)?;
        params.name_constraints = constraints.to_rcgen();
        if let Some(endpoints) = endpoints {
            let written = endpoints.write(&mut params, id);
            written.map_err(|detail| IssueError::new(ErrorClass::Ours, detail))?;
        }
        let files = Files::new(&self.dir, AuthorityId::Intermediate(number));
        let key = generate(&PKCS_ECDSA_P256_SHA256)?;
        // What stands in the record is complete: whoever finds an intermediate there finds its leaves too.
        record.issued(serial, id, not_after)?;
        let authority = Arc::new(Authority::create(&files, key, &params, Some(&**root))?);
        tracing::info!(issuer = name, file = %files.certificate.display(), "intermediate made");
        self.intermediates.insert(number, Intermediate { authority, root: root_number });
        self.newest = number;
        Ok(number)
    }

    /// Loads what has not ended. One that is damaged or foreign is passed over: a new one costs nothing.
    fn load_intermediates(&mut self, now: Timestamp) -> Result<(), IssueError> {
        for number in 1..=self.newest {
            let files = Files::new(&self.dir, AuthorityId::Intermediate(number));
            // Old keys stay for what only they can sign (lists of revoked leaves), and stay secret.
            read_secret(&files.key)?;
            match Authority::load(&files) {
                Ok(Some(authority)) if authority.not_after() <= now => {}
                Ok(Some(authority)) => match self.roots.signer_of(&authority) {
                    Some(root) => {
                        let authority = Arc::new(authority);
                        self.intermediates.insert(number, Intermediate { authority, root });
                    }
                    None => {
                        tracing::info!(file = %files.certificate.display(), "not of a root in use; passed over")
                    }
                },
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "passed over; what it signed cannot be revoked"),
            }
        }
        Ok(())
    }

    /// Every authority that has not ended, by id.
    pub(super) fn authorities(&self, now: Timestamp) -> BTreeMap<AuthorityId, Arc<Authority>> {
        let roots = self.roots.published().map(|(number, root)| (AuthorityId::Root(number), root));
        let intermediates = self
            .intermediates
            .iter()
            .map(|(number, intermediate)| (AuthorityId::Intermediate(*number), &intermediate.authority));
        let all = roots.chain(intermediates).filter(|(_, authority)| authority.not_after() > now);
        all.map(|(id, authority)| (id, Arc::clone(authority))).collect()
    }

    /// The intermediate that leaves are signed with, if there is one.
    pub(super) fn newest(&self) -> Option<u64> {
        self.intermediates.contains_key(&self.newest).then_some(self.newest)
    }

    /// Revokes an intermediate; the next leaf comes from a new one. Returns the intermediate (DER).
    ///
    /// # Errors
    /// There is no such intermediate, or it could not be noted.
    pub(super) fn revoke(&self, number: u64, revocation: Revocation) -> Result<Vec<u8>, IssueError> {
        let found = self.intermediates.get(&number);
        let serial = found.and_then(|found| Some((found, Serial::try_from(found.authority.serial()).ok()?)));
        let Some((found, serial)) = serial else {
            let text = format!("issuer {}: there is no valid intermediate-{number}", self.shared.name);
            return Err(IssueError::new(ErrorClass::Ours, text));
        };
        let by = AuthorityId::Root(found.root);
        self.shared.record.revoke(serial, by, found.authority.not_after(), revocation)?;
        Ok(found.authority.certificate().to_vec())
    }

    /// Whether a root has signed an intermediate.
    pub(super) fn has_issued(&self, root: u64) -> bool {
        self.intermediates.values().any(|intermediate| intermediate.root == root)
            || self.shared.record.last_end(|by| by == AuthorityId::Root(root)).is_some()
    }

    /// The end of the last leaf that builds to another root than the one that issues; `None` if there is none.
    pub(super) fn chained_until(&self) -> Option<Timestamp> {
        let (issuing, _) = self.roots.issuing();
        let is_of_issuing = |number: &u64| {
            self.intermediates.get(number).is_some_and(|intermediate| intermediate.root == issuing)
        };
        let record = &self.shared.record;
        // Of an intermediate that cannot be read it is not known which root is above it.
        let recorded =
            record.last_end(|by| is_intermediate(by).is_some_and(|number| !is_of_issuing(&number)));
        // Made before there was a record: nobody knows its leaves, but none outlives it.
        let others = self.intermediates.values().filter(|intermediate| intermediate.root != issuing);
        let unrecorded = others
            .map(|intermediate| &intermediate.authority)
            .filter(|authority| record.find(authority.serial()).is_none())
            .map(|authority| authority.not_after());
        recorded.into_iter().chain(unrecorded).max()
    }

    /// Lets go of what a retired root signed.
    pub(super) fn drop_retired(&mut self) {
        let published: Vec<_> = self.roots.published().map(|(number, _)| number).collect();
        self.intermediates.retain(|_, intermediate| published.contains(&intermediate.root));
    }

    /// The file with the list of what an authority revoked.
    pub(super) fn crl_file(&self, id: AuthorityId) -> PathBuf {
        self.dir.join(format!("{}.crl", id.stem()))
    }
}

/// Makes the directory of a CA.
///
/// # Errors
/// It could not be made.
pub(super) fn prepare(dir: &std::path::Path) -> Result<(), IssueError> {
    Ok(durable::create_dir(dir)?)
}
