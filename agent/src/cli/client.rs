//! Talking to the running agent.

use std::time::Duration;

use sealwire_proto::socket::{CLOSED, dial};
use sealwire_proto::v1::admin_service_client::AdminServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::{Failure, Global};

/// Limit of a question that is answered from memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) type Client = AdminServiceClient<Channel>;

pub(super) async fn connect(global: &Global) -> Result<Client, Failure> {
    let socket = global.admin_socket()?;
    let channel = dial(&socket).await.map_err(|error| {
        if error.detail.starts_with(CLOSED) { turned_away() } else { Failure::Failed(error.to_string()) }
    })?;
    Ok(AdminServiceClient::new(channel).max_decoding_message_size(64 * 1024 * 1024))
}

/// A question with a limit on the time of its answer.
pub(super) fn question<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_TIMEOUT);
    request
}

/// What the agent refused, in one line.
pub(super) fn failure(status: &Status) -> Failure {
    match status.code() {
        Code::InvalidArgument | Code::NotFound => Failure::Usage(status.message().to_owned()),
        Code::Unknown | Code::Unavailable if was_closed(status) => turned_away(),
        _ => Failure::Failed(status.message().to_owned()),
    }
}

fn was_closed(status: &Status) -> bool {
    let text = status.message();
    text.contains(CLOSED) || text.contains("transport error")
}

/// A connection that is closed at once was most likely refused by the allow list.
fn turned_away() -> Failure {
    Failure::Failed(
        "the agent closed the connection; is this user in its admin.allow_uids or admin.allow_gids?"
            .to_owned(),
    )
}
