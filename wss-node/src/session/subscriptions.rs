//! The subscriptions of a session: how they begin, and every way in which they end.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::commands::Commands;
use super::subscribe::Granted;
use super::subscription::{Subscription, spawn};
use super::token::Token;
use super::work::{By, Outcome, Waiting};
use crate::auth::{Action, Grant};
use crate::channels::{Channel, Place};
use crate::outbound::Order;
use crate::wire::v1::{SubRefreshRequest, Subscribe, SubscribeRequest, Unsubscribe};
use crate::wire::{Reply, ReplyError, Unsubscribed};

/// A member of a channel is told again at each ping; this many may fail.
const PRESENCE_PINGS: u32 = 3;

impl Commands {
    pub(super) fn begin_subscribe(&mut self, id: u32, request: SubscribeRequest) -> Result<(), ReplyError> {
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

    pub(super) fn begin_by_server(&mut self, called: String) {
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

    pub(super) fn subscribed(&mut self, by: By, called: String, granted: Result<Box<Granted>, ReplyError>) {
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

    pub(super) fn keep(
        &mut self,
        called: Arc<str>,
        place: Place,
        channel: Channel,
        expires: Option<Timestamp>,
        by_server: bool,
    ) {
        let channels = Arc::clone(&self.node.channels);
        let subscription = Subscription::new(place, channel, expires, by_server, self.member(), channels);
        self.subscriptions.insert(called, subscription);
        self.entry.subscribed(self.subscriptions.len());
    }

    /// What is published comes after the answer, which is in the queue.
    pub(super) fn open(&self, called: &str) {
        if let Some(subscription) = self.subscriptions.get(called) {
            subscription.open(self.presence_ttl());
        }
    }

    pub(super) fn unsubscribe(&mut self, called: &str) -> bool {
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

    pub(super) fn sub_refresh(&mut self, id: u32, mut request: SubRefreshRequest) -> Result<(), ReplyError> {
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
}
