//! An embedded CA: a root, intermediates that renew themselves, and leaves signed on the spot; and what a CA
//! owes to those who trust it: lists of what is revoked, OCSP answers, and a change of the root that cuts
//! nobody off. Laid out as
//!
//! ```text
//! DIR/                            0700
//!   root.key.pem 0600, root.pem   the first root; 10 years. Later ones: root-N
//!   rotation.json                 which root issues, which are published
//!   intermediate-N.key.pem 0600, intermediate-N.pem
//!                                 the highest N is in use; older ones stay, for what they have signed
//!   root.crl, intermediate-N.crl  what each has revoked, as last published
//!   record.log                    what was issued and revoked
//! ```

mod authority;
mod constraints;
mod crl;
mod endpoints;
mod hierarchy;
mod http;
mod identity;
mod leaf;
mod make;
mod manage;
mod ocsp;
mod record;
mod responder;
mod roots;
mod rotation;
mod secret;
pub(crate) mod survey;
mod tend;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use async_trait::async_trait;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use sealwire_proto::v1::StepKind;
use tokio::sync::Notify;

use self::authority::Authority;
use self::constraints::Constraints;
use self::crl::Crl;
use self::endpoints::Endpoints;
use self::hierarchy::Hierarchy;
pub use self::http::Publication;
use self::identity::AuthorityId;
use self::record::Record;
use self::responder::Responders;
pub(crate) use self::secret::{read_given_secret, read_secret};
use self::view::View;
use super::{ErrorClass, IssueError, Issuer, OrderRequest, Progress, RevocationReason};
use crate::clock::Clock;
use crate::config::InternalConfig;

/// The file with what was issued and revoked.
const RECORD: &str = "record.log";

/// The embedded CA of one configured issuer.
pub struct InternalIssuer {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    view: RwLock<Arc<View>>,
    responders: Responders,
    /// The clock has jumped, and nobody has confirmed it.
    clock_doubted: AtomicBool,
    /// There is something to tend before its time.
    wake: Notify,
    /// Who wants to know of a change.
    changed: OnceLock<Arc<Notify>>,
}

/// What does not change while the agent runs, and the record.
struct Shared {
    name: String,
    config: InternalConfig,
    constraints: Constraints,
    /// Where it is published; `None`: nowhere.
    endpoints: Option<Endpoints>,
    record: Record,
}

/// What changes, one change at a time.
struct State {
    hierarchy: Hierarchy,
    crls: BTreeMap<AuthorityId, Arc<Crl>>,
    /// The paired nodes, once that is known.
    nodes: Option<BTreeSet<String>>,
}

impl InternalIssuer {
    /// Opens the CA `[internal.NAME]` in `dir`, or makes it if there is none yet.
    ///
    /// # Errors
    /// Class `Ours`: a file that is damaged, does not fit the others or may be read by others; the message
    /// names it and what to do. Nothing that is there is ever overwritten.
    pub fn open(
        name: String,
        dir: PathBuf,
        config: InternalConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IssueError> {
        let constraints = Constraints::parse(&config.permitted).map_err(|permitted| {
            IssueError::new(
                ErrorClass::Ours,
                format!(
                    "issuer {name}: `permitted` of [internal.{name}]: \"{permitted}\" is neither a DNS suffix \
                     (svc.example) nor a block (10.0.0.0/8)"
                ),
            )
        })?;
        hierarchy::prepare(&dir)?;
        let endpoints = config.publish.as_ref().map(|publish| Endpoints::new(&publish.url, &name));
        let grace =
            config.publish.as_ref().map_or(make::BACKDATE, |publish| make::signed(publish.crl_lifetime));
        let record = Record::open(dir.join(RECORD), grace)?;
        let responders = Responders::new(&name, config.publish.as_ref());
        let shared = Arc::new(Shared { name, config, constraints, endpoints, record });
        let now = clock.now();
        let hierarchy = Hierarchy::open(dir, Arc::clone(&shared), now)?;
        let issuer = Self {
            shared,
            clock,
            state: Mutex::new(State { hierarchy, crls: BTreeMap::new(), nodes: None }),
            view: RwLock::default(),
            responders,
            clock_doubted: AtomicBool::new(false),
            wake: Notify::new(),
            changed: OnceLock::new(),
        };
        issuer.refresh(&mut issuer.lock(), now, None);
        Ok(issuer)
    }

    /// `changed` is notified when the published roots, the state of their change or [`InternalIssuer::fault`]
    /// change. The first caller counts.
    pub fn notify(&self, changed: Arc<Notify>) {
        let _ = self.changed.set(changed);
    }

    /// Whether its certificates name a CRL and a responder.
    #[must_use]
    pub fn publishes(&self) -> bool {
        self.shared.endpoints.is_some()
    }

    /// While the clock is in doubt nothing is forgotten and no root is retired, for what seems to have ended may
    /// not have.
    pub fn doubt_clock(&self, doubted: bool) {
        self.clock_doubted.store(doubted, Ordering::Relaxed);
    }

    /// Counts changes of the published roots.
    #[must_use]
    pub fn roots_version(&self) -> u64 {
        self.view().roots_version
    }

    /// The digest by which nodes confirm the published roots.
    #[must_use]
    pub fn roots_sha256(&self) -> [u8; 32] {
        self.view().roots_sha256
    }

    /// Who has not confirmed the new root, in words; `None` if nobody is waited for.
    #[must_use]
    pub fn waiting_for(&self) -> Option<String> {
        let view = self.view();
        let waits = !view.waiting_for.is_empty();
        waits.then(|| format!("{}; waiting for {}", view.rotation, view.waiting_for.join(", ")))
    }

    /// What could not be written or signed the last time, and is tried again.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.view().fault.clone()
    }

    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_view(&self, view: View) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    /// Each change is on disk before it is in here, so a panic elsewhere cannot have left it half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Issuer for InternalIssuer {
    fn name(&self) -> &str {
        &self.shared.name
    }

    async fn obtain(
        &self,
        request: &OrderRequest,
        progress: &dyn Progress,
    ) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        let Shared { name, config, constraints, endpoints, record } = &*self.shared;
        if let Some(outside) = request.identifiers.iter().find(|name| !constraints.permit(name)) {
            return Err(IssueError::new(
                ErrorClass::Identifier,
                format!(
                    "issuer {name}: {outside} is outside of `permitted` of [internal.{name}] ({}): add it there, \
                     or use another issuer",
                    config.permitted.join(", ")
                ),
            ));
        }
        let subject = leaf::Subject::read(&request.csr_der, &request.identifiers)
            .map_err(|detail| self.ours(&detail))?;
        // Held until the leaf is on record: a root that seems to have nothing valid below it is retired.
        let mut state = self.lock();
        let now = self.clock.now();
        let (id, intermediate) = self.intermediate(&mut state, now)?;
        let signed = leaf::sign(&subject, (id, &intermediate), endpoints.as_ref(), config.leaf_lifetime, now);
        let leaf = signed.map_err(|detail| self.ours(&detail))?;
        record.issued(leaf.serial, id, leaf.not_after)?;
        drop(state);
        let serial = sealwire_proto::hex(&leaf.serial);
        progress.step(StepKind::Issued, format!("serial {serial}, valid until {}", leaf.not_after));
        Ok(vec![leaf.certificate, intermediate.certificate().clone()])
    }

    fn trust_anchors(&self) -> Vec<CertificateDer<'static>> {
        self.view().roots.clone()
    }

    fn root_pem(&self) -> Option<String> {
        Some(self.view().roots_pem.clone())
    }

    async fn revoke(&self, leaf: &CertificateDer<'_>, reason: RevocationReason) -> Result<(), IssueError> {
        self.revoke_leaf(leaf, reason.code())
    }

    fn as_internal(&self) -> Option<&InternalIssuer> {
        Some(self)
    }
}

impl InternalIssuer {
    /// What to sign with now. A new one is shown, with its list, before anything of it leaves.
    fn intermediate(
        &self,
        state: &mut State,
        now: Timestamp,
    ) -> Result<(AuthorityId, Arc<Authority>), IssueError> {
        let (id, intermediate) = state.hierarchy.intermediate(now)?;
        let intermediate = Arc::clone(intermediate);
        if !self.view().authorities.contains_key(&id) {
            self.refresh(state, now, None);
        }
        Ok((id, intermediate))
    }
}

#[cfg(test)]
#[path = "internal_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "publish_tests.rs"]
mod publish_tests;

#[cfg(test)]
#[path = "change_tests.rs"]
mod change_tests;
