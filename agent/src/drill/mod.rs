//! Drills: what would happen, done for real as far as service is not touched. What is issued is thrown away, and
//! nodes present it to the drill's own handshakes only (`sealwire_proto::probe::drill`).

mod authority;
mod ca_down;
mod deliver;
mod issue;
mod renew;
mod report;
mod revoke;
mod rollback;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use sealwire_proto::v1::DrillKind;
use tokio::sync::mpsc;

use crate::agent::Command;
use crate::clock::Clock;
use crate::config::CertificateConfig;
use crate::delivery::NodeInfo;
use crate::issuer::Issuer;
use crate::lifecycle::Issuers;
use crate::lifecycle::explain::Subject;
use crate::revocation::inquiry::Limits;
use crate::store::{CertificateStore, Generation};
pub use deliver::ShadowNews;
pub use report::Report;

/// Limit of one order at a CA within a drill.
const ORDER_TIMEOUT: Duration = Duration::from_secs(120);

/// The roots that chains of an issuer build to; empty: those of the operating system.
pub type Roots = Arc<[CertificateDer<'static>]>;

/// What a drill works with: a copy of what the loop knows.
pub struct Facts {
    /// Now, by the agent's clock.
    pub now: Timestamp,
    /// The certificate.
    pub config: Arc<CertificateConfig>,
    /// What is current.
    pub current: Option<Arc<Generation>>,
    /// What nodes serve.
    pub serving: Option<Arc<Generation>>,
    /// Its generations.
    pub store: CertificateStore,
    /// As decisions see it.
    pub subject: Subject,
    /// What is known of the issuers.
    pub issuers: Issuers,
    /// The nodes it goes to that are paired.
    pub nodes: Vec<NodeInfo>,
    /// Its issuers, the first choice first.
    pub sources: Vec<Source>,
    /// What asking about revocation may cost.
    pub revocation: Limits,
    /// The agent's.
    pub clock: Arc<dyn Clock>,
    /// How long a node may take to answer, and then until a handshake sees it.
    pub patience: Duration,
}

/// One issuer.
#[derive(Clone)]
pub struct Source {
    /// Itself.
    pub issuer: Arc<dyn Issuer>,
    /// Its roots; empty: those of the operating system.
    pub roots: Roots,
    /// Its staging CA.
    pub rehearsal: Option<(Arc<dyn Issuer>, Roots)>,
    /// It orders over the network, within the CA's limits.
    pub is_acme: bool,
}

/// A drill that goes on: what it knows, whom it tells, and the loop.
struct Drill {
    facts: Facts,
    report: Report,
    commands: mpsc::Sender<Command>,
}

/// Runs a drill to its end. Every step goes to `report`; the last one is Done or Failed.
pub async fn run(kind: DrillKind, facts: Facts, report: Report, commands: mpsc::Sender<Command>) {
    let drill = Drill { facts, report, commands };
    let result = match kind {
        DrillKind::Renew => drill.renew().await,
        DrillKind::Rollback => drill.rollback().await,
        DrillKind::Revoke => drill.revoke().await,
        DrillKind::CaDown => drill.ca_down().await,
        DrillKind::Unspecified => Err("no such drill".to_owned()),
    };
    drill.report.end(result).await;
}
