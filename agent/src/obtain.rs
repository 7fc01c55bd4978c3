//! One attempt to obtain a generation: key, order, gate, store. What must survive a crash is on disk before
//! the step that depends on it.

use std::sync::Arc;

use async_trait::async_trait;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use sealwire_proto::anchors::Anchors;
use sealwire_proto::v1::StepKind;
use zeroize::{Zeroize, Zeroizing};

use crate::clock::Clock;
use crate::gate;
use crate::issuer::{ErrorClass, IssueError, Issuer, OrderRequest, Progress};
use crate::steps::{Event, Steps};
use crate::store::{CertificateStore, Generation, Journal, Metadata, StoreError};

/// What one attempt needs; owned, because it runs as a task of its own.
pub struct Attempt {
    /// Name of the certificate.
    pub certificate: String,
    /// What to order.
    pub identifiers: Vec<String>,
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
        if journal.issuer == self.issuer.name() && journal.identifiers == self.identifiers {
            return Ok(Some(journal));
        }
        tracing::info!(certificate = self.certificate, "the order under way is no longer wanted; forgotten");
        self.store.clear_journal()?;
        Ok(None)
    }

    async fn order(&self, resumed: Option<Journal>) -> Result<Generation, IssueError> {
        let journal = match resumed {
            Some(journal) => journal,
            None => self.new_journal()?,
        };
        let key = KeyPair::from_pem(&journal.key_pem)
            .map_err(|error| IssueError::new(ErrorClass::OrderLost, format!("the order's key: {error}")))?;
        let detail = if journal.order_url.is_some() { "from the journal" } else { "P-256, on disk" };
        self.step(StepKind::KeyReady, 0, detail);

        let request = OrderRequest {
            certificate: self.certificate.clone(),
            identifiers: self.identifiers.clone(),
            csr_der: self.csr(&key)?,
            resume: journal.order_url.clone(),
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
        let leaf = match checked {
            Ok(leaf) => leaf,
            Err(rejection) => {
                // Downloading the same certificate again would not mend it: the next attempt is a new order.
                self.store.clear_journal()?;
                let message =
                    format!("what {} issued did not pass the gate: {rejection}", self.issuer.name());
                return Err(IssueError::new(ErrorClass::Ca, message));
            }
        };
        self.step(StepKind::GatePassed, 0, &format!("serial {}", leaf.serial));

        let metadata = Metadata {
            issuer: self.issuer.name().to_owned(),
            identifiers: self.identifiers.clone(),
            stored_at: now,
        };
        let new = crate::store::New { chain: &chain, key_pem: &journal.key_pem, metadata };
        let generation = self.store.put(&new)?;
        self.store.make_current(generation.number)?;
        self.store.clear_journal()?;
        self.step(StepKind::Stored, generation.number, &format!("serial {}", generation.leaf.serial));
        Ok(generation)
    }

    /// A new key, on disk before anybody hears of it.
    fn new_journal(&self) -> Result<Journal, IssueError> {
        let mut key = KeyPair::generate()
            .map_err(|error| IssueError::new(ErrorClass::Ours, format!("cannot make a key: {error}")))?;
        let journal = Journal {
            key_pem: Zeroizing::new(key.serialize_pem()),
            issuer: self.issuer.name().to_owned(),
            identifiers: self.identifiers.clone(),
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

    async fn order_placed(&self, url: &str) -> Result<(), StoreError> {
        let journal = Journal { order_url: Some(url.to_owned()), ..self.journal.clone() };
        self.attempt.store.save_journal(&journal)
    }
}

#[cfg(test)]
#[path = "obtain_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "obtain_crash_tests.rs"]
mod crash_tests;
