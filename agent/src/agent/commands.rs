//! What operators ask.

use std::sync::Arc;

use jiff::Timestamp;
use sealwire_proto::v1::{IncidentsReply, StatusReply, Step, StepKind};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::Agent;
use super::halts::NodeOrder;
use super::managed::Managed;
use crate::delivery::Shadow;
use crate::drill::{self, ShadowNews};
use crate::incident::Incident;
use crate::issuer::Issuer;
use crate::lifecycle::explain::{Line, Subject};
use crate::lifecycle::{Action, Hold, Issuers, Request};
use crate::store::{Generation, HistoryEntry};

/// Certificates whose renewal is followed, and all steps from the request on.
pub type Followed = (Vec<String>, broadcast::Receiver<Step>);

/// What a plan is made from: a copy, so that planning holds up nothing.
#[derive(Debug)]
pub struct PlanFacts {
    /// Now, by the agent's clock.
    pub now: Timestamp,
    /// Every certificate.
    pub subjects: Vec<Subject>,
    /// Every issuer.
    pub issuers: Issuers,
}

/// A stored generation with its issuer.
pub struct Found {
    /// The generation.
    pub generation: Arc<Generation>,
    /// Where it came from.
    pub issuer: Arc<dyn Issuer>,
}

/// Certificates in one part of the status: as much as is copied while the loop stands still.
pub const STATUS_PART: usize = 500;

/// What the admin service asks of the loop.
pub enum Command {
    /// How is everything?
    Status {
        /// The last certificate of the part before; none: the first part.
        after: Option<String>,
        /// At most [`STATUS_PART`] certificates; fewer end it.
        reply: oneshot::Sender<StatusReply>,
    },
    /// Is the loop alive? The answer is one line for people.
    Pulse {
        /// The answer.
        reply: oneshot::Sender<String>,
    },
    /// All metrics in the text format of Prometheus.
    Measure {
        /// The answer.
        reply: oneshot::Sender<String>,
    },
    /// Renew these now; the answer names who is being followed, or says what is wrong with the request.
    Renew {
        /// Names; empty: all, or the only one.
        certificates: Vec<String>,
        /// Every certificate.
        all: bool,
        /// Even though a back-off is running.
        force: bool,
        /// Who is followed, and all steps from here on: those of an earlier run are not among them.
        reply: oneshot::Sender<Result<Followed, String>>,
    },
    /// The current generation.
    Current {
        /// Of which certificate.
        certificate: String,
        /// `None` if there is none; an error if it is not configured.
        reply: oneshot::Sender<Result<Option<Arc<Generation>>, String>>,
    },
    /// An issuer with an account.
    Account {
        /// Its name; empty: the only one.
        issuer: String,
        /// The answer.
        reply: oneshot::Sender<Result<Arc<dyn Issuer>, String>>,
    },
    /// A generation and where it came from.
    Stored {
        /// Of which certificate.
        certificate: String,
        /// Which; 0: the current one.
        generation: u64,
        /// The answer.
        reply: oneshot::Sender<Result<Found, String>>,
    },
    /// A generation was revoked: if it is the current one, another is ordered at once.
    Revoked {
        /// Of which certificate.
        certificate: String,
        /// Which.
        generation: u64,
        /// Whether another is ordered.
        reply: oneshot::Sender<bool>,
    },
    /// What a drill works with.
    Drill {
        /// Of which certificate; empty: the only one.
        certificate: String,
        /// The facts, or what is wrong with the request.
        reply: oneshot::Sender<Result<Box<drill::Facts>, String>>,
    },
    /// Nodes are to hold a shadow.
    CastShadow {
        /// Which, and who.
        shadow: Shadow,
        /// What becomes of it.
        news: mpsc::Sender<ShadowNews>,
        /// Whether it was cast.
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// Nodes are to forget it.
    EndShadow {
        /// Of which certificate.
        certificate: String,
    },
    /// Halt nodes, or let them go on.
    Nodes {
        /// What, which, and who says so.
        order: NodeOrder,
        /// The nodes that are told, or what is wrong with the order.
        reply: oneshot::Sender<Result<Vec<String>, String>>,
    },
    /// What is wrong.
    Incidents {
        /// What was, too.
        all: bool,
        /// The newest last, and what waits to be told.
        reply: oneshot::Sender<IncidentsReply>,
    },
    /// What a plan is made from.
    Plan(oneshot::Sender<PlanFacts>),
    /// Why the next action of a certificate is what it is.
    Why {
        /// Of which certificate; empty: the only one.
        certificate: String,
        /// The explanation, or what is wrong with the request.
        reply: oneshot::Sender<Result<(String, Vec<Line>), String>>,
    },
    /// What happened to a certificate.
    History {
        /// To which certificate; empty: the only one.
        certificate: String,
        /// The newest last.
        reply: oneshot::Sender<Result<Vec<HistoryEntry>, String>>,
    },
    /// An embedded CA.
    Internal {
        /// Its name; empty: the only one.
        issuer: String,
        /// The answer.
        reply: oneshot::Sender<Result<Arc<dyn Issuer>, String>>,
    },
    /// An intermediate of an embedded CA was revoked: what is served with it above is ordered anew.
    IntermediateRevoked {
        /// Of which issuer.
        issuer: String,
        /// The intermediate (DER).
        intermediate: Vec<u8>,
        /// The certificates that are ordered anew.
        reply: oneshot::Sender<Vec<String>>,
    },
    /// The published roots of an internal issuer: its name and their PEM.
    Root {
        /// Empty: the only one.
        issuer: String,
        /// The answer.
        reply: oneshot::Sender<Result<(String, String), String>>,
    },
}

impl Agent {
    pub(super) fn command(&mut self, command: Command) {
        // A caller that hung up needs no answer.
        match command {
            Command::Status { after, reply } => {
                let _ = reply.send(self.status(after.as_deref()));
            }
            Command::Pulse { reply } => {
                let _ = reply.send(self.pulse());
            }
            Command::Measure { reply } => {
                let _ = reply.send(self.measure());
            }
            Command::Renew { certificates, all, force, reply } => {
                let names = self.must_lead().and_then(|()| self.named(certificates, all));
                let _ = reply.send(names.clone().map(|names| (names, self.steps.listen())));
                for name in names.unwrap_or_default() {
                    self.request(&name, force);
                }
            }
            Command::Current { certificate, reply } => {
                let _ = reply.send(match self.certificates.get(&certificate) {
                    Some(managed) => Ok(managed.current.clone()),
                    None => Err(self.unknown(&certificate)),
                });
            }
            Command::Account { issuer, reply } => {
                let _ = reply.send(self.must_lead().and_then(|()| self.account(&issuer)));
            }
            Command::Stored { certificate, generation, reply } => {
                let _ = reply.send(self.stored(&certificate, generation));
            }
            Command::Revoked { certificate, generation, reply } => {
                let _ = reply.send(self.revoked(&certificate, generation));
            }
            Command::Drill { certificate, reply } => {
                let _ = reply.send(self.drill_facts(&certificate).map(Box::new));
            }
            Command::CastShadow { shadow, news, reply } => {
                let _ = reply.send(self.cast_shadow(shadow, news));
            }
            Command::EndShadow { certificate } => self.end_shadow(&certificate),
            Command::Nodes { order, reply } => {
                let _ = reply.send(self.order_nodes(&order));
            }
            Command::Incidents { all, reply } => {
                let wanted = self.incidents.all().into_iter().filter(|one| all || one.is_open());
                let incidents = wanted.map(Incident::to_message).collect();
                let unsent = self.incidents.unsent().into_iter().collect();
                let _ = reply.send(IncidentsReply { incidents, unsent });
            }
            Command::Plan(reply) => {
                let subjects = self.certificates.values().map(|managed| managed.subject()).collect();
                let _ =
                    reply.send(PlanFacts { now: self.clock.now(), subjects, issuers: self.issuers.clone() });
            }
            Command::Why { certificate, reply } => {
                let lines = self.one(&certificate).map(|managed| {
                    let name = managed.config.name.clone();
                    let now = self.now_for(&name);
                    let mut lines = managed.explain(now, &self.issuers);
                    let known = self.explain_revocation(managed, now);
                    lines.extend(known.map(|text| Line { label: "revocation".to_owned(), text }));
                    (name, lines)
                });
                let _ = reply.send(lines);
            }
            Command::History { certificate, reply } => {
                let entries = self
                    .one(&certificate)
                    .and_then(|managed| managed.store.history().map_err(|error| error.to_string()));
                let _ = reply.send(entries);
            }
            Command::Internal { issuer, reply } => {
                let _ = reply.send(self.internal(&issuer));
            }
            Command::IntermediateRevoked { issuer, intermediate, reply } => {
                let _ = reply.send(self.replace_below(&issuer, &intermediate));
            }
            Command::Root { issuer, reply } => {
                let root = self
                    .internal(&issuer)
                    .map(|issuer| (issuer.name().to_owned(), issuer.root_pem().unwrap_or_default()));
                let _ = reply.send(root);
            }
        }
    }

    pub(super) fn named(&self, certificates: Vec<String>, all: bool) -> Result<Vec<String>, String> {
        if all || (certificates.is_empty() && self.certificates.len() == 1) {
            return Ok(self.certificates.keys().cloned().collect());
        }
        if certificates.is_empty() {
            return Err(format!("name a certificate, or --all; configured: {}", self.known()));
        }
        match certificates.iter().find(|name| !self.certificates.contains_key(*name)) {
            Some(unknown) => Err(self.unknown(unknown)),
            None => Ok(certificates),
        }
    }

    /// The certificate of that name; no name: the only one.
    pub(super) fn one(&self, name: &str) -> Result<&Managed, String> {
        let mut all = self.certificates.values().map(Box::as_ref);
        match (name, all.next(), all.next()) {
            ("", Some(only), None) => Ok(only),
            ("", ..) => Err(format!("name a certificate; configured: {}", self.known())),
            (name, ..) => self.certificates.get(name).map(Box::as_ref).ok_or_else(|| self.unknown(name)),
        }
    }

    pub(super) fn known(&self) -> String {
        self.certificates.keys().cloned().collect::<Vec<_>>().join(", ")
    }

    pub(super) fn unknown(&self, name: &str) -> String {
        format!("no certificate is named \"{name}\"; configured: {}", self.known())
    }

    pub(super) fn request(&mut self, name: &str, force: bool) {
        let now = self.now_for(name);
        let Some(managed) = self.certificates.get_mut(name) else { return };
        if managed.obtaining {
            // The caller follows the attempt that is running.
            return;
        }
        managed.request = Some(Request { force });
        let decision = managed.decide(now, &self.issuers).clone();
        if matches!(decision.action, Action::Wait | Action::AskRenewalInfo { .. }) {
            managed.request = None;
            let last = managed.memory.last_failure.as_ref().map_or("", |failure| &failure.message);
            let detail = match &decision.hold {
                Some(Hold::BackOff { .. }) | None => format!(
                    "in a back-off until {:.0} after {} failure(s), the last: {last}; --force orders now",
                    decision.at, managed.memory.failures
                ),
                Some(hold) => format!("not before {:.0}: {hold}; --force orders now", decision.at),
            };
            self.step(name, 0, StepKind::Failed, detail);
        }
        self.look_at(name);
    }
}
