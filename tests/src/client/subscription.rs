//! What a client knows of a channel it is subscribed to. Pure.

use bytes::Bytes;
use wss_node::wire::v1::{Publication, SubscribeRequest, SubscribeResult};
use wss_node::wire::{Framing, fossil};

/// A delta that makes more is a mistake.
const LIMIT_BYTES: usize = 16 << 20;

/// A place in a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Of the channel.
    pub epoch: String,
    /// Of the last publication seen.
    pub offset: u64,
}

/// What a subscriber wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// What was missed, when it comes back.
    pub recoverable: bool,
    /// To be told who comes and goes.
    pub join_leave: bool,
    /// Differences.
    pub delta: bool,
    /// What was published after this place, on the first time too.
    pub since: Option<Position>,
}

/// A subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    channel: String,
    wishes: Wishes,
    position: Option<Position>,
    has_delta: bool,
    /// What the next delta is from.
    base: Bytes,
}

impl Subscription {
    pub(super) fn new(channel: &str, wishes: Wishes) -> Self {
        let position = wishes.since.clone();
        Self { channel: channel.to_owned(), wishes, position, has_delta: false, base: Bytes::new() }
    }

    /// How it is asked for, now or again.
    pub(super) fn request(&self) -> SubscribeRequest {
        let position = self.position.clone().unwrap_or_default();
        SubscribeRequest {
            channel: self.channel.clone(),
            recover: self.position.is_some(),
            epoch: position.epoch,
            offset: position.offset,
            recoverable: self.wishes.recoverable,
            join_leave: self.wishes.join_leave,
            delta: if self.wishes.delta { "fossil".to_owned() } else { String::new() },
            ..SubscribeRequest::default()
        }
    }

    /// The node has subscribed it; gives back what was missed.
    ///
    /// # Errors
    /// A publication that cannot be read.
    pub(super) fn subscribed(
        &mut self,
        framing: Framing,
        result: &mut SubscribeResult,
    ) -> anyhow::Result<Vec<Publication>> {
        // As the SDKs do: what is not recoverable is asked for anew each time.
        let position = Position { epoch: result.epoch.clone(), offset: result.offset };
        self.position = result.recoverable.then_some(position);
        (self.has_delta, self.base) = (result.delta, Bytes::new());
        let missed = std::mem::take(&mut result.publications);
        missed.into_iter().map(|publication| self.publication(framing, publication)).collect()
    }

    /// A publication, whole.
    ///
    /// # Errors
    /// A delta that is not from what was before, or no string where one must be.
    pub(super) fn publication(
        &mut self,
        framing: Framing,
        mut publication: Publication,
    ) -> anyhow::Result<Publication> {
        if self.has_delta {
            let mut data = publication.data;
            if framing == Framing::Json {
                data = serde_json::from_slice::<String>(&data)?.into();
            }
            if publication.delta {
                data = fossil::apply(&self.base, &data, LIMIT_BYTES)?.into();
                publication.delta = false;
            }
            self.base = data.clone();
            publication.data = data;
        }
        if let Some(position) = self.position.as_mut().filter(|_| publication.offset > 0) {
            position.offset = publication.offset;
        }
        Ok(publication)
    }

    /// Its place is void.
    pub(super) fn forget(&mut self) {
        self.position = None;
    }
}
