//! What a session is asked, and the answers. No I/O: answers go into the session's queue.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use tokio::time::Instant;

use super::checking::{Checking, Purpose};
use super::life::seconds_until;
use super::rate::{Allowance, Rate};
use super::subscribe::{Asker, Granted};
use super::subscription::{Subscription, spawn};
use super::token::Token;
use super::work::{By, Outcome, Waiting, Work};
use crate::auth::{Action, Grant};
use crate::channels::{Channel, Namespace, Place};
use crate::config::TokenAt;
use crate::outbound::{Order, Outbound};
use crate::registry::{Entry, State};
use crate::service::Node;
use crate::telemetry::trace;
use crate::upgrade::Admission;
use crate::wire::v1::{
    ClientInfo, ConnectRequest, ConnectResult, PingResult, RefreshRequest, SubRefreshRequest,
    SubRefreshResult, Subscribe, SubscribeRequest, Unsubscribe, UnsubscribeResult,
};
use crate::wire::{
    self, Answer, Command, Disconnect, FrameError, Framing, Limits, Reply, ReplyError, Request, Unsubscribed,
};

/// What the node calls itself.
pub(super) const VERSION: &str = concat!("sealwire ", env!("CARGO_PKG_VERSION"));
/// A member of a channel is told again at each ping; this many may fail.
const PRESENCE_PINGS: u32 = 3;

/// The state of a session's protocol.
#[derive(Debug)]
pub(crate) struct Commands {
    pub(super) node: Arc<Node>,
    pub(super) outbound: Arc<Outbound>,
    pub(super) admission: Admission,
    pub(super) entry: Arc<Entry>,
    pub(super) framing: Framing,
    connected: bool,
    /// `connect` was granted, and its subscriptions are being made.
    connecting: bool,
    /// A token that is being checked; boxed, for it is seldom there.
    pub(super) checking: Option<Box<Checking>>,
    pub(super) subscriptions: HashMap<Arc<str>, Subscription>,
    pub(super) work: Work,
    /// Who it is, as publications tell it.
    pub(super) info: Bytes,
    /// What is left of the rates of namespaces that have one.
    rates: Vec<(Arc<Namespace>, Allowance)>,
    /// Subscriptions to take up again that the node had made, by channel; until `connect` is answered.
    resumed: BTreeMap<String, SubscribeRequest>,
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
                    let ttl = expires.map(|end| seconds_until(end, Timestamp::now()));
                    SubRefreshResult { expires: ttl.is_some(), ttl: ttl.unwrap_or(0), items: Vec::new() }
                        .into()
                });
                self.answer(id, answer);
            }
        }
        self.advance();
    }

    fn connect(&mut self, id: u32, mut connect: ConnectRequest) -> Result<(), Disconnect> {
        let token = Token::take(&mut connect.token);
        if let Err(error) = wire::check(&Request::Connect(connect.clone()), &self.limits()) {
            self.answer(id, Err(error));
            return Ok(());
        }
        if token.as_str().len() > self.limits().token_bytes {
            self.answer(id, Err(ReplyError::LIMIT_EXCEEDED));
            return Ok(());
        }
        self.entry.identify(|identity| identity.named(&connect.name));
        self.resumed = connect.subs;
        let config = &self.admission.tenant.token;
        if self.admission.grant.is_some() {
            // The upgrade has told who it is.
            self.connected(id);
        } else if config.at != TokenAt::Upgrade && !token.is_empty() {
            let purpose = Purpose::Connect { id, waiting: VecDeque::new() };
            self.check(purpose, token);
        } else if config.anonymous {
            self.connected(id);
        } else {
            self.unnamed(id);
        }
        Ok(())
    }

    /// The client is let in, as soon as the subscriptions that its token names are made.
    pub(super) fn connected(&mut self, id: u32) {
        self.connecting = true;
        let wanted = self.admission.grant.as_ref().map(|grant| grant.subscribe.clone()).unwrap_or_default();
        if wanted.is_empty() {
            self.let_in(id, Vec::new());
            return;
        }
        let (asker, mut resumed) = (self.asker(), std::mem::take(&mut self.resumed));
        self.work.run(Box::pin(async move {
            let mut granted = Vec::new();
            for called in wanted {
                let request = resumed.remove(&called).unwrap_or_default();
                match asker.subscribe_by_server(&called, request).await {
                    Ok(one) => granted.push((called, Box::new(one))),
                    Err(error) => {
                        tracing::warn!(channel = %called, error = error.message, "a token names a channel that cannot be subscribed to");
                    }
                }
            }
            Outcome::Connected { id, granted }
        }));
    }

    fn let_in(&mut self, id: u32, granted: Vec<(String, Box<Granted>)>) {
        (self.connected, self.connecting) = (true, false);
        trace::let_in(self.admission.grant.as_ref());
        self.admission.place.authenticated();
        self.entry.reached(State::Connected);
        self.info = self.client_info().encode_to_vec().into();
        let ttl = self.ttl();
        let ping = self.node.config.session.ping_interval.as_secs().max(1);
        let mut result = ConnectResult {
            client: self.entry.id.to_string(),
            version: VERSION.to_owned(),
            expires: ttl.is_some(),
            ttl: ttl.unwrap_or(0),
            ping: u32::try_from(ping).unwrap_or(u32::MAX),
            pong: true,
            ..ConnectResult::default()
        };
        let mut opened = Vec::new();
        for (called, Granted { result: subscribed, place, expires }) in
            granted.into_iter().map(|(called, granted)| (called, *granted))
        {
            let Some((place, channel)) = place else { continue };
            result.subs.insert(called.clone(), subscribed);
            let called: Arc<str> = called.into();
            self.keep(Arc::clone(&called), place, channel, expires, true);
            opened.push(called);
        }
        self.answer(id, Ok(result.into()));
        for called in opened {
            self.open(&called);
        }
        self.advance();
    }

    /// Who it is, as others are told.
    fn client_info(&self) -> ClientInfo {
        let user = self.admission.grant.as_ref().map(|grant| grant.user.clone()).unwrap_or_default();
        ClientInfo { user, client: self.entry.id.to_string(), ..ClientInfo::default() }
    }

    fn refresh(&mut self, id: u32, mut refresh: RefreshRequest) -> Result<(), ReplyError> {
        let token = Token::take(&mut refresh.token);
        // Id 0 asks for no reply, and a refresh without one is of no use to anybody.
        if id == 0 || token.is_empty() || self.admission.grant.is_none() {
            return Err(ReplyError::BAD_REQUEST);
        }
        if token.as_str().len() > self.limits().token_bytes {
            return Err(ReplyError::LIMIT_EXCEEDED);
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

    /// Seconds until the token ends; `None`: it has no end.
    pub(super) fn ttl(&self) -> Option<u32> {
        let expires = self.admission.grant.as_ref().and_then(|grant| grant.expires);
        expires.map(|end| seconds_until(end, Timestamp::now()))
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

    fn begin_subscribe(&mut self, id: u32, request: SubscribeRequest) -> Result<(), ReplyError> {
        if self.subscriptions.contains_key(request.channel.as_str()) {
            return Err(ReplyError::ALREADY_SUBSCRIBED);
        }
        if self.subscriptions.len() >= self.node.config.session.channels {
            return Err(ReplyError::LIMIT_EXCEEDED);
        }
        let asker = self.asker();
        self.work.run(Box::pin(async move {
            let called = request.channel.clone();
            let granted = asker.subscribe(&called, request).await.map(Box::new);
            Outcome::Subscribed { by: By::Client(id), called, granted }
        }));
        Ok(())
    }

    fn begin_by_server(&mut self, called: String) {
        let is_full = self.subscriptions.len() >= self.node.config.session.channels;
        if is_full || self.subscriptions.contains_key(called.as_str()) {
            return;
        }
        let asker = self.asker();
        self.work.run(Box::pin(async move {
            let granted = asker.subscribe_by_server(&called, SubscribeRequest::default()).await.map(Box::new);
            Outcome::Subscribed { by: By::Server, called, granted }
        }));
    }

    fn subscribed(&mut self, by: By, called: String, granted: Result<Box<Granted>, ReplyError>) {
        let Granted { result, place, expires } = match (granted, by) {
            (Ok(granted), _) => *granted,
            (Err(error), By::Client(id)) => return self.answer(id, Err(error)),
            (Err(error), By::Server) => {
                tracing::warn!(channel = %called, error = error.message, "a client could not be subscribed");
                return;
            }
        };
        let called: Arc<str> = called.into();
        let kept = place.is_some();
        if let Some((place, channel)) = place {
            self.keep(Arc::clone(&called), place, channel, expires, by == By::Server);
        }
        match by {
            By::Client(id) => self.answer(id, Ok(result.into())),
            By::Server => {
                let subscribe = Subscribe {
                    recoverable: result.recoverable,
                    epoch: result.epoch,
                    offset: result.offset,
                    positioned: result.positioned,
                    data: result.data,
                };
                self.say(&Reply::push(&*called, subscribe));
            }
        }
        if kept {
            self.open(&called);
        }
    }

    fn keep(
        &mut self,
        called: Arc<str>,
        place: Place,
        channel: Channel,
        expires: Option<Timestamp>,
        by_server: bool,
    ) {
        let channels = Arc::clone(&self.node.channels);
        let subscription =
            Subscription::new(place, channel, expires, by_server, self.client_info(), channels);
        self.subscriptions.insert(called, subscription);
        self.entry.subscribed(self.subscriptions.len());
    }

    /// What is published comes after the answer, which is in the queue.
    fn open(&self, called: &str) {
        if let Some(subscription) = self.subscriptions.get(called) {
            subscription.open(self.presence_ttl());
        }
    }

    fn unsubscribe(&mut self, called: &str) -> bool {
        let was_there = self.subscriptions.remove(called).is_some();
        self.entry.subscribed(self.subscriptions.len());
        was_there
    }

    /// Ends a subscription, and tells the client.
    fn end(&mut self, called: &str, why: Unsubscribed) {
        if self.unsubscribe(called) {
            self.say(&Reply::push(called, Unsubscribe::from(why)));
        }
    }

    fn sub_refresh(&mut self, id: u32, mut request: SubRefreshRequest) -> Result<(), ReplyError> {
        let token = Token::take(&mut request.token);
        if request.r#type != 0 {
            return Err(ReplyError::NOT_AVAILABLE);
        }
        if !self.subscriptions.contains_key(request.channel.as_str()) {
            return Err(ReplyError::BAD_REQUEST);
        }
        let asker = self.asker();
        self.work.run(Box::pin(async move {
            let called = request.channel;
            let expires = asker.check(&called, &token).await;
            Outcome::Extended { id, called, expires }
        }));
        Ok(())
    }

    /// Does what the node, the application or an operator wants.
    pub(super) fn order(&mut self, order: Order) {
        match order {
            // The client comes back and recovers, or is told that it cannot.
            Order::Lost(called) => self.end(&called, Unsubscribed::INSUFFICIENT),
            Order::Unsubscribe(called, why) => self.end(&called, why),
            // Before `connect` there is nobody who could take it.
            Order::Subscribe(_) if !self.connected => {}
            Order::Subscribe(called) => {
                self.work.add(Waiting::Subscribe(called.to_string()));
                self.advance();
            }
        }
    }

    /// Ends the subscriptions that a grant does not allow any more. Those that the application made, or that had a token
    /// of their own, are its business.
    pub(super) fn end_what_is_not_allowed(&mut self, grant: &Grant) {
        let ended: Vec<_> = self
            .subscriptions
            .iter()
            .filter(|(called, subscription)| {
                let is_own = !subscription.by_server && subscription.expires.is_none();
                is_own && !grant.allows(Action::Subscribe, called)
            })
            .map(|(called, _)| Arc::clone(called))
            .collect();
        for called in ended {
            self.end(&called, Unsubscribed { reason: "permission denied", ..Unsubscribed::SERVER });
        }
    }

    /// Ends the subscriptions whose tokens have ended; tells how long until the next one does.
    pub(super) fn end_what_has_expired(&mut self, now: Timestamp, grace: Duration) -> Option<Duration> {
        let left = |end: Timestamp| {
            let end = end.saturating_add(grace).unwrap_or(Timestamp::MAX);
            Duration::try_from(end.duration_since(now)).ok().filter(|left| !left.is_zero())
        };
        let ending = |subscription: &Subscription| subscription.expires.map(left);
        let ended: Vec<_> = self
            .subscriptions
            .iter()
            .filter(|(_, subscription)| ending(subscription) == Some(None))
            .map(|(called, _)| Arc::clone(called))
            .collect();
        for called in ended {
            self.end(&called, Unsubscribed::EXPIRED);
        }
        self.subscriptions.values().filter_map(|subscription| ending(subscription).flatten()).min()
    }

    fn presence_ttl(&self) -> Duration {
        let session = &self.node.config.session;
        (session.ping_interval + session.pong_timeout) * PRESENCE_PINGS
    }

    /// Says again in which channels the client is: an entry that is not refreshed ends by itself.
    pub(super) fn refresh_presence(&self) {
        let present: Vec<_> = self
            .subscriptions
            .values()
            .filter_map(|subscription| Some((subscription.channel.clone(), subscription.member()?)))
            .collect();
        if present.is_empty() {
            return;
        }
        let (channels, ttl) = (Arc::clone(&self.node.channels), self.presence_ttl());
        spawn(async move {
            for (channel, member) in present {
                if let Err(why) = channels.present(&channel, member, ttl).await {
                    tracing::debug!(channel = %channel.name, %why, "presence not told");
                }
            }
        });
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
