//! Proves what was swapped in, and tells agent and readiness what was seen.

use std::sync::Arc;
use std::time::Duration;

use sealwire_proto::v1::{NodeMessage, Serving, node_message};
use tokio::sync::mpsc;

use super::backoff::Backoff;
use super::prove::OwnListener;
use super::receive::{answer, micros};
use super::served::Served;
use super::{CertReader, prove};
use crate::readiness::Readiness;

/// After a proof that failed, first and at most: the listener may wait for the channels, not be reached yet, or an
/// overlapping certificate be removed.
const AGAIN: Backoff = Backoff::between(Duration::from_secs(1), Duration::from_secs(30));

/// What has to be seen, where, and who is told.
pub(super) struct Proof {
    pub(super) served: Arc<Served>,
    pub(super) names: Vec<String>,
    pub(super) listener: OwnListener,
    pub(super) reader: CertReader,
    pub(super) readiness: Arc<Readiness>,
    pub(super) answers: mpsc::Sender<NodeMessage>,
}

impl Proof {
    /// Until it was seen, or something else is served.
    pub(super) async fn served(self) {
        let mut again = AGAIN;
        while self.is_served() {
            let seen = prove::served(self.listener, &self.names, &self.served, &self.reader).await;
            // Another swap may have come meanwhile: then this proof says nothing about what is served.
            if !self.is_served() {
                return;
            }
            match &seen {
                Ok(_) => self.seen(),
                Err(error) => {
                    let Served { certificate, generation, .. } = &*self.served;
                    tracing::warn!(
                        certificate,
                        generation,
                        error,
                        "no handshake with our own listener saw it"
                    );
                    self.readiness.unproven(certificate);
                }
            }
            let proven = seen.is_ok();
            self.tell(seen, false).await;
            if proven {
                return;
            }
            // It asks nobody but this node: there is nothing to spread.
            tokio::time::sleep(again.next(1.0)).await;
        }
    }

    /// Once: a drill has no patience.
    pub(super) async fn shadow(self) {
        let seen = prove::shadow(self.listener, &self.names, &self.served).await;
        let Served { certificate, generation, .. } = &*self.served;
        let error = seen.as_ref().err();
        tracing::info!(certificate, generation, error, "drill: looked at the shadow");
        self.tell(seen, true).await;
    }

    async fn tell(&self, seen: Result<prove::Proven, String>, shadow: bool) {
        let mut serving = Serving {
            certificate: self.served.certificate.clone(),
            generation: self.served.generation,
            leaf_sha256: self.served.leaf.sha256.to_vec(),
            shadow,
            ..Serving::default()
        };
        match seen {
            Ok(proven) => {
                serving.handshake_micros = micros(proven.took);
                serving.staple_sha256 = proven.staple.map(Vec::from).unwrap_or_default();
            }
            Err(error) => serving.error = error,
        }
        answer(&self.answers, node_message::Body::Serving(serving)).await;
    }

    fn is_served(&self) -> bool {
        self.reader.served(&self.served.certificate).is_some_and(|served| Arc::ptr_eq(&served, &self.served))
    }

    fn seen(&self) {
        let Served { certificate, generation, leaf, .. } = &*self.served;
        let was_ready = self.readiness.obstacle().is_none();
        self.readiness.proven(certificate, *generation, self.names.clone());
        let serial = &leaf.serial;
        if !was_ready && self.readiness.obstacle().is_none() {
            tracing::info!("ready: serving {certificate} generation {generation} (serial {serial}, proven)");
        } else {
            tracing::info!(certificate, generation, serial, "proven");
        }
    }
}
