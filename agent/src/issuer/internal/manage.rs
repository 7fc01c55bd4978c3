//! What operators and nodes tell a CA: begin a change of the root, confirm it, call it off; a new
//! intermediate; revocations.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use sealwire_proto::v1::{CaStatusReply, ca_status_reply};

use super::identity::AuthorityId;
use super::record::{Revocation, Serial};
use super::rotation::{Party, Rotation};
use super::{InternalIssuer, State};
use crate::issuer::{ErrorClass, IssueError, RevocationReason};

impl InternalIssuer {
    /// Makes a new root and publishes it beside the old one; it issues once everybody has it.
    ///
    /// # Errors
    /// Class `Ours`: a change is under way, or it could not be written.
    pub fn rotate_root(&self) -> Result<(), IssueError> {
        self.change(|state, now| self.begin(state, now))
    }

    /// Makes a new intermediate with a new key; the next leaf comes from it.
    ///
    /// # Errors
    /// Class `Ours`: the root has ended, it could not be written, or there are very many.
    pub fn rotate_intermediate(&self) -> Result<(), IssueError> {
        self.change(|state, now| state.hierarchy.renew(now).map(drop))
    }

    /// A client has the new root. Empty: the only one, or all of them where the configuration names none.
    ///
    /// # Errors
    /// Class `Ours`: no such client is named in the configuration, there is nothing to confirm, or it could not
    /// be written.
    pub fn confirm(&self, client: &str) -> Result<(), IssueError> {
        let name = &self.shared.name;
        let party = match (self.shared.config.clients.as_deref(), client) {
            (None, "") => Party::clients(),
            (None, other) => {
                return Err(self.ours(&format!(
                    "\"{other}\" cannot be confirmed by itself: [internal.{name}] names no `clients`; confirm all of \
                     them at once, without --client"
                )));
            }
            (Some([only]), "") => Party::client(only),
            (Some(named), client) => match named.iter().find(|named| *named == client) {
                Some(known) => Party::client(known),
                None => {
                    let known = named.join(", ");
                    return Err(self.ours(&format!(
                        "no client \"{client}\" in `clients` of [internal.{name}]; named there: {known}"
                    )));
                }
            },
        };
        self.change(|state, _| self.confirmed(state, party))
    }

    /// The new root issues from now on, whoever has it.
    ///
    /// # Errors
    /// Class `Ours`: there is none, or it could not be written.
    pub fn force(&self) -> Result<(), IssueError> {
        self.change(|state, now| {
            let roots = state.hierarchy.roots_mut();
            let rotation = roots.rotation();
            let next = rotation.issue(now).map_err(|text| self.ours(&text))?;
            let missing = self.parties(state.nodes.as_ref()).map(|parties| rotation.missing(&parties));
            tracing::warn!(issuer = self.shared.name, ?missing, "the new root issues by force");
            roots.set(next)
        })
    }

    /// Back to the old root, as long as the new one has signed nothing.
    ///
    /// # Errors
    /// Class `Ours`: there is nothing to cancel, it is too late, or it could not be written.
    pub fn cancel(&self) -> Result<(), IssueError> {
        self.change(|state, _| {
            let rotation = state.hierarchy.roots().rotation().clone();
            let has_issued = state.hierarchy.has_issued(rotation.issuing());
            let next = rotation.cancel(has_issued).map_err(|text| self.ours(&text))?;
            tracing::warn!(issuer = self.shared.name, "the change of the root is called off");
            state.hierarchy.roots_mut().set(next)
        })
    }

    /// Revokes an intermediate (0: the one in use); leaves come from a new one. Returns the intermediate (DER).
    ///
    /// # Errors
    /// Class `Ours`: there is no such intermediate, or it could not be written.
    pub fn revoke_intermediate(&self, number: u64, reason: RevocationReason) -> Result<Vec<u8>, IssueError> {
        let mut revoked = Vec::new();
        self.change(|state, now| {
            let number = match number {
                0 => state.hierarchy.newest().unwrap_or(0),
                number => number,
            };
            revoked = state.hierarchy.revoke(number, Revocation { at: now, reason: reason.code() })?;
            Ok(())
        })?;
        Ok(revoked)
    }

    /// Revokes a leaf.
    pub(super) fn revoke_leaf(&self, leaf: &CertificateDer<'_>, code: u8) -> Result<(), IssueError> {
        let facts = sealwire_proto::validate::LeafFacts::parse(leaf)
            .map_err(|error| self.ours(&format!("the certificate cannot be read: {error}")))?;
        self.change(|state, now| {
            let authorities = state.hierarchy.authorities(now);
            let signer = authorities
                .iter()
                .filter(|(id, _)| matches!(id, AuthorityId::Intermediate(_)))
                .find(|(_, authority)| authority.has_signed(leaf));
            let Some((by, _)) = signer else {
                return Err(self.ours(&format!(
                    "the certificate with serial {} was not issued by any of its intermediates that are still valid",
                    facts.serial
                )));
            };
            let not_after = Timestamp::from_second(facts.not_after).unwrap_or(Timestamp::MAX);
            if not_after < now {
                return Err(self.ours(&format!("the certificate ended at {not_after}: there is nothing to revoke")));
            }
            let serial = serial_of(leaf)
                .ok_or_else(|| self.ours(&format!("the serial {} is not one of ours", facts.serial)))?;
            Ok(self.shared.record.revoke(serial, *by, not_after, Revocation { at: now, reason: code })?)
        })
    }

    /// A paired node uses the roots with this digest; counts if they are those that are published now.
    ///
    /// # Errors
    /// Class `Ours`: it could not be written; the node is asked again when it connects anew.
    pub fn trusted(&self, node_id: &str, roots_sha256: &[u8]) -> Result<(), IssueError> {
        let mut state = self.lock();
        let is_paired = state.nodes.as_ref().is_some_and(|nodes| nodes.contains(node_id));
        let waits = matches!(state.hierarchy.roots().rotation(), Rotation::Published { .. });
        if is_paired && waits && self.view().roots_sha256 == roots_sha256 {
            self.confirmed(&mut state, Party::node(node_id))?;
            drop(state);
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Which nodes are paired: all of them must have a new root before it issues.
    pub fn paired(&self, nodes: BTreeSet<String>) {
        let mut state = self.lock();
        if state.nodes.as_ref() != Some(&nodes) {
            state.nodes = Some(nodes);
            drop(state);
            self.wake.notify_one();
        }
    }

    /// How the CA is, for people.
    #[must_use]
    pub fn status(&self) -> CaStatusReply {
        let state = self.lock();
        let view = self.view();
        let rotation = state.hierarchy.roots().rotation();
        let role = |id: &AuthorityId| match (id, rotation) {
            (AuthorityId::Root(number), Rotation::Published { next, .. }) if number == next => "next root",
            (AuthorityId::Root(number), Rotation::Replacing { old, .. }) if number == old => "old root",
            (AuthorityId::Root(_), _) => "root",
            (AuthorityId::Intermediate(_), _) => "intermediate",
        };
        let authorities = view.authorities.iter().map(|(id, seen)| ca_status_reply::Authority {
            role: role(id).to_owned(),
            subject: format!("{id} ({})", seen.authority.subject_text()),
            sha256: sealwire_proto::validate::sha256(seen.authority.certificate()).to_vec(),
            not_before_ms: seen.authority.not_before().as_millisecond(),
            not_after_ms: seen.authority.not_after().as_millisecond(),
        });
        let newest = state.hierarchy.newest().map(AuthorityId::Intermediate);
        let crl = newest.and_then(|id| view.crls.get(&id));
        CaStatusReply {
            issuer: self.shared.name.clone(),
            authorities: authorities.collect(),
            rotation: view.rotation.clone(),
            waiting_for: view.waiting_for.clone(),
            crl_number: crl.map_or(0, |crl| crl.number),
            crl_next_update_ms: crl.map_or(0, |crl| crl.next_update.as_millisecond()),
            revoked: self.shared.record.revoked() as u64,
        }
    }

    fn confirmed(&self, state: &mut State, party: Party) -> Result<(), IssueError> {
        let roots = state.hierarchy.roots_mut();
        let shown = party.as_str().to_owned();
        if let Some(next) = roots.rotation().confirm(party).map_err(|text| self.ours(&text))? {
            roots.set(next)?;
            tracing::info!(issuer = self.shared.name, party = shown, "has the new root");
        }
        Ok(())
    }

    /// Does something, then what follows from it, and shows the outcome.
    fn change(
        &self,
        what: impl FnOnce(&mut State, Timestamp) -> Result<(), IssueError>,
    ) -> Result<(), IssueError> {
        let mut state = self.lock();
        let now = self.clock.now();
        what(&mut state, now)?;
        let fault = self.step(&mut state, now).err().map(|error| error.message);
        self.refresh(&mut state, now, fault);
        Ok(())
    }

    /// An error of ours.
    pub(super) fn ours(&self, text: &str) -> IssueError {
        IssueError::new(ErrorClass::Ours, format!("issuer {}: {text}", self.shared.name))
    }
}

fn serial_of(certificate: &CertificateDer<'_>) -> Option<Serial> {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Serial::try_from(parsed.raw_serial()).ok()
}
