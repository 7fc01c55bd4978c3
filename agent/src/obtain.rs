//! One attempt to obtain a generation: key, order, gate, store. What must survive a crash is on disk before
//! the step that depends on it.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sealwire_proto::anchors::Anchors;
use sealwire_proto::v1::StepKind;
use sealwire_proto::validate::LeafFacts;
use zeroize::{Zeroize, Zeroizing};

use crate::clock::Clock;
use crate::gate;
use crate::issuer::{ErrorClass, IssueError, Issuer, OrderRequest, Placed, Progress};
use crate::keys::KeyType;
use crate::replicas::{Copies, ShareError};
use crate::revocation::inquiry::Inquiry;
use crate::revocation::staple::{Kept, Staples};
use crate::steps::{Event, Steps};
use crate::store::{CertificateStore, Generation, Journal, Metadata, StoreError};

/// What one attempt needs; owned, because it runs as a task of its own.
pub struct Attempt {
    /// Name of the certificate.
    pub certificate: String,
    /// What to order.
    pub identifiers: Vec<String>,
    /// With which profile.
    pub profile: Option<String>,
    /// For what kind of key.
    pub key_type: KeyType,
    /// The generation whose key is to be used again, if it is of that kind.
    pub reuse: Option<Arc<Generation>>,
    /// From whom.
    pub issuer: Arc<dyn Issuer>,
    /// Roots the chain must build to.
    pub anchors: Arc<Anchors>,
    /// Where it goes.
    pub store: CertificateStore,
    /// Who is told.
    pub steps: Arc<Steps>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The leaf that the order may name as the one it replaces (RFC 9773 section 5).
    pub replaces: Option<CertificateDer<'static>>,
    /// Who looks whether what was issued is revoked, and keeps its first staple; nobody where that is off.
    pub revocation: Option<Fresh>,
    /// Where other replicas find each step; `None`: there are none.
    pub replicas: Option<Arc<Copies>>,
    /// Set once the CA has accepted an order of this attempt.
    pub placed: Arc<OnceLock<Placed>>,
}

/// What an attempt needs to look at revocation.
#[derive(Clone)]
pub struct Fresh {
    /// Asks.
    pub inquiry: Inquiry,
    /// Where a staple is kept.
    pub staples: Staples,
    /// Whether staples are wanted.
    pub ocsp: bool,
}

impl Attempt {
    /// Obtains and stores a generation and makes it current. An order found in the journal is resumed; if
    /// the CA no longer knows it, a new one is placed at once.
    ///
    /// # Errors
    /// [`IssueError`], whose class decides the next attempt. A journal that may still succeed is kept.
    pub async fn run(&self) -> Result<Generation, IssueError> {
        let resumed = self.journal()?;
        match self.order(resumed.clone()).await {
            Err(error) if error.class == ErrorClass::OrderLost => {
                tracing::warn!(certificate = self.certificate, %error, "the order cannot be resumed; placing a new one");
                self.store.clear_journal()?;
                self.order(None).await
            }
            other => other,
        }
    }

    /// The journal of an earlier attempt, if it is for what is wanted now.
    fn journal(&self) -> Result<Option<Journal>, StoreError> {
        let Some(journal) = self.store.journal()? else { return Ok(None) };
        let wanted = journal.issuer == self.issuer.name()
            && journal.identifiers == self.identifiers
            && journal.profile == self.profile
            && journal.key_type == self.key_type;
        if wanted {
            return Ok(Some(journal));
        }
        tracing::info!(certificate = self.certificate, "the order under way is no longer wanted; forgotten");
        self.store.clear_journal()?;
        Ok(None)
    }

    async fn order(&self, resumed: Option<Journal>) -> Result<Generation, IssueError> {
        // A journal without a URL: the CA may have accepted the order while nobody heard of it.
        let unsure = resumed.as_ref().is_some_and(|journal| journal.order_url.is_none());
        let journal = match resumed {
            Some(journal) => journal,
            None => self.new_journal().await?,
        };
        // Whoever leads after us takes this order up, and places no second one.
        self.copy().await?;
        let key = KeyPair::from_pem(&journal.key_pem)
            .map_err(|error| IssueError::new(ErrorClass::OrderLost, format!("the order's key: {error}")))?;
        let detail = match &journal.order_url {
            Some(_) => "from the journal".to_owned(),
            None => format!("{}, on disk", self.key_type),
        };
        self.step(StepKind::KeyReady, 0, &detail);

        let request = OrderRequest {
            certificate: self.certificate.clone(),
            identifiers: self.identifiers.clone(),
            csr_der: self.csr(&key)?,
            resume: journal.order_url.clone(),
            unsure,
            profile: self.profile.clone(),
            replaces: self.replaces.clone(),
        };
        let recorder = Recorder { attempt: self, journal: &journal };
        let chain = match self.issuer.obtain(&request, &recorder).await {
            Ok(chain) => chain,
            Err(error) => {
                self.drop_dead_order(error.class)?;
                return Err(error);
            }
        };

        let key_der = Zeroizing::new(key.serialize_der());
        let now = self.clock.now();
        let checked = gate::check(
            &chain,
            &PrivatePkcs8KeyDer::from(key_der.as_slice()),
            &self.identifiers,
            &self.anchors,
            now,
        );
        let checked = checked
            .map_err(|rejection| rejection.to_string())
            .and_then(|leaf| gate::check_issued_by(&chain, self.issuer.issued_by()).map(|()| leaf))
            .and_then(|leaf| self.check_lifetime(&leaf).map(|()| leaf));
        let checked = match checked {
            Ok(leaf) => self.check_revocation(&chain).await.map(|staple| (leaf, staple)),
            Err(rejection) => Err(rejection),
        };
        let (leaf, staple) = match checked {
            Ok(checked) => checked,
            Err(rejection) => {
                // Downloading the same certificate again would not mend it: the next attempt is a new order.
                self.store.clear_journal()?;
                let mut message =
                    format!("what {} issued did not pass the gate: {rejection}", self.issuer.name());
                match self.store.keep_evidence(&chain, &message, now) {
                    Ok(path) => message += &format!(" (kept as {})", path.display()),
                    Err(error) => tracing::warn!(certificate = self.certificate, %error, "no evidence kept"),
                }
                return Err(IssueError { gate: true, ..IssueError::new(ErrorClass::Ca, message) });
            }
        };
        self.step(StepKind::GatePassed, 0, &format!("serial {}", leaf.serial));

        let metadata = Metadata {
            issuer: self.issuer.name().to_owned(),
            identifiers: self.identifiers.clone(),
            profile: self.profile.clone(),
            key_type: self.key_type,
            stored_at: now,
        };
        let new = crate::store::New { chain: &chain, key_pem: &journal.key_pem, metadata };
        let generation = self.store.put(&new)?;
        self.keep_staple(generation.number, staple);
        if let Some(replicas) = &self.replicas {
            replicas.publish(&self.certificate, generation.number).await?;
        }
        self.store.make_current(generation.number)?;
        self.store.clear_journal()?;
        if let Err(error) = self.copy().await {
            // Whoever leads next asks for an order that is done, gets the same certificate, and forgets it.
            tracing::warn!(certificate = self.certificate, %error, "the order that is done stays in the Secret");
        }
        self.step(StepKind::Stored, generation.number, &format!("serial {}", generation.leaf.serial));
        Ok(generation)
    }

    /// Copies journal and generation to where other replicas find them.
    async fn copy(&self) -> Result<(), ShareError> {
        match &self.replicas {
            Some(replicas) => replicas.copy(&self.certificate).await,
            None => Ok(()),
        }
    }

    /// A bounded look: who does not answer is no reason to keep a chain out. Gives the first staple.
    async fn check_revocation(&self, chain: &[CertificateDer<'static>]) -> Result<Option<Kept>, String> {
        let Some(fresh) = &self.revocation else { return Ok(None) };
        fresh.inquiry.fresh(chain, &self.anchors, fresh.ocsp).await.map_err(|finding| finding.to_string())
    }

    fn keep_staple(&self, generation: u64, staple: Option<Kept>) {
        let (Some(fresh), Some(staple)) = (&self.revocation, staple) else { return };
        if let Err(error) = fresh.staples.save(&self.certificate, generation, &staple.staple) {
            // It is fetched again by who watches.
            tracing::debug!(certificate = self.certificate, %error, "the first OCSP response is not kept");
        }
    }

    /// What the profile promises is kept, where we know what that is.
    fn check_lifetime(&self, leaf: &LeafFacts) -> Result<(), String> {
        let promised = self.profile.as_deref().and_then(|profile| self.issuer.promised_lifetime(profile));
        let Some(promised) = promised else { return Ok(()) };
        if let Some(shorter) = gate::check_lifetime(leaf, promised)? {
            tracing::warn!(certificate = self.certificate, profile = self.profile, "{shorter}");
        }
        Ok(())
    }

    /// The key of the generation that is to be followed, or a new one; on disk before anybody hears of it.
    async fn new_journal(&self) -> Result<Journal, IssueError> {
        let reused = self.reuse.as_ref().filter(|current| current.metadata.key_type == self.key_type);
        let mut key = match reused {
            Some(current) => {
                KeyPair::try_from(&PrivatePkcs8KeyDer::from(current.key.as_slice())).map_err(|error| {
                    let message = format!("cannot use the key of generation {}: {error}", current.number);
                    IssueError::new(ErrorClass::Ours, message)
                })?
            }
            None => self.key_type.generate().await?,
        };
        let journal = Journal {
            key_pem: Zeroizing::new(key.serialize_pem()),
            issuer: self.issuer.name().to_owned(),
            identifiers: self.identifiers.clone(),
            profile: self.profile.clone(),
            key_type: self.key_type,
            started_at: self.clock.now(),
            order_url: None,
        };
        key.zeroize();
        self.store.save_journal(&journal)?;
        Ok(journal)
    }

    /// Names go into the subjectAltName only: CAs ignore or refuse the rest (BR 7.1.2.7).
    fn csr(&self, key: &KeyPair) -> Result<Vec<u8>, IssueError> {
        let ours =
            |error: rcgen::Error| IssueError::new(ErrorClass::Ours, format!("cannot make the CSR: {error}"));
        let mut params = CertificateParams::new(self.identifiers.clone()).map_err(ours)?;
        params.distinguished_name = DistinguishedName::new();
        Ok(params.serialize_request(key).map_err(ours)?.der().to_vec())
    }

    /// Forgets an order that cannot succeed any more, so that the next attempt places a new one.
    fn drop_dead_order(&self, class: ErrorClass) -> Result<(), StoreError> {
        match class {
            // The network or the CA may be back before the order expires.
            ErrorClass::Transient | ErrorClass::Ca | ErrorClass::Refused | ErrorClass::OrderLost => Ok(()),
            ErrorClass::Ours | ErrorClass::Identifier | ErrorClass::Account => self.store.clear_journal(),
        }
    }

    fn step(&self, kind: StepKind, generation: u64, detail: &str) {
        self.steps.record(Event {
            certificate: self.certificate.clone(),
            generation,
            kind,
            detail: detail.to_owned(),
            ..Event::default()
        });
    }
}

struct Recorder<'a> {
    attempt: &'a Attempt,
    journal: &'a Journal,
}

#[async_trait]
impl Progress for Recorder<'_> {
    fn step(&self, kind: StepKind, detail: String) {
        self.attempt.step(kind, 0, &detail);
    }

    async fn order_placed(&self, placed: &Placed) -> Result<(), StoreError> {
        let journal = Journal { order_url: Some(placed.url.clone()), ..self.journal.clone() };
        // The first one counts: an order that takes the place of a lost one is the CA's to count.
        let _ = self.attempt.placed.set(placed.clone());
        self.attempt.store.save_journal(&journal)?;
        if let Err(error) = self.attempt.copy().await {
            // Without its URL it is looked for by its names (RFC 8555 section 7.1.2.1); no reason to let it go.
            tracing::warn!(certificate = self.attempt.certificate, %error, "the order's URL is not in the Secret yet");
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "obtain_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "obtain_crash_tests.rs"]
mod crash_tests;
