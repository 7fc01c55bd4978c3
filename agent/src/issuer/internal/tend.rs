//! What a CA does by itself as time goes by: lists are signed anew, the root is changed step by step, what
//! is over is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::authority::Authority;
use super::crl::{self, Crl};
use super::identity::AuthorityId;
use super::rotation::{Facts, Party, Rotation, Step};
use super::view::{Seen, View};
use super::{InternalIssuer, State, make};
use crate::issuer::IssueError;
use crate::store::{StoreError, durable};

/// How often it is looked at: a list that could not be written is tried again after this.
const TEND_EVERY: Duration = Duration::from_secs(10);

/// From a root that has ended to a new one that issues is two steps.
const MAX_STEPS: usize = 4;

impl InternalIssuer {
    /// Tends the CA until `shutdown`, on a thread where waiting for the disk holds up nobody.
    pub async fn keep(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            let issuer = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || issuer.tend()).await {
                tracing::error!(issuer = self.shared.name, %error, "this is a bug, please report it");
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(TEND_EVERY) => {}
            }
        }
    }

    /// Looks once. What cannot be done is told by [`InternalIssuer::fault`], and tried again the next time.
    pub fn tend(&self) {
        let mut state = self.lock();
        let now = self.clock.now();
        let mut fault = None;
        if !self.clock_doubted.load(Ordering::Relaxed) {
            fault = self.shared.record.prune(now).err().map(|error| error.to_string());
        }
        if let Err(error) = self.step(&mut state, now) {
            fault = Some(error.message);
        }
        self.refresh(&mut state, now, fault);
    }

    /// Takes the steps of a change of the root that are due. None while the clock is in doubt: a root that is
    /// retired too early does not come back by itself.
    pub(super) fn step(&self, state: &mut State, now: Timestamp) -> Result<(), IssueError> {
        if self.clock_doubted.load(Ordering::Relaxed) {
            return Ok(());
        }
        for _ in 0..MAX_STEPS {
            let hierarchy = &mut state.hierarchy;
            let rotation = hierarchy.roots().rotation().clone();
            let facts = Facts {
                root_ends: hierarchy.roots().issuing().1.not_after(),
                parties: self.parties(state.nodes.as_ref()),
                chained_until: match rotation {
                    Rotation::Replacing { .. } => hierarchy.chained_until(),
                    // Asked for by no other phase, and a look through the whole record.
                    _ => None,
                },
            };
            let wrong = |text: String| self.ours(&text);
            match rotation.decide(&facts, now) {
                Step::Wait => break,
                Step::Begin => self.begin(state, now)?,
                Step::Issue => {
                    let next = rotation.issue(now).map_err(wrong)?;
                    hierarchy.roots_mut().set(next)?;
                    tracing::warn!(issuer = self.shared.name, "the next leaf comes from the new root");
                }
                Step::Retire => {
                    hierarchy.roots_mut().set(rotation.retire())?;
                    hierarchy.drop_retired();
                    tracing::warn!(issuer = self.shared.name, "the old root is published no more");
                }
            }
        }
        Ok(())
    }

    /// Makes a new root and publishes it beside the one that issues.
    pub(super) fn begin(&self, state: &mut State, now: Timestamp) -> Result<(), IssueError> {
        let roots = state.hierarchy.roots_mut();
        let rotation = roots.rotation().clone();
        // Asked before a key is made that would be of no use.
        rotation.begin(0, now).map_err(|text| self.ours(&text))?;
        let next = roots.make_next(&self.shared.name, &self.shared.config, now)?;
        roots.set(rotation.begin(next, now).map_err(|text| self.ours(&text))?)?;
        tracing::warn!(
            issuer = self.shared.name,
            "a new root is published: give both to every client (`sealwire ca root`), then confirm"
        );
        Ok(())
    }

    /// Who must have a new root; `None` while it is not known which nodes are paired.
    pub(super) fn parties(&self, nodes: Option<&BTreeSet<String>>) -> Option<BTreeSet<Party>> {
        let nodes = nodes?.iter().map(|id| Party::node(id));
        let clients = match &self.shared.config.clients {
            Some(names) => names.iter().map(|name| Party::client(name)).collect(),
            None => vec![Party::clients()],
        };
        Some(nodes.chain(clients).collect())
    }

    /// Signs the lists that are due, and shows what there is.
    pub(super) fn refresh(&self, state: &mut State, now: Timestamp, mut fault: Option<String>) {
        let authorities = state.hierarchy.authorities(now);
        state.crls.retain(|id, _| authorities.contains_key(id));
        for (id, authority) in &authorities {
            if let Err(error) = self.refresh_crl(state, *id, authority, now) {
                tracing::error!(issuer = self.shared.name, authority = %id, %error, "no new revocation list");
                fault = Some(format!("the revocation list of {id} is not renewed: {error}"));
            }
        }
        self.show(state, authorities, fault);
    }

    fn refresh_crl(
        &self,
        state: &mut State,
        id: AuthorityId,
        authority: &Authority,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (Some(endpoints), Some(publish)) = (&self.shared.endpoints, &self.shared.config.publish) else {
            return Ok(());
        };
        let file = state.hierarchy.crl_file(id);
        if !state.crls.contains_key(&id)
            && let Some(der) = durable::read(&file)?
        {
            match Crl::read(der) {
                Ok(crl) => drop(state.crls.insert(id, Arc::new(crl))),
                Err(error) => {
                    tracing::warn!(file = %file.display(), error, "not a list of ours; a new one is signed")
                }
            }
        }
        let url = matches!(id, AuthorityId::Intermediate(_)).then(|| endpoints.crl(id));
        let revoked = self.shared.record.revoked_by(id);
        let last = state.crls.get(&id);
        if last.is_some_and(|last| !last.is_due(url.as_deref(), &revoked, now)) {
            return Ok(());
        }
        let number = crl::next_number(last.map(|last| last.number), now);
        let lifetime = make::signed(publish.crl_lifetime);
        let signed = crl::sign(authority, url.as_deref(), number, &revoked, lifetime, now)
            .map_err(|detail| StoreError::damaged(&file, format!("it cannot be signed: {detail}")))?;
        // Whoever fetches it may see no lower number again.
        durable::write(&file, &signed.der, 0o644)?;
        tracing::info!(issuer = self.shared.name, authority = %id, number, revoked = revoked.len(), "revocation list signed");
        state.crls.insert(id, Arc::new(signed));
        Ok(())
    }

    fn show(&self, state: &State, authorities: BTreeMap<AuthorityId, Arc<Authority>>, fault: Option<String>) {
        let rotation = state.hierarchy.roots().rotation();
        let missing = match self.parties(state.nodes.as_ref()) {
            Some(parties) => rotation.missing(&parties),
            None => Vec::new(),
        };
        let before = self.view();
        let view = View {
            authorities: authorities.into_iter().map(|(id, authority)| (id, Seen::new(authority))).collect(),
            crls: state.crls.clone(),
            rotation: rotation.in_words(),
            waiting_for: missing.iter().map(|party| party.as_str().to_owned()).collect(),
            fault,
            ..View::default()
        }
        .with_roots(state.hierarchy.roots(), &before);
        let told = view.concerns_loop(&before);
        self.set_view(view);
        if let Some(changed) = self.changed.get().filter(|_| told) {
            changed.notify_one();
        }
    }
}
