//! Deploy targets: servers that are not ours and do not dial. Each is a node in the eyes of the loop: the same words,
//! the same proof by a handshake of the agent, the same place in status. What differs is how it gets a certificate
//! (`Target`), and that it is tried again for ever (`task`): a server that was down when a certificate came
//! serves it once it is up.

mod directory;
mod files;
mod haproxy;
mod nginx;
mod program;
mod retry;
mod task;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{CertificateConfig, DeployConfig, DeployType};
use crate::delivery::{Desired, Event, NodeInfo, Takes};
use crate::steps::Steps;
use crate::store::Generation;
use task::Deployment;

#[cfg(test)]
pub(crate) mod testing;

/// A server, as somebody who brings it a certificate sees it.
#[async_trait]
trait Target: Send + Sync {
    /// Whether it has exactly this generation at hand: then only the proof is looked for.
    fn holds(&self, generation: &Generation) -> bool;

    /// Brings it there and has the server take it. What can be undone is undone when it fails. Ends in time.
    ///
    /// # Errors
    /// What went wrong, in one line for people, without secrets.
    async fn apply(&self, generation: &Generation) -> Result<(), String>;
}

/// What targets share with the rest of the agent.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// What is wanted.
    pub desired: watch::Receiver<Desired>,
    /// Who is told what became of it.
    pub events: mpsc::Sender<Event>,
    /// The live record.
    pub steps: Arc<Steps>,
    /// How long after an apply the proof may take until that is told.
    pub proof_timeout: std::time::Duration,
}

/// Programs of all targets at the same time: a thousand certificates do not start a thousand of them.
const MAX_PROGRAMS: usize = 8;

/// What targets wait for.
#[derive(Debug)]
struct Turns {
    /// HAProxy has one transaction at a time for all its certificates: one turn for each socket.
    sockets: BTreeMap<PathBuf, Arc<Mutex<()>>>,
    programs: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { sockets: BTreeMap::new(), programs: Arc::new(Semaphore::new(MAX_PROGRAMS)) }
    }
}

/// Names of targets: no node that dials may call itself so.
#[must_use]
pub fn names<'a>(certificates: impl Iterator<Item = &'a CertificateConfig>) -> BTreeSet<String> {
    certificates
        .flat_map(|certificate| &certificate.deploy)
        .filter(|deploy| deploy.r#type != DeployType::Sds)
        .map(|deploy| deploy.name.clone())
        .collect()
}

/// Starts a task for each target; they run until `end`.
pub fn start<'a>(
    certificates: impl Iterator<Item = &'a CertificateConfig>,
    surroundings: &Surroundings,
    end: &CancellationToken,
) {
    let mut turns = Turns::default();
    for certificate in certificates {
        for deploy in &certificate.deploy {
            let Some(target) = target(certificate, deploy, &mut turns) else { continue };
            let node = node(certificate, deploy);
            let deployment = Deployment::new(certificate.name.clone(), node, target, surroundings);
            tokio::spawn(deployment.run(end.clone()));
        }
    }
}

/// `None`: it dials us.
fn target(
    certificate: &CertificateConfig,
    deploy: &DeployConfig,
    turns: &mut Turns,
) -> Option<Arc<dyn Target>> {
    Some(match deploy.r#type {
        DeployType::Files => Arc::new(files::Files::new(certificate, deploy, &turns.programs)?),
        DeployType::Nginx => Arc::new(nginx::Nginx::new(certificate, deploy, &turns.programs)?),
        DeployType::Haproxy => {
            let turn = turns.sockets.entry(deploy.socket.clone()?).or_default();
            Arc::new(haproxy::Haproxy::new(deploy, Arc::clone(turn))?)
        }
        DeployType::Sds => return None,
    })
}

fn node(certificate: &CertificateConfig, deploy: &DeployConfig) -> NodeInfo {
    let names = deploy.server_names.as_ref().unwrap_or(&certificate.identifiers);
    NodeInfo {
        id: deploy.name.clone(),
        version: deploy.r#type.name().to_owned(),
        server_names: names.clone(),
        listeners: deploy.prove.clone(),
        proxied: if deploy.proxied { deploy.prove.clone() } else { Vec::new() },
        takes: Takes::Deployed(certificate.name.clone()),
    }
}
