//! Our agent pushes to our node, as in every renewal: validated, swapped in, acknowledged, and proven by both.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use sealwire_proto::v1::admin_service_client::AdminServiceClient;
use sealwire_proto::v1::{Step, StepKind};
use sealwire_tests::process::Process;
use sealwire_tests::steps::Renewal;
use sealwire_tests::world::{AgentSettings, World};
use tonic::transport::Channel;

use super::{NAME, Peer, Pushed};
use crate::prober::Prober;

/// A running agent with its node.
pub struct Sealwire {
    prober: Prober,
    admin: AdminServiceClient<Channel>,
    _processes: (Process, Process),
    // After the processes: it holds the directory.
    world: World,
}

impl Sealwire {
    /// Starts both and waits until the first certificate is proven.
    ///
    /// # Errors
    /// rustls does not take the root.
    pub async fn start() -> Result<Self> {
        let world = World::new();
        // One name, as the others have: each is proven by handshakes of node and agent, which the others do without.
        world.configure_agent(&AgentSettings {
            identifiers: vec![NAME.to_owned()],
            ..AgentSettings::default()
        });
        world.configure_node("node-1", 0, &world.delivery_socket(), "");
        let node = std::fs::read_to_string(world.path("node-1.toml")).context("node-1.toml")?;
        let names = node.lines().find(|line| line.starts_with("server_names")).context("no server_names")?;
        world.write("node-1.toml", &node.replace(names, &format!("server_names = [\"{NAME}\"]")));
        let processes = (world.start_agent(), world.start_node("node-1"));
        world.proven().await;
        let (anchors, _) = world.roots().await;
        let prober = Prober::new(world.node_address(), NAME, &anchors)?;
        Ok(Self { prober, admin: world.admin().await, _processes: processes, world })
    }
}

#[async_trait]
impl Peer for Sealwire {
    fn name(&self) -> &'static str {
        "Sealwire, agent to node"
    }

    fn prober(&self) -> &Prober {
        &self.prober
    }

    async fn push(&mut self) -> Result<Pushed> {
        let renewal = Renewal::follow(&mut self.admin, false).await?;
        ensure!(renewal.is_done(), "the renewal failed: {:?}", renewal.steps.last());
        let web = self.world.web().await.context("the agent does not answer")?;
        let current = web.current.context("nothing is current")?;
        let leaf = current.leaf_sha256.try_into().ok().context("not a SHA-256")?;
        let started = started(&renewal.steps);
        let at = |kind| {
            let step = renewal.step(kind).with_context(|| format!("no step {kind:?}"))?;
            instant(started + Duration::from_micros(step.elapsed_micros))
        };
        Ok(Pushed { ready: at(StepKind::Stored)?, at: at(StepKind::Pushed)?, leaf })
    }
}

/// When a run began, since the Unix epoch. Every step tells the time of day, cut to milliseconds, and the
/// microseconds since the run began: the latest beginning that they agree on is early by less than a millisecond,
/// and less with every step. Early is to our disadvantage.
fn started(steps: &[Step]) -> Duration {
    let begin = |step: &Step| {
        let at = Duration::from_millis(step.at_ms.try_into().unwrap_or_default());
        at.saturating_sub(Duration::from_micros(step.elapsed_micros))
    };
    steps.iter().map(begin).max().unwrap_or_default()
}

/// On our own clock.
fn instant(since_epoch: Duration) -> Result<Instant> {
    let (now, today) = (Instant::now(), SystemTime::now());
    let ago = today.duration_since(SystemTime::UNIX_EPOCH + since_epoch).context("a step of the future")?;
    now.checked_sub(ago).context("a step of long ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_early_by_less_than_a_millisecond_and_never_late() {
        // It began at 5.7 ms.
        let steps = [(0, 5), (900, 6), (1250, 6), (4000, 9)];
        let steps = steps.map(|(elapsed_micros, at_ms)| Step { elapsed_micros, at_ms, ..Step::default() });
        assert_eq!(started(&steps[..1]), Duration::from_micros(5000));
        assert_eq!(started(&steps), Duration::from_micros(5100));
        let exact = Step { elapsed_micros: 300, at_ms: 6, ..Step::default() };
        assert_eq!(started(&[steps[0].clone(), exact]), Duration::from_micros(5700));
    }
}
