//! The first message of a node: what it may claim.

use sealwire_proto::PROTOCOL_VERSION;
use sealwire_proto::v1::{Hello, NodeMessage, node_message};
use tonic::Status;

/// Bounds on what a Hello may claim.
const MAX_SERVER_NAMES: usize = 1000;
const MAX_LISTENERS: usize = 16;
const MAX_TEXT_BYTES: usize = 253;

/// Takes a Hello whose texts are short and fit for a log, from a node that speaks our protocol.
///
/// # Errors
/// What is wrong with it, for the node's log and ours.
pub fn check(first: NodeMessage) -> Result<Hello, Status> {
    let Some(node_message::Body::Hello(hello)) = first.body else {
        return Err(Status::failed_precondition("the first message must be a Hello"));
    };
    let texts = [&hello.node_id, &hello.version].into_iter();
    let texts = texts.chain(&hello.server_names).chain(&hello.listeners).chain(&hello.proxied);
    let sound = |text: &String| text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control);
    // Before anything of it is repeated.
    if hello.node_id.is_empty()
        || hello.server_names.len() > MAX_SERVER_NAMES
        || hello.listeners.len() > MAX_LISTENERS
        || hello.proxied.len() > MAX_LISTENERS
        || !texts.into_iter().all(sound)
    {
        return Err(Status::invalid_argument("the Hello has no node_id, or is larger than it may be"));
    }
    if hello.protocol_version != PROTOCOL_VERSION {
        return Err(Status::failed_precondition(format!(
            "node {} speaks protocol version {}, this agent {PROTOCOL_VERSION}: upgrade the older one",
            hello.node_id, hello.protocol_version
        )));
    }
    Ok(hello)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn first(change: impl FnOnce(&mut Hello)) -> Result<Hello, Status> {
        let mut hello = Hello {
            node_id: "node-1".to_owned(),
            protocol_version: PROTOCOL_VERSION,
            server_names: vec!["a.example".to_owned()],
            ..Hello::default()
        };
        change(&mut hello);
        check(NodeMessage { body: Some(node_message::Body::Hello(hello)) })
    }

    #[test]
    fn what_is_too_large_or_unfit_for_a_log_is_refused_unrepeated() {
        assert_eq!(first(|_| ()).unwrap().node_id, "node-1");
        assert!(first(|hello| hello.version = "v".repeat(MAX_TEXT_BYTES)).is_ok());
        for change in [
            |hello: &mut Hello| hello.node_id.clear(),
            |hello: &mut Hello| hello.node_id = "n".repeat(MAX_TEXT_BYTES + 1),
            |hello: &mut Hello| hello.listeners = vec![String::new(); MAX_LISTENERS + 1],
            |hello: &mut Hello| hello.proxied = vec![String::new(); MAX_LISTENERS + 1],
            |hello: &mut Hello| hello.server_names = vec![String::new(); MAX_SERVER_NAMES + 1],
            |hello: &mut Hello| {
                hello.node_id = "n\n2026 INFO forged".to_owned();
                hello.protocol_version = 9;
            },
        ] {
            let message = first(change).unwrap_err().message().to_owned();
            assert!(message.contains("larger than it may be"), "{message}");
        }
        let message = first(|hello| hello.protocol_version = 1).unwrap_err().message().to_owned();
        assert!(message.contains("node node-1 speaks protocol version 1"), "{message}");
        assert!(check(NodeMessage::default()).is_err());
    }
}
