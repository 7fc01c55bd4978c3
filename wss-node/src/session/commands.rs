//! What a session is asked, and the answers. No I/O: answers go into the session's queue.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;

use super::checking::{Checking, Purpose};
use super::life::Life;
use super::permission;
use super::rate::{Allowance, Rate};
use super::subscribe::Asker;
use super::subscription::Subscription;
use super::work::{Outcome, Waiting, Work};
use crate::auth::Action;
use crate::channels::{Channel, Namespace};
use crate::outbound::Outbound;
use crate::registry::Entry;
use crate::service::Node;
use crate::upgrade::Admission;
use crate::wire::v1::{PingResult, SubRefreshResult, SubscribeRequest, UnsubscribeResult};
use crate::wire::{
    self, Answer, Command, Disconnect, FrameError, Framing, Limits, Reply, ReplyError, Request,
};

/// What the node calls itself.
pub(super) const VERSION: &str = concat!("sealwire ", env!("CARGO_PKG_VERSION"));

/// The state of a session's protocol.
#[derive(Debug)]
pub(crate) struct Commands {
    pub(super) node: Arc<Node>,
    pub(super) outbound: Arc<Outbound>,
    pub(super) admission: Admission,
    pub(super) entry: Arc<Entry>,
    pub(super) framing: Framing,
    pub(super) connected: bool,
    /// `connect` was granted, and its subscriptions are being made.
    pub(super) connecting: bool,
    /// A token that is being checked; boxed, for it is seldom there.
    pub(super) checking: Option<Box<Checking>>,
    pub(super) subscriptions: HashMap<Arc<str>, Subscription>,
    pub(super) work: Work,
    /// Who it is, as publications tell it.
    pub(super) info: Bytes,
    /// What is left of the rates of namespaces that have one.
    rates: Vec<(Arc<Namespace>, Allowance)>,
    /// Subscriptions to take up again that the node had made, by channel; until `connect` is answered.
    pub(super) resumed: BTreeMap<String, SubscribeRequest>,
}

/// The commands of a frame, up to the first that is none.
pub(super) struct Frame {
    pub(super) commands: Vec<Command>,
    fault: Option<FrameError>,
}

impl Commands {
    pub(crate) fn new(
        node: Arc<Node>,
        outbound: Arc<Outbound>,
        admission: Admission,
        entry: Arc<Entry>,
    ) -> Self {
        Self {
            node,
            outbound,
            framing: admission.framing,
            admission,
            entry,
            connected: false,
            connecting: false,
            checking: None,
            subscriptions: HashMap::new(),
            work: Work::default(),
            info: Bytes::new(),
            rates: Vec::new(),
            resumed: BTreeMap::new(),
        }
    }

    /// Whether the client has said `connect`.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether more may be taken: what waits is bounded.
    pub(super) fn is_listening(&self) -> bool {
        !self.is_deciding() && self.work.bytes() < self.node.config.session.message_bytes
    }

    pub(super) fn limits(&self) -> Limits {
        let session = &self.node.config.session;
        Limits {
            channel_bytes: session.channel_name_bytes,
            entries: session.channels.max(Limits::default().entries),
            ..Limits::default()
        }
    }

    /// Takes a message apart.
    pub(super) fn parse(&self, message: &[u8]) -> Frame {
        // SDKs subscribe to all in one frame when they come back; and a flood is for the rate to tell.
        let burst = usize::try_from(self.node.config.limits.messages_burst).unwrap_or(usize::MAX);
        let limit = self.node.config.session.channels.saturating_add(16).max(burst.saturating_add(1));
        let mut frame = Frame { commands: Vec::new(), fault: None };
        for command in wire::commands(self.framing, message, limit) {
            match command {
                Ok(command) => frame.commands.push(command),
                Err(fault) => frame.fault = Some(fault),
            }
        }
        frame
    }

    /// Takes what a message says; tells whether a pong was in it.
    ///
    /// # Errors
    /// The session is to be closed.
    pub(super) fn take(&mut self, frame: Frame) -> Result<bool, Disconnect> {
        let mut pong = false;
        for command in frame.commands {
            if self.connected && command.is_pong() {
                pong = true;
            } else {
                self.command(command)?;
            }
        }
        frame.fault.map_or(Ok(pong), |fault| Err(fault.disconnect()))
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
        if !self.connected && !self.connecting {
            // The first command must be `connect` (SDK behaviour specification).
            let Some(Request::Connect(connect)) = command.request.filter(|_| id != 0) else {
                return Err(Disconnect::BAD_REQUEST);
            };
            return self.connect(id, connect);
        }
        match command.request {
            None if id == 0 => Ok(()),
            None => {
                self.answer(id, Err(ReplyError::METHOD_NOT_FOUND));
                Ok(())
            }
            Some(Request::Connect(_)) => Err(Disconnect::BAD_REQUEST),
            // Nobody is here to take it, and there is no reply to say so.
            Some(Request::Send(_)) => Err(Disconnect::NOT_AVAILABLE),
            Some(Request::Refresh(refresh)) => {
                if let Err(error) = self.refresh(id, refresh) {
                    self.answer(id, Err(error));
                }
                Ok(())
            }
            request => {
                self.work.add(Waiting::Command(Box::new(Command { id, request })));
                self.advance();
                Ok(())
            }
        }
    }

    /// Begins whatever may begin.
    pub(super) fn advance(&mut self) {
        if self.connecting {
            return;
        }
        while self.outbound.takes_questions()
            && let Some(next) = self.work.next()
        {
            match next {
                Waiting::Command(command) => {
                    let Command { id, request } = *command;
                    let begun = request.map_or(Ok(None), |request| self.begin(id, request));
                    if let Some(answer) = begun.transpose() {
                        self.answer(id, answer);
                    }
                }
                Waiting::Subscribe(called) => self.begin_by_server(called),
            }
        }
    }

    /// Begins what is asked; the answer, unless it comes later.
    fn begin(&mut self, id: u32, request: Request) -> Result<Option<Answer>, ReplyError> {
        wire::check(&request, &self.limits())?;
        let begun = match request {
            Request::Subscribe(subscribe) => self.begin_subscribe(id, subscribe),
            Request::Unsubscribe(unsubscribe) => {
                self.unsubscribe(&unsubscribe.channel);
                return Ok(Some(UnsubscribeResult {}.into()));
            }
            Request::Publish(publish) => self.publish(id, publish),
            Request::History(history) => self.history(id, history),
            Request::Presence(asked) => self.presence(id, &asked.channel, false),
            Request::PresenceStats(asked) => self.presence(id, &asked.channel, true),
            Request::Rpc(rpc) => return self.rpc(id, &rpc),
            Request::Ping(_) => return Ok(Some(PingResult {}.into())),
            Request::SubRefresh(refresh) => self.sub_refresh(id, refresh),
            // Taken before it comes here.
            Request::Connect(_) | Request::Send(_) | Request::Refresh(_) => Err(ReplyError::BAD_REQUEST),
        };
        begun.map(|()| None)
    }

    /// Puts an answer into the queue; id 0 asked for none.
    pub(super) fn answer(&self, id: u32, answer: Result<Answer, ReplyError>) {
        if id != 0 {
            self.say(&Reply::answer(id, answer.unwrap_or_else(Answer::from)));
        }
    }

    pub(super) fn say(&self, reply: &Reply) {
        match self.framing.encode(reply) {
            Ok(frame) => self.outbound.answer(frame),
            // History of a channel of bytes, asked for in JSON.
            Err(_) => {
                self.outbound.close(Disconnect::INAPPROPRIATE_PROTOCOL.into());
            }
        }
    }

    /// Waits until something that was asked for is done.
    pub(super) fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.work.poll(cx)
    }

    /// Answers what is done, and begins what waited for it.
    pub(super) fn done(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Answer { id, answer } => self.answer(id, answer),
            Outcome::Subscribed { by, called, granted } => self.subscribed(by, called, granted),
            Outcome::Connected { id, granted } => self.let_in(id, granted),
            Outcome::Extended { id, called, expires } => {
                let answer = expires.map(|expires| {
                    if let Some(subscription) = self.subscriptions.get_mut(called.as_str()) {
                        subscription.expires = expires;
                    }
                    let Life { expires, ttl } = Life::until(expires, Timestamp::now());
                    SubRefreshResult { expires, ttl, items: Vec::new() }.into()
                });
                self.answer(id, answer);
            }
        }
        self.advance();
    }

    /// A channel on which the client may do this.
    pub(super) fn allowed(&self, action: Action, called: &str) -> Result<Channel, ReplyError> {
        let Admission { tenant, grant, .. } = &self.admission;
        permission::allowed(&self.node, tenant, grant.as_ref(), action, called)
    }

    /// Who asks, for what needs time.
    pub(super) fn asker(&self) -> Asker {
        Asker {
            node: Arc::clone(&self.node),
            tenant: Arc::clone(&self.admission.tenant),
            grant: self.admission.grant.clone(),
            outbound: Arc::clone(&self.outbound),
            framing: self.framing,
        }
    }

    /// Whether the namespace's rate lets one more publication through.
    pub(super) fn may_publish_now(&mut self, channel: &Channel) -> bool {
        let namespace = &channel.namespace;
        let per_second = namespace.config.publications_per_second;
        if per_second == 0 {
            return true;
        }
        let (rate, now) = (Rate::new(per_second, namespace.config.publications_burst), Instant::now());
        let known = self.rates.iter().position(|(of, _)| Arc::ptr_eq(of, namespace));
        let index = known.unwrap_or_else(|| {
            self.rates.push((Arc::clone(namespace), Allowance::new(now)));
            self.rates.len() - 1
        });
        self.rates[index].1.take(rate, 1, now)
    }
}

#[cfg(test)]
#[path = "commands_tests.rs"]
pub(super) mod tests;
