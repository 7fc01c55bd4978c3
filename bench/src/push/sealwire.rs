//! Our agent pushes to our node, as in every renewal: validated, swapped in, acknowledged, and proven by both.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use sealwire_proto::v1::StepKind;
use sealwire_proto::v1::admin_service_client::AdminServiceClient;
use sealwire_tests::process::Process;
use sealwire_tests::steps::Renewal;
use sealwire_tests::world::{AgentSettings, World};
use tonic::transport::Channel;

use super::{Peer, Pushed};
use crate::prober::Prober;
use crate::server::NAME;

/// As quiet as the others are: whoever reads a log takes part of the cores.
const LOG: &str = "[log]\nlevel = \"warn\"\n";

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
        let AgentSettings { issuers, .. } = AgentSettings::default();
        world.configure_agent(&AgentSettings {
            issuers: issuers + LOG,
            identifiers: vec![NAME.to_owned()],
            ..AgentSettings::default()
        });
        world.configure_node("node-1", 0, &world.delivery_socket(), LOG);
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
        let at = |kind| {
            let step = renewal.step(kind).with_context(|| format!("no step {kind:?}"))?;
            instant(step.at_micros)
        };
        Ok(Pushed { ready: at(StepKind::Stored)?, at: at(StepKind::Pushed)?, leaf })
    }
}

/// A time of day, in microseconds since the Unix epoch, on our own clock.
fn instant(at_micros: i64) -> Result<Instant> {
    let (now, today) = (Instant::now(), SystemTime::now());
    let at = SystemTime::UNIX_EPOCH + Duration::from_micros(at_micros.try_into().context("before 1970")?);
    let ago = today.duration_since(at).context("a step of the future")?;
    now.checked_sub(ago).context("a step of long ago")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_day_is_found_again_on_the_other_clock() {
        let today = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let before = Instant::now();
        let then = instant(i64::try_from(today.as_micros()).unwrap() - 1500).unwrap();
        let after = Instant::now();
        assert!(then <= after - Duration::from_micros(1500));
        assert!(then >= before.checked_sub(Duration::from_millis(500)).unwrap());
        assert!(instant(i64::try_from(today.as_micros()).unwrap() + 60_000_000).is_err());
        assert!(instant(-1).is_err());
    }
}
