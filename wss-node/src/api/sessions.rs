//! Sessions of this node that are told to subscribe, to unsubscribe, or to end.

use std::sync::Arc;

use sealwire_proto::v1::SessionFilter;

use super::fault::Fault;
use super::v1::{
    DisconnectRequest, DisconnectResult, RefreshRequest, RefreshResult, RpcRequest, RpcResult,
    SubscribeRequest, SubscribeResult, UnsubscribeRequest, UnsubscribeResult,
};
use super::{Api, Caller, count, v1};
use crate::broker::rules::Kind;
use crate::close::Close;
use crate::outbound::Order;
use crate::registry::{Entry, Filter, State};
use crate::wire::{Disconnect, Unsubscribed};

/// Sessions that stay although they match.
const MAX_WHITELIST: usize = 1000;

impl Api {
    /// Subscribes sessions to a channel; they need no permission for it.
    pub(super) async fn subscribe(
        &self,
        _: &Caller,
        request: SubscribeRequest,
    ) -> Result<SubscribeResult, Fault> {
        let channel = self.channel(&request.channel)?;
        if channel.namespace.kind() == Kind::Map {
            return Err(Fault::not_available("SDKs walk through the pages of a map by themselves"));
        }
        unknown(&[
            ("expire_at", request.expire_at != 0),
            ("info", !request.info.is_empty() || !request.b64info.is_empty()),
            ("data", !request.data.is_empty() || !request.b64data.is_empty()),
            ("recover_since", request.recover_since.is_some()),
            ("override", request.r#override.is_some()),
        ])?;
        let sessions = self.sessions(&request.user, &request.client, &request.session)?;
        let told = tell(&sessions, &request.channel, Order::Subscribe);
        Ok(SubscribeResult { sessions: count(told) })
    }

    /// Ends subscriptions to a channel, for good.
    pub(super) async fn unsubscribe(
        &self,
        _: &Caller,
        request: UnsubscribeRequest,
    ) -> Result<UnsubscribeResult, Fault> {
        self.channel(&request.channel)?;
        let sessions = self.sessions(&request.user, &request.client, &request.session)?;
        let told =
            tell(&sessions, &request.channel, |called| Order::Unsubscribe(called, Unsubscribed::SERVER));
        Ok(UnsubscribeResult { sessions: count(told) })
    }

    /// Closes sessions.
    pub(super) async fn disconnect(
        &self,
        caller: &Caller,
        request: DisconnectRequest,
    ) -> Result<DisconnectResult, Fault> {
        let close = match request.disconnect {
            None => Disconnect::FORCE_NO_RECONNECT.into(),
            Some(v1::Disconnect { code, reason }) => {
                let code = u16::try_from(code).unwrap_or_default();
                Close::told(code, reason).map_err(|error| Fault::bad(format!("disconnect: {error}")))?
            }
        };
        if request.whitelist.len() > MAX_WHITELIST {
            return Err(Fault::bad(format!("whitelist: at most {MAX_WHITELIST} sessions")));
        }
        let mut sessions = self.sessions(&request.user, &request.client, &request.session)?;
        sessions.retain(|entry| !request.whitelist.contains(&entry.id.to_string()));
        Ok(DisconnectResult { sessions: count(self.close(caller, &sessions, &close)) })
    }

    /// Ends sessions whose time is over by the application's word; they come back with a new token.
    pub(super) async fn refresh(
        &self,
        caller: &Caller,
        request: RefreshRequest,
    ) -> Result<RefreshResult, Fault> {
        unknown(&[("expire_at", request.expire_at != 0), ("info", !request.info.is_empty())])?;
        if !request.expired {
            return Err(Fault::bad("expired: expected true; the time of a session is that of its token"));
        }
        let sessions = self.sessions(&request.user, &request.client, &request.session)?;
        Ok(RefreshResult { sessions: count(self.close(caller, &sessions, &Disconnect::EXPIRED.into())) })
    }

    /// There are none.
    pub(super) async fn rpc(&self, _: &Caller, request: RpcRequest) -> Result<RpcResult, Fault> {
        Err(Fault::not_found(format!("no procedure \"{}\": applications have none here", request.method)))
    }

    /// The sessions that are meant: all that is set must match.
    fn sessions(&self, user: &str, client: &str, session: &str) -> Result<Vec<Arc<Entry>>, Fault> {
        if !session.is_empty() {
            return Err(Fault::not_available("session: name the client"));
        }
        let wire =
            SessionFilter { user: user.to_owned(), session: client.to_owned(), ..SessionFilter::default() };
        let filter = Filter::from_wire(&wire).map_err(|error| Fault::bad(format!("client: {error}")))?;
        if filter.is_everything() {
            return Err(Fault::bad("user and client are missing: that would be every session"));
        }
        Ok(self.node.registry.matching(&filter))
    }

    fn close(&self, caller: &Caller, sessions: &[Arc<Entry>], close: &Close) -> usize {
        let detail = format!("by the API for {}, with {}: {}", caller.name, close.code(), close.reason());
        let closed = sessions.iter().filter(|entry| entry.close(close.clone()));
        closed
            .inspect(|entry| {
                self.node.audit.record_from(&entry.decision("disconnected", detail.clone()), entry.peer);
            })
            .count()
    }
}

/// Fields of Centrifugo's that do nothing here: better an error than a silence.
fn unknown(fields: &[(&str, bool)]) -> Result<(), Fault> {
    match fields.iter().find(|(_, is_set)| *is_set) {
        Some((field, _)) => Err(Fault::not_available(format!("{field}: not known here"))),
        None => Ok(()),
    }
}

/// Tells sessions something about a channel, under the name that their clients know it by; how many there were.
fn tell(sessions: &[Arc<Entry>], channel: &str, order: impl Fn(Arc<str>) -> Order) -> usize {
    let connected = sessions.iter().filter(|entry| entry.state() == State::Connected);
    connected
        .filter_map(|entry| entry.tenant.called(channel).map(|called| (entry, called)))
        .inspect(|(entry, called)| entry.tell(order((*called).into())))
        .count()
}
