//! `sealwire node`

use clap::{Args, Subcommand};
use sealwire_proto::v1::{NodeAction, NodeControlRequest};

use super::client::{connect, failure, question};
use super::{Global, Outcome};

#[derive(Debug, Subcommand)]
pub(super) enum Node {
    /// Open the breaker of a node: no state is passed on until `resume`, whatever its certificates say.
    Halt {
        #[command(flatten)]
        which: Which,
        /// Why; it goes into logs and alerts.
        #[arg(long, default_value = "no reason given")]
        reason: String,
    },
    /// Take back a `halt`: the breaker closes once the node is proven to serve what it should.
    Resume {
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// Id of the node, if several are paired.
    #[arg(value_name = "NODE", conflicts_with = "all")]
    node: Option<String>,
    /// Every node.
    #[arg(long)]
    all: bool,
}

impl Node {
    pub(super) async fn run(self, global: &Global) -> Outcome {
        let (which, action, reason, done) = match self {
            Self::Halt { which, reason } => (which, NodeAction::Halt, reason, "halted"),
            Self::Resume { which } => (which, NodeAction::Resume, String::new(), "resumed"),
        };
        let request = NodeControlRequest {
            node_id: which.node.unwrap_or_default(),
            all: which.all,
            action: action.into(),
            reason,
        };
        let reply = connect(global).await?.node_control(question(request)).await;
        for node in reply.map_err(|status| failure(&status))?.into_inner().nodes {
            println!("{node}: {done}; see `sealwire status`");
        }
        Ok(())
    }
}
