//! Orders to nodes over the admin socket.

use sealwire_proto::v1::{NodeControlReply, NodeControlRequest};
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Status};

use super::Admin;
use crate::agent::{Command, NodeOrder};

/// Longest reason taken, in bytes; it goes into logs and alerts.
const MAX_REASON_BYTES: usize = 512;

impl Admin {
    pub(super) async fn control(
        &self,
        request: Request<NodeControlRequest>,
    ) -> Result<NodeControlReply, Status> {
        let by = caller(&request);
        let request = request.into_inner();
        if request.reason.len() > MAX_REASON_BYTES || request.reason.chars().any(char::is_control) {
            return Err(Status::invalid_argument(format!(
                "the reason: expected at most {MAX_REASON_BYTES} printable bytes"
            )));
        }
        let order = NodeOrder {
            action: request.action(),
            node_id: request.node_id,
            all: request.all,
            reason: request.reason,
            by,
        };
        let nodes =
            self.ask(|reply| Command::Nodes { order, reply }).await?.map_err(Status::invalid_argument)?;
        Ok(NodeControlReply { nodes })
    }
}

/// Who is at the other end, as the kernel says.
fn caller<T>(request: &Request<T>) -> String {
    let credentials = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    match credentials {
        Some(credentials) => match credentials.pid() {
            Some(pid) => format!("uid {} (pid {pid})", credentials.uid()),
            None => format!("uid {}", credentials.uid()),
        },
        None => "an unknown user".to_owned(),
    }
}
