//! Talking to the running node over its admin socket.

use std::path::Path;
use std::time::Duration;

use sealwire_proto::socket::{CLOSED, dial_to};
use sealwire_proto::v1::node_admin_service_client::NodeAdminServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::config::Config;

/// Limit of a question that is answered from memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

pub(super) type Client = NodeAdminServiceClient<Channel>;

/// Dials the node that a configuration file describes.
pub(super) async fn connect(config: &Config, file: &Path) -> Result<Client, String> {
    let Some(socket) = &config.admin.socket else {
        let file = file.display();
        return Err(format!("{file}: admin.socket is not set: name a socket there and restart the node"));
    };
    let channel = dial_to(socket, "node")
        .await
        .map_err(|error| if error.detail.starts_with(CLOSED) { turned_away() } else { error.to_string() })?;
    Ok(NodeAdminServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES))
}

/// A question with a limit on the time of its answer.
pub(super) fn question<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_TIMEOUT);
    request
}

/// What the node refused, in one line.
pub(super) fn failure(status: &Status) -> String {
    let text = status.message();
    let was_closed = text.contains(CLOSED) || text.contains("transport error");
    match status.code() {
        Code::Unknown | Code::Unavailable if was_closed => turned_away(),
        _ => text.to_owned(),
    }
}

/// A connection that is closed at once was most likely refused by the allow list.
fn turned_away() -> String {
    "the node closed the connection; is this user in its admin.allow_uids?".to_owned()
}
