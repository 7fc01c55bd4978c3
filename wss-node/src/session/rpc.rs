//! Remote procedures that every SDK can call: `server.time`, `session.info`, `channel.publish`. JSON in and out, whatever
//! the framing.

use serde_json::json;

use super::commands::Commands;
use crate::wire::v1::{RpcRequest, RpcResult};
use crate::wire::{Answer, ReplyError};

impl Commands {
    /// Calls a procedure; the answer is there at once, or comes later (`None`).
    pub(super) fn rpc(&mut self, id: u32, request: &RpcRequest) -> Result<Option<Answer>, ReplyError> {
        let data = match request.method.as_str() {
            "channel.publish" => return self.publish_by_rpc(id, &request.data).map(|()| None),
            // Milliseconds since 1970, as in the protocol.
            "server.time" => json!({ "time": self.node.channels.now().as_millisecond() }),
            "session.info" => {
                let identity = self.entry.identity();
                let mut info = json!({ "client": self.entry.id.to_string(), "user": identity.user });
                if let Some(expires) = identity.expires {
                    info["expires_at"] = expires.as_second().into();
                }
                info
            }
            _ => return Err(ReplyError::METHOD_NOT_FOUND),
        };
        Ok(Some(RpcResult { data: data.to_string().into() }.into()))
    }
}
