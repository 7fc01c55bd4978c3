//! What a session is asked, and the answers. No I/O: answers go into the session's queue, in order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use super::checking::{Checking, Purpose};
use crate::auth::{Action, Grant};
use crate::config::TokenAt;
use crate::counters::Counters;
use crate::hub::Subscription;
use crate::outbound::Outbound;
use crate::protocol::{self, Command, Connect, Disconnect, Life, Publish, Reply, ReplyError, Token};
use crate::registry::{Entry, State};
use crate::service::Node;
use crate::telemetry::trace::Publishing;
use crate::upgrade::Admission;

/// The state of a session's protocol.
#[derive(Debug)]
pub(crate) struct Commands {
    pub(super) node: Arc<Node>,
    pub(super) outbound: Arc<Outbound>,
    pub(super) admission: Admission,
    pub(super) entry: Arc<Entry>,
    connected: bool,
    /// A token that is being checked; boxed, for it is seldom there.
    pub(super) checking: Option<Box<Checking>>,
    subscriptions: HashMap<String, Subscription>,
}

impl Commands {
    pub(crate) fn new(
        node: Arc<Node>,
        outbound: Arc<Outbound>,
        admission: Admission,
        entry: Arc<Entry>,
    ) -> Self {
        let subscriptions = HashMap::new();
        Self { node, outbound, admission, entry, connected: false, checking: None, subscriptions }
    }

    /// Whether the client has said `connect`.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Takes a text frame; tells whether a pong was in it.
    ///
    /// # Errors
    /// The session is to be closed.
    pub(crate) fn take(&mut self, text: &str) -> Result<bool, Disconnect> {
        let commands = protocol::commands(text).map_err(|_| Disconnect::BAD_REQUEST)?;
        let mut pong = false;
        for command in commands {
            if self.connected && command.is_pong() {
                pong = true;
            } else {
                self.command(command)?;
            }
        }
        Ok(pong)
    }

    /// Takes one command; while the token of `connect` is being checked it waits for its turn.
    ///
    /// # Errors
    /// The session is to be closed.
    pub(super) fn command(&mut self, command: Command) -> Result<(), Disconnect> {
        if let Some(Checking { purpose: Purpose::Connect { waiting, .. }, .. }) = self.checking.as_deref_mut()
        {
            waiting.push_back(command);
            return Ok(());
        }
        let id = command.id;
        if !self.connected {
            // The first command must be `connect` (SDK behaviour specification).
            let connect = command.connect.filter(|_| id != 0).ok_or(Disconnect::BAD_REQUEST)?;
            self.connect(id, connect);
            return Ok(());
        }
        if command.connect.is_some() {
            return Err(Disconnect::BAD_REQUEST);
        }
        if let Some(refresh) = command.refresh {
            let begun = self.refresh(id, refresh.token);
            if let Err(error) = begun {
                self.outbound.push(Reply::error(id, error).encode());
            }
            return Ok(());
        }
        let reply = if let Some(request) = command.subscribe {
            self.subscribe(&request.channel).map(|()| Reply::subscribed(id))
        } else if let Some(request) = command.unsubscribe {
            self.subscriptions.remove(&request.channel);
            self.entry.subscribed(self.subscriptions.len());
            Ok(Reply::unsubscribed(id))
        } else if let Some(request) = command.publish {
            self.publish(&request).map(|()| Reply::published(id))
        } else if command.is_unavailable() {
            Err(ReplyError::NOT_AVAILABLE)
        } else {
            Err(ReplyError::BAD_REQUEST)
        };
        // Id 0 asks for no reply (`send`).
        if id != 0 {
            self.outbound.push(reply.unwrap_or_else(|error| Reply::error(id, error)).encode());
        }
        Ok(())
    }

    fn connect(&mut self, id: u32, connect: Connect) {
        self.entry.identify(|identity| identity.named(&connect.name));
        let config = &self.admission.tenant.token;
        if self.admission.grant.is_some() {
            // The upgrade has told who it is.
            self.connected(id);
        } else if config.at != TokenAt::Upgrade && !connect.token.is_empty() {
            let purpose = Purpose::Connect { id, waiting: VecDeque::new() };
            self.check(purpose, connect.token);
        } else if config.anonymous {
            self.connected(id);
        } else {
            self.unnamed(id);
        }
    }

    /// The client is let in.
    pub(super) fn connected(&mut self, id: u32) {
        self.connected = true;
        self.admission.place.authenticated();
        self.entry.reached(State::Connected);
        let ping = self.node.config.session.ping_interval.as_secs().max(1);
        let reply = Reply::connected(id, &self.entry.id.to_string(), ping, self.life()).encode();
        self.outbound.push(reply);
    }

    fn refresh(&mut self, id: u32, token: Token) -> Result<(), ReplyError> {
        // Id 0 asks for no reply, and a refresh without one is of no use to anybody.
        if id == 0 || token.is_empty() || self.admission.grant.is_none() {
            return Err(ReplyError::BAD_REQUEST);
        }
        if self.checking.is_some() {
            return Err(ReplyError::TOKENS_UNAVAILABLE);
        }
        self.check(Purpose::Refresh { id }, token);
        Ok(())
    }

    fn check(&mut self, purpose: Purpose, token: Token) {
        self.checking = Some(Box::new(Checking::new(purpose, &self.node, &self.admission.tenant, token)));
    }

    pub(super) fn life(&self) -> Life {
        Life::until(self.admission.grant.as_ref().and_then(|grant| grant.expires), Timestamp::now())
    }

    /// Ends the subscriptions that a grant does not allow any more.
    pub(super) fn end_what_is_not_allowed(&mut self, grant: &Grant) {
        let outbound = &self.outbound;
        self.subscriptions.retain(|channel, _| {
            let allowed = grant.allows(Action::Subscribe, channel);
            if !allowed {
                outbound.push(protocol::unsubscribed(channel));
            }
            allowed
        });
        self.entry.subscribed(self.subscriptions.len());
    }

    /// The name of a channel among those of all tenants, if the client may do this there.
    fn allowed(&self, action: Action, channel: &str) -> Result<String, ReplyError> {
        let may = self.admission.grant.as_ref().is_none_or(|grant| grant.allows(action, channel));
        let name = self.admission.tenant.channel(channel).filter(|_| may);
        name.ok_or(ReplyError::PERMISSION_DENIED)
    }

    fn subscribe(&mut self, channel: &str) -> Result<(), ReplyError> {
        self.check_name(channel)?;
        let name = self.allowed(Action::Subscribe, channel)?;
        if self.subscriptions.contains_key(channel) {
            return Err(ReplyError::ALREADY_SUBSCRIBED);
        }
        if self.subscriptions.len() >= self.node.config.session.channels {
            return Err(ReplyError::LIMIT_EXCEEDED);
        }
        let subscription = self.node.hub.subscribe(&name, &self.outbound);
        self.subscriptions.insert(channel.to_owned(), subscription);
        self.entry.subscribed(self.subscriptions.len());
        Ok(())
    }

    fn publish(&self, request: &Publish) -> Result<(), ReplyError> {
        self.check_name(&request.channel)?;
        let name = self.allowed(Action::Publish, &request.channel)?;
        let data = request.data.as_ref().ok_or(ReplyError::BAD_REQUEST)?;
        if self.node.guard.is_open() {
            Counters::add(&self.node.counters.publications_refused);
            return Err(ReplyError::HALTED);
        }
        let span = self.node.telemetry.publishing(&request.channel);
        let traceparent = span.as_ref().map(Publishing::traceparent);
        let push = protocol::push(&request.channel, data, traceparent.as_deref());
        let deliveries = self.node.hub.publish(&name, &push);
        Counters::add(&self.node.counters.publications);
        Counters::add_many(&self.node.counters.deliveries, deliveries);
        Ok(())
    }

    fn check_name(&self, channel: &str) -> Result<(), ReplyError> {
        if channel.is_empty() || channel.len() > self.node.config.session.channel_name_bytes {
            return Err(ReplyError::BAD_REQUEST);
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::outbound::tests::texts;
    use crate::service::tests::{admission, node};

    fn commands(extra: &str) -> (Commands, Arc<Outbound>) {
        let outbound = Arc::new(Outbound::new(100_000));
        let node = node(extra);
        let admission = admission(&node);
        let registered = node.registry.open(&admission, &outbound, Timestamp::UNIX_EPOCH);
        let entry = Arc::clone(registered.entry());
        (Commands::new(node, Arc::clone(&outbound), admission, entry), outbound)
    }

    fn sent(outbound: &Outbound) -> Vec<String> {
        texts(outbound).iter().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect()
    }

    #[test]
    fn connect_subscribe_publish_unsubscribe() {
        let (mut commands, outbound) = commands("");
        commands
            .take("{\"id\":1,\"connect\":{\"name\":\"js\"}}\n{\"id\":2,\"subscribe\":{\"channel\":\"c\"}}")
            .unwrap();
        commands.take(r#"{"id":3,"publish":{"channel":"c","data":{"n":1}}}"#).unwrap();
        commands.take(r#"{"id":4,"unsubscribe":{"channel":"c"}}"#).unwrap();
        commands.take(r#"{"id":5,"publish":{"channel":"c","data":2}}"#).unwrap();
        let sent = sent(&outbound);
        assert!(sent[0].starts_with(r#"{"id":1,"connect":{"client":""#), "{sent:?}");
        assert_eq!(
            sent[1..],
            [
                r#"{"id":2,"subscribe":{}}"#,
                r#"{"push":{"channel":"c","pub":{"data":{"n":1}}}}"#,
                r#"{"id":3,"publish":{}}"#,
                r#"{"id":4,"unsubscribe":{}}"#,
                r#"{"id":5,"publish":{}}"#,
            ]
        );
    }

    #[test]
    fn errors_are_replies_and_the_session_goes_on() {
        let (mut commands, outbound) = commands("[session]\nchannels = 1\nchannel_name_bytes = 4\n");
        commands.take(r#"{"id":1,"connect":{}}"#).unwrap();
        for (id, command, code) in [
            (2, r#""subscribe":{"channel":"c"}"#, 0),
            (3, r#""subscribe":{"channel":"c"}"#, 105),
            (4, r#""subscribe":{"channel":"d"}"#, 106),
            (5, r#""subscribe":{"channel":""}"#, 107),
            (6, r#""publish":{"channel":"longer","data":1}"#, 107),
            (7, r#""publish":{"channel":"c"}"#, 107),
            (8, r#""history":{"channel":"c"}"#, 108),
            (9, r#""unknown":{}"#, 107),
        ] {
            commands.take(&format!("{{\"id\":{id},{command}}}")).unwrap();
            let reply: serde_json::Value = serde_json::from_str(sent(&outbound).last().unwrap()).unwrap();
            assert_eq!(reply["error"]["code"].as_u64().unwrap_or(0), code, "{command}: {reply}");
            assert_eq!(reply["id"], id);
        }
        assert_eq!(commands.take("{}"), Ok(true));
    }

    #[test]
    fn what_is_not_the_protocol_ends_the_session() {
        for first in ["nonsense", "{}", r#"{"id":1,"subscribe":{"channel":"c"}}"#, r#"{"connect":{}}"#] {
            assert_eq!(commands("").0.take(first), Err(Disconnect::BAD_REQUEST), "{first}");
        }
        let (mut twice, _) = commands("");
        twice.take(r#"{"id":1,"connect":{}}"#).unwrap();
        assert_eq!(twice.take(r#"{"id":2,"connect":{}}"#), Err(Disconnect::BAD_REQUEST));
    }
}
