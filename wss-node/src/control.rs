//! The node's own admin socket: who is connected, why somebody was refused, and a way to close sessions. Small
//! questions from people on this machine; everything is answered from memory.

use std::sync::Arc;
use std::time::Duration;

use sealwire_proto::socket::{ListenError, Listener, PeerPolicy};
use sealwire_proto::v1::node_admin_service_server::{NodeAdminService, NodeAdminServiceServer};
use sealwire_proto::v1::{
    DecisionsReply, DecisionsRequest, DisconnectReply, DisconnectRequest, SessionFilter, SessionsReply,
    SessionsRequest,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};

use crate::close::Close;
use crate::config::AdminConfig;
use crate::registry::Filter;
use crate::service::Node;

/// Sessions on a page, unless asked for fewer: some 300 bytes each.
const PAGE: usize = 1000;
/// Decisions in an answer, unless asked for another number, and the most there can be.
const DECISIONS: (usize, usize) = (100, 10_000);
/// Everything is in memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A question has a few short fields.
const QUESTION_BYTES: usize = 16 * 1024;
/// Questions of one caller at the same time.
const AT_ONCE: usize = 8;
/// What sessions are told that are closed without a code: the SDKs of Centrifuge come back.
const DEFAULT_CODE: u16 = 3000;

/// Who may use the socket besides root and the node's own user.
fn policy(config: &AdminConfig) -> PeerPolicy {
    let mut policy = PeerPolicy::own_user_and_root();
    policy.uids.extend(&config.allow_uids);
    policy
}

/// Takes the socket of the configuration, if it names one.
///
/// # Errors
/// [`ListenError`].
pub(crate) fn bind(config: &AdminConfig) -> Result<Option<Listener>, ListenError> {
    config.socket.as_deref().map(Listener::bind).transpose()
}

/// Answers until the node is `closed`; the socket file is gone afterwards.
pub(crate) async fn serve(listener: Listener, node: Arc<Node>, closed: CancellationToken) {
    let incoming = listener.into_incoming(policy(&node.config.admin), |_| ());
    let service = NodeAdminServiceServer::new(Control { node }).max_decoding_message_size(QUESTION_BYTES);
    let server = Server::builder()
        .timeout(ANSWER_TIMEOUT)
        .concurrency_limit_per_connection(AT_ONCE)
        .http2_keepalive_interval(Some(ANSWER_TIMEOUT))
        .http2_keepalive_timeout(Some(ANSWER_TIMEOUT))
        .add_service(service);
    tokio::select! {
        served = server.serve_with_incoming(incoming) => if let Err(error) = served {
            tracing::error!(%error, "the admin socket does not answer any more");
        },
        () = closed.cancelled() => {}
    }
}

struct Control {
    node: Arc<Node>,
}

fn filter(wire: Option<SessionFilter>) -> Result<Filter, Status> {
    Filter::from_wire(&wire.unwrap_or_default()).map_err(Status::invalid_argument)
}

/// `asked` 0: `usual`.
fn limit(asked: u32, usual: usize, most: usize) -> usize {
    match usize::try_from(asked).unwrap_or(usize::MAX) {
        0 => usual,
        asked => asked.min(most),
    }
}

#[tonic::async_trait]
impl NodeAdminService for Control {
    async fn sessions(&self, request: Request<SessionsRequest>) -> Result<Response<SessionsReply>, Status> {
        let SessionsRequest { filter: wire, limit: asked, after } = request.into_inner();
        let filter = filter(wire)?;
        let after = match after.as_str() {
            "" => None,
            text => {
                Some(text.parse().map_err(|_| Status::invalid_argument("after: expected `next` of a page"))?)
            }
        };
        let page = self.node.registry.page(&filter, after, limit(asked, PAGE, PAGE));
        Ok(Response::new(SessionsReply {
            sessions: page.sessions.iter().map(|entry| entry.wire()).collect(),
            next: page.next.map(|next| next.to_string()).unwrap_or_default(),
            total: page.total,
        }))
    }

    async fn disconnect(
        &self,
        request: Request<DisconnectRequest>,
    ) -> Result<Response<DisconnectReply>, Status> {
        let credentials = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
        let by = credentials.map_or_else(|| "somebody".to_owned(), |peer| format!("uid {}", peer.uid()));
        let DisconnectRequest { filter: wire, code, reason, all } = request.into_inner();
        let filter = filter(wire)?;
        if filter.is_everything() && !all {
            let message = "that would close all sessions: say which, or ask for all";
            return Err(Status::invalid_argument(message));
        }
        let code = if code == 0 { DEFAULT_CODE } else { u16::try_from(code).unwrap_or_default() };
        let reason = if reason.is_empty() { "disconnected".to_owned() } else { reason };
        let close = Close::told(code, reason).map_err(Status::invalid_argument)?;
        let closed = self.node.registry.close(&filter, &close);
        let detail = format!("by {by}, with {}: {}", close.code(), close.reason());
        for entry in &closed {
            self.node.audit.record_from(&entry.decision("disconnected", detail.clone()), entry.peer);
        }
        let disconnected = closed.len() as u64;
        tracing::info!(
            disconnected,
            by,
            code = close.code(),
            reason = close.reason(),
            "sessions told to close"
        );
        Ok(Response::new(DisconnectReply { disconnected }))
    }

    async fn why(&self, request: Request<DecisionsRequest>) -> Result<Response<DecisionsReply>, Status> {
        let DecisionsRequest { about, limit: asked } = request.into_inner();
        if about.is_empty() {
            return Err(Status::invalid_argument("about: expected an address, a session or a user"));
        }
        let decisions = self.node.audit.about(&about, limit(asked, DECISIONS.0, DECISIONS.1));
        Ok(Response::new(DecisionsReply {
            decisions: decisions.into_iter().map(Into::into).collect(),
            forgotten: self.node.audit.forgotten(),
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::auth::Grant;
    use crate::outbound::Outbound;
    use crate::registry::{Registered, State};
    use crate::service::tests::{admission, node};

    fn opened(node: &Arc<Node>, user: &str) -> Registered {
        let mut admission = admission(node);
        admission.grant = Some(Grant { user: user.to_owned(), ..Grant::anonymous() });
        node.registry.open(&admission, &Arc::new(Outbound::new(1000)), Timestamp::UNIX_EPOCH)
    }

    fn of_user(user: &str) -> Option<SessionFilter> {
        Some(SessionFilter { user: user.to_owned(), ..SessionFilter::default() })
    }

    #[tokio::test]
    async fn sessions_come_in_pages() {
        let node = node("");
        let _sessions: Vec<_> = ["ada", "bob", "ada"].map(|user| opened(&node, user)).into();
        let control = Control { node };
        let ask = |user, after: &str| {
            let request = SessionsRequest { filter: of_user(user), limit: 1, after: after.to_owned() };
            control.sessions(Request::new(request))
        };
        let first = ask("ada", "").await.unwrap().into_inner();
        assert_eq!((first.sessions.len(), first.total), (1, 2));
        let second = ask("ada", &first.next).await.unwrap().into_inner();
        assert_eq!((second.sessions.len(), second.next.as_str()), (1, ""));
        assert_ne!(first.sessions[0].id, second.sessions[0].id);
        assert_eq!(ask("ada", "x").await.unwrap_err().code(), tonic::Code::InvalidArgument);
    }

    #[tokio::test]
    async fn a_disconnect_says_whom_and_is_remembered() {
        let node = node("");
        let (ada, bob) = (opened(&node, "ada"), opened(&node, "bob"));
        let control = Control { node };
        let ask = |filter, code, all| {
            let request = DisconnectRequest { filter, code, reason: "rotated".to_owned(), all };
            control.disconnect(Request::new(request))
        };
        let refused = ask(None, 0, false).await.unwrap_err();
        assert!(refused.message().contains("all sessions"), "{refused}");
        assert!(ask(of_user("ada"), 1006, false).await.is_err());
        assert_eq!(ada.entry().state(), State::Connecting, "nothing was closed by what was refused");
        assert_eq!(ask(of_user("ada"), 4000, false).await.unwrap().into_inner().disconnected, 1);
        assert_eq!((ada.entry().state(), bob.entry().state()), (State::Closing, State::Connecting));
        let about = ada.entry().id.to_string();
        let why = control.why(Request::new(DecisionsRequest { about, limit: 0 })).await.unwrap().into_inner();
        assert_eq!((why.decisions.len(), why.decisions[0].what.as_str()), (1, "disconnected"));
        assert!(why.decisions[0].detail.contains("4000: rotated"), "{why:?}");
        assert_eq!(ask(None, 0, true).await.unwrap().into_inner().disconnected, 1, "only bob is left");
    }
}
