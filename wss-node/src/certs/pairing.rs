//! One stream with the agent: each message, what it changes, and the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls_pki_types::UnixTime;
use sealwire_proto::v1;
use sealwire_proto::v1::{
    Ack, AgentMessage, Bundle, BundleUse, ClientTrust, ClientTrusted, Commit, Discard, Nack, NackReason,
    NodeMessage, StaplePolicy, Stapled, Trust, Trusted, agent_message, node_message,
};
use sealwire_proto::validate::Rejection;
use tokio::sync::mpsc;

use super::prepared::Prepared;
use super::proof::Proof;
use super::receive::{Receiver, answer, message, micros};
use super::served::{Served, seconds};
use super::validate::{checked_staple, not_stale};

/// What one stream knows: the rest of the node's state outlives it.
pub(crate) struct Pairing<'a> {
    node: &'a mut Receiver,
    answers: mpsc::Sender<NodeMessage>,
    prepared: Prepared,
}

impl Drop for Pairing<'_> {
    fn drop(&mut self) {
        // Nobody is left to end a drill.
        self.node.reader.shadows().clear();
    }
}

impl<'a> Pairing<'a> {
    pub(super) fn new(node: &'a mut Receiver, answers: mpsc::Sender<NodeMessage>) -> Self {
        Self { node, answers, prepared: Prepared::default() }
    }

    pub(super) fn report(&self) {
        self.node.reader.shadows().sweep(Instant::now());
        // A full queue means that the agent reads nothing: the next report is as good.
        let _ = self.answers.try_send(message(node_message::Body::Report(self.node.report())));
    }

    pub(super) async fn take(&mut self, received: AgentMessage) {
        use agent_message::Body;
        match received.body {
            Some(Body::Bundle(bundle)) => self.bundle(bundle, false).await,
            Some(Body::Rollback(rollback)) => {
                if let Some(bundle) = rollback.bundle {
                    self.bundle(bundle, true).await;
                }
            }
            Some(Body::Commit(commit)) => self.commit(commit).await,
            Some(Body::Discard(discard)) => self.discard(&discard),
            Some(Body::Staple(staple)) => self.staple(staple).await,
            Some(Body::Revoked(revoked)) => self.node.guard.revoked(revoked),
            Some(Body::Halt(halt)) => self.node.guard.halt(&halt.by, &halt.reason),
            Some(Body::Resume(resume)) => self.node.guard.resume(&resume.by),
            Some(Body::Trust(trust)) => self.trust(trust).await,
            Some(Body::ClientTrust(trust)) => self.client_trust(trust).await,
            // From a later version: not for us.
            _ => {}
        }
    }

    async fn bundle(&mut self, bundle: Bundle, rollback: bool) {
        let (certificate, generation) = (bundle.certificate.clone(), bundle.generation);
        if let Err(rejection) = self.try_bundle(bundle, rollback).await {
            self.nack(certificate, generation, rejection, false).await;
        }
    }

    async fn try_bundle(&mut self, bundle: Bundle, rollback: bool) -> Result<(), Rejection> {
        // Taken for another use, it might be served by mistake.
        let unknown =
            |_| Rejection::new(NackReason::Internal, "this version does not know that use of a bundle");
        let purpose = BundleUse::try_from(bundle.r#use).map_err(unknown)?;
        let started = Instant::now();
        let served = self.node.validator.check(bundle, UnixTime::now())?;
        if purpose != BundleUse::Shadow {
            self.may_be_served(&served, rollback)?;
        }
        let took = started.elapsed();
        match purpose {
            BundleUse::Unspecified => self.swap(served, rollback, took).await,
            BundleUse::Prepare => self.prepare(served, rollback, took).await?,
            BundleUse::Shadow => self.shadow(served, took).await,
        }
        Ok(())
    }

    /// Not older than what is served, and not back to what was distrusted.
    fn may_be_served(&self, new: &Served, rollback: bool) -> Result<(), Rejection> {
        let served = self.node.reader.served(&new.certificate);
        // A node that has nothing better takes a revoked one: whether that halts is for the agent to say.
        let revoked = |leaf| self.node.guard.is_revoked(leaf);
        let has_better = served.as_ref().is_some_and(|served| !revoked(&served.leaf.sha256));
        if has_better && revoked(&new.leaf.sha256) {
            let detail = "the agent has said that this leaf is revoked";
            return Err(Rejection::new(NackReason::Revoked, detail));
        }
        match served {
            Some(served) if !rollback => not_stale(new, &served),
            _ => Ok(()),
        }
    }

    /// Serves it from the next handshake on, acknowledges, and looks for it.
    async fn swap(&mut self, new: Served, rollback: bool, validated: Duration) {
        let started = Instant::now();
        let held = self.node.reader.served(&new.certificate);
        let before = held.clone();
        let new = match &held {
            Some(held) => new.keeping_staple_of(held),
            None => new,
        };
        // A new number on the same leaf is a swap too: its chain may be another, and reports must name it.
        let (served, is_new) = match held.filter(|held| held.is_same(&new)) {
            Some(held) => (held, false),
            None => (self.node.writer.swap_in(new), true),
        };
        let swapped = started.elapsed();
        self.node.guard.swapped(before.as_deref(), &served);
        self.node.armed.send_if_modified(|armed| !std::mem::replace(armed, true));
        let ack = Ack {
            certificate: served.certificate.clone(),
            generation: served.generation,
            validate_micros: micros(validated),
            swap_micros: micros(swapped),
        };
        answer(&self.answers, node_message::Body::Ack(ack)).await;
        let proof = self.proof(served);
        if is_new {
            let Served { certificate, generation, leaf, .. } = &*proof.served;
            let (serial, names) = (&leaf.serial, proof.names.join(", "));
            tracing::info!(certificate, generation, serial, rollback, names, "swapped in");
        }
        tokio::spawn(proof.served());
    }

    async fn prepare(&mut self, new: Served, rollback: bool, validated: Duration) -> Result<(), Rejection> {
        let prepared = v1::Prepared {
            certificate: new.certificate.clone(),
            generation: new.generation,
            validate_micros: micros(validated),
        };
        self.prepared.hold(new, rollback)?;
        let v1::Prepared { certificate, generation, .. } = &prepared;
        tracing::info!(certificate, generation, rollback, "prepared");
        answer(&self.answers, node_message::Body::Prepared(prepared)).await;
        Ok(())
    }

    async fn commit(&mut self, commit: Commit) {
        match self.committed(&commit) {
            Ok((served, rollback)) => self.swap(served, rollback, Duration::ZERO).await,
            Err(rejection) => self.nack(commit.certificate, commit.generation, rejection, false).await,
        }
    }

    /// What was prepared, if it may be served still: time has passed, and another swap may have come first.
    fn committed(&mut self, commit: &Commit) -> Result<(Served, bool), Rejection> {
        let (served, rollback) = self.prepared.take(&commit.certificate, commit.generation)?;
        self.may_be_served(&served, rollback)?;
        let over_s = seconds(UnixTime::now()) - served.leaf.not_after;
        if over_s > 0 {
            let detail = format!("the leaf expired {over_s} s ago, while it was prepared");
            return Err(Rejection::new(NackReason::Expired, detail));
        }
        Ok((served, rollback))
    }

    fn discard(&mut self, discard: &Discard) {
        let Discard { certificate, generation } = discard;
        self.prepared.discard(certificate, *generation);
        self.node.reader.shadows().discard(certificate, *generation);
        tracing::info!(certificate, generation, "discarded");
    }

    /// Presents it to drills only, acknowledges, and looks for it.
    async fn shadow(&mut self, new: Served, validated: Duration) {
        let started = Instant::now();
        let served = Arc::new(new);
        self.node.reader.shadows().present(Arc::clone(&served), started);
        let ack = Ack {
            certificate: served.certificate.clone(),
            generation: served.generation,
            validate_micros: micros(validated),
            swap_micros: micros(started.elapsed()),
        };
        answer(&self.answers, node_message::Body::Ack(ack)).await;
        tokio::spawn(self.proof(served).shadow());
    }

    async fn staple(&mut self, staple: v1::Staple) {
        let (certificate, generation) = (staple.certificate.clone(), staple.generation);
        match self.stapled(staple) {
            Ok(served) => {
                let served = self.node.writer.swap_in(served);
                self.node.guard.swapped(None, &served);
                let staple = served.staple_sha256(seconds(UnixTime::now()));
                let until = served.stapled_until().and_then(|until| jiff::Timestamp::from_second(until).ok());
                let until = until.map(|until| until.to_string());
                tracing::info!(certificate, generation, until, "stapled");
                let staple_sha256 = staple.map(Vec::from).unwrap_or_default();
                let stapled = Stapled { certificate, generation, staple_sha256 };
                answer(&self.answers, node_message::Body::Stapled(stapled)).await;
                tokio::spawn(self.proof(served).served());
            }
            Err(rejection) => self.nack(certificate, generation, rejection, true).await,
        }
    }

    /// What is served, with this staple. An empty one only switches stapling off.
    fn stapled(&self, staple: v1::Staple) -> Result<Served, Rejection> {
        let served = self.node.reader.served(&staple.certificate);
        let served = served.filter(|served| served.generation == staple.generation).ok_or_else(|| {
            let detail = format!("generation {} of it is not served", staple.generation);
            Rejection::new(NackReason::StaleGeneration, detail)
        })?;
        let policy = staple.policy();
        if policy == StaplePolicy::Unspecified {
            return Ok(served.with_staple(None, policy, 0));
        }
        let checked = checked_staple(&served, staple.response, UnixTime::now())?;
        Ok(served.with_staple(Some(checked), policy, staple.grace_s))
    }

    async fn trust(&mut self, trust: Trust) {
        let (issuer, roots) = (trust.issuer.clone(), trust.roots.len());
        match self.node.validator.trust(trust) {
            Ok(digest) => {
                tracing::info!(issuer, roots, "the roots of an issuer are trusted");
                let trusted = Trusted { issuer, roots_sha256: digest.to_vec() };
                answer(&self.answers, node_message::Body::Trusted(trusted)).await;
            }
            // Silence is the answer: who rotates a root waits for all to say that they trust it.
            Err(error) => tracing::warn!(issuer, %error, "the roots of an issuer are not taken"),
        }
    }

    async fn client_trust(&mut self, trust: ClientTrust) {
        let roots = trust.roots.len();
        match self.node.clients.replace(trust.roots) {
            Ok(digest) => {
                if roots > 0 {
                    tracing::info!(roots, "the roots of clients' certificates are in use");
                }
                let trusted = ClientTrusted { roots_sha256: digest.to_vec() };
                answer(&self.answers, node_message::Body::ClientTrusted(trusted)).await;
            }
            // Silence is the answer, as above.
            Err(error) => tracing::warn!(%error, "the roots of clients' certificates are not taken"),
        }
    }

    async fn nack(&self, certificate: String, generation: u64, rejection: Rejection, staple: bool) {
        let Rejection { reason, detail } = rejection;
        let still_serving = self.node.reader.served(&certificate).map(|served| served.generation);
        let what = if staple { "staple refused" } else { "bundle refused" };
        let name = reason.as_str_name();
        tracing::warn!(certificate, generation, reason = name, detail, still_serving, "{what}");
        let nack = Nack { certificate, generation, reason: reason.into(), detail, staple };
        answer(&self.answers, node_message::Body::Nack(nack)).await;
    }

    fn proof(&self, served: Arc<Served>) -> Proof {
        Proof {
            names: self.node.validator.covered(&served),
            served,
            listener: self.node.listener,
            reader: self.node.reader.clone(),
            readiness: Arc::clone(&self.node.readiness),
            answers: self.answers.clone(),
        }
    }
}

#[cfg(test)]
#[path = "pairing_tests.rs"]
pub(crate) mod tests;
