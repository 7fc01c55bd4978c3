//! `sealwire node`

use clap::{Args, Subcommand};
use jiff::Timestamp;
use sealwire_proto::sessions::args::{Disconnect, Sessions};
use sealwire_proto::sessions::{self, Listing};
use sealwire_proto::socket::dial_to;
use sealwire_proto::v1::node_admin_service_client::NodeAdminServiceClient;
use sealwire_proto::v1::{NodeAction, NodeControlRequest};
use tonic::transport::Channel;

use super::client::{connect, failure, question};
use super::text::table;
use super::{Failure, Global, Outcome};

/// The longest answer of a node.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

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
    /// Show the open sessions of the node whose admin socket is at --socket.
    Sessions(Sessions),
    /// Close sessions of the node whose admin socket is at --socket.
    Disconnect(Disconnect),
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
            Self::Sessions(arguments) => return show(arguments, global).await,
            Self::Disconnect(arguments) => return close(arguments, global).await,
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

/// A node, not the agent: it has an admin socket of its own.
async fn of_node(global: &Global) -> Result<NodeAdminServiceClient<Channel>, Failure> {
    let socket = global.socket.as_ref().ok_or_else(|| {
        Failure::Usage("--socket PATH is missing: the node's admin.socket, not the agent's".to_owned())
    })?;
    let channel = dial_to(socket, "node").await.map_err(|error| Failure::Failed(error.to_string()))?;
    Ok(NodeAdminServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES))
}

async fn show(arguments: Sessions, global: &Global) -> Outcome {
    let (filter, limit, json) = arguments.into_parts();
    let listing = sessions::list(&mut of_node(global).await?, &filter, limit, question).await;
    let listing = listing.map_err(|status| failure(&status))?;
    if json {
        println!("{:#}", listing.json());
    } else if listing.sessions.is_empty() {
        println!("no sessions");
    } else {
        let rows = listing.rows(Timestamp::now().as_millisecond());
        print!("{}{}", table(&Listing::HEAD, &rows), listing.rest());
    }
    Ok(())
}

async fn close(arguments: Disconnect, global: &Global) -> Outcome {
    let reply = of_node(global).await?.disconnect(question(arguments.into_request())).await;
    let reply = reply.map_err(|status| failure(&status))?.into_inner();
    println!("{} sessions told to close", reply.disconnected);
    Ok(())
}
