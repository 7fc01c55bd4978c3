//! A session's subscription, and everything that ends with it, whatever way it ends.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::broker::presence::{Member, Move};
use crate::channels::{Channel, Channels, Place};

/// A subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    /// `None` only while it is dropped.
    place: Option<Place>,
    pub(super) channel: Channel,
    /// When its token ends.
    pub(super) expires: Option<Timestamp>,
    /// The application made it, not the client.
    pub(super) by_server: bool,
    /// Who it is, as the others are told.
    who: Member,
    channels: Arc<Channels>,
}

impl Subscription {
    pub(super) fn new(
        place: Place,
        channel: Channel,
        expires: Option<Timestamp>,
        by_server: bool,
        who: Member,
        channels: Arc<Channels>,
    ) -> Self {
        Self { place: Some(place), channel, expires, by_server, who, channels }
    }

    /// The answer is on its way to the client: what is published comes after it. The others are told.
    pub(super) fn open(&self, ttl: Duration) {
        let Some(place) = &self.place else { return };
        place.room.open(place.seat);
        if let Some(member) = self.member() {
            let (channels, channel) = (Arc::clone(&self.channels), self.channel.clone());
            spawn(async move {
                if let Err(why) = channels.present(&channel, member, ttl).await {
                    tracing::debug!(channel = %channel.name, %why, "presence not told");
                }
            });
        }
        if self.channel.namespace.config.join_leave {
            self.channels.moved(&place.room, &self.who, Move::Came);
        }
    }

    /// Who is told to be in the channel; `None`: nobody, where that is not kept.
    pub(super) fn member(&self) -> Option<Member> {
        self.channel.namespace.config.presence.then(|| self.who.clone())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let room = Arc::clone(&place.room);
        drop(place);
        if self.channel.namespace.config.presence {
            let (channels, channel) = (Arc::clone(&self.channels), self.channel.clone());
            let client = self.who.client.clone();
            spawn(async move {
                // An entry that is not refreshed ends by itself.
                let _ = channels.absent(&channel, &client).await;
            });
        }
        if self.channel.namespace.config.join_leave {
            self.channels.moved(&room, &self.who, Move::Left);
        }
    }
}

/// Outside of a runtime there is nobody to tell: only when the process ends.
pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(task);
    }
}
