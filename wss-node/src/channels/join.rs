//! How a client becomes a subscriber: what it has missed is brought together with what is published meanwhile, so that
//! nothing is missing and nothing comes twice.

use std::sync::Arc;

use super::hub::Place;
use super::{Caught, Channel, Channels, Newcomer};
use crate::broker::answer::{Cursor, From, Read, Snapshot, StatePage};
use crate::broker::position::Position;
use crate::broker::publication::Publication;
use crate::counters::Counters;
use crate::wire::ReplyError;

/// Reads until a subscriber has caught up with those who publish, at most.
const READS: usize = 64;
/// Tries to find a value and to follow it from there.
const TRIES: usize = 8;

/// From where a client wants to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// From now on.
    Now,
    /// From after what it has: nothing may be missing, or it is told.
    Position(Position),
}

/// What a client wants.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) newcomer: Newcomer,
    pub(crate) since: Since,
    /// A loss is an error.
    pub(crate) strict: bool,
}

/// A subscriber that has caught up. What is published from now on is held back until [`super::Room::open`].
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) place: Place,
    /// What it is given with the answer.
    pub(crate) publications: Vec<Arc<Publication>>,
    /// The last one that it has then.
    pub(crate) position: Position,
    /// Everything it had missed is there; `None`: it did not ask.
    pub(crate) recovered: Option<bool>,
}

/// Why it did not come to that.
enum Failed {
    Lost(Newcomer),
    Error(ReplyError),
}

impl Channels {
    /// Subscribes to a stream.
    pub(crate) async fn join_stream(&self, channel: &Channel, join: Join) -> Result<Joined, ReplyError> {
        let Join { newcomer, since, strict } = join;
        let Since::Position(position) = since else {
            return self.join_now(channel, newcomer, None).await;
        };
        match self.follow(channel, newcomer, position, true).await {
            Ok(joined) => {
                Counters::add(&self.counters.recovered);
                Ok(Joined { recovered: Some(true), ..joined })
            }
            Err(Failed::Lost(newcomer)) => {
                Counters::add(&self.counters.unrecovered);
                if strict {
                    return Err(ReplyError::UNRECOVERABLE_POSITION);
                }
                self.join_now(channel, newcomer, Some(false)).await
            }
            Err(Failed::Error(error)) => Err(error),
        }
    }

    /// From the end of the log on.
    async fn join_now(
        &self,
        channel: &Channel,
        newcomer: Newcomer,
        recovered: Option<bool>,
    ) -> Result<Joined, ReplyError> {
        let top = match self.read(channel, &From::Newest, 0).await {
            Read::Page(page) => page.top,
            Read::Unrecoverable { top } => top,
            Read::Unavailable(why) => return Err(unavailable(channel, &why)),
        };
        match self.follow(channel, newcomer, top, false).await {
            Ok(joined) => Ok(Joined { recovered, ..joined }),
            Err(Failed::Error(error)) => Err(error),
            // Whoever begins now cannot lose anything.
            Err(Failed::Lost(_)) => Err(ReplyError::BROKER_UNAVAILABLE),
        }
    }

    /// Subscribes to a value: the last publication comes with the answer, unless the client has it.
    pub(crate) async fn join_value(&self, channel: &Channel, join: Join) -> Result<Joined, ReplyError> {
        let Join { mut newcomer, since, .. } = join;
        for _ in 0..TRIES {
            let StatePage { entries, position, .. } = self.state(channel, None, 1).await?;
            match self.follow(channel, newcomer, position.clone(), true).await {
                Ok(mut joined) => {
                    // Of several values the last one counts.
                    let newest = joined.publications.pop().or_else(|| entries.into_iter().next());
                    let known = matches!(&since, Since::Position(known) if *known == joined.position);
                    joined.publications = newest.filter(|_| !known).into_iter().collect();
                    joined.recovered = matches!(since, Since::Position(_)).then_some(true);
                    return Ok(joined);
                }
                Err(Failed::Lost(again)) => newcomer = again,
                Err(Failed::Error(error)) => return Err(error),
            }
        }
        Err(ReplyError::BROKER_UNAVAILABLE)
    }

    /// Subscribes to a map from a position on: that of a snapshot, or where the client was.
    pub(crate) async fn join_map(
        &self,
        channel: &Channel,
        newcomer: Newcomer,
        position: Position,
    ) -> Result<Joined, ReplyError> {
        match self.follow(channel, newcomer, position, true).await {
            Ok(joined) => Ok(joined),
            Err(Failed::Lost(_)) => Err(ReplyError::UNRECOVERABLE_POSITION),
            Err(Failed::Error(error)) => Err(error),
        }
    }

    /// A page of the state.
    pub(crate) async fn state(
        &self,
        channel: &Channel,
        cursor: Option<&Cursor>,
        limit: usize,
    ) -> Result<StatePage, ReplyError> {
        match self.snapshot(channel, cursor, limit).await {
            Snapshot::Page(page) => Ok(page),
            Snapshot::Unrecoverable { .. } => Err(ReplyError::UNRECOVERABLE_POSITION),
            Snapshot::Unavailable(why) => Err(unavailable(channel, &why)),
        }
    }

    /// Takes the place first, then reads what is missing: whatever is published meanwhile is held back. `strict`: what is
    /// missing must be there, and not be more than the namespace gives at once.
    async fn follow(
        &self,
        channel: &Channel,
        newcomer: Newcomer,
        position: Position,
        strict: bool,
    ) -> Result<Joined, Failed> {
        let config = &channel.namespace.config;
        if config.subscribers > 0 && self.hub.subscribers(&channel.name) >= config.subscribers {
            return Err(Failed::Error(ReplyError::LIMIT_EXCEEDED));
        }
        let broker = self.broker(channel).map_err(|why| Failed::Error(unavailable(channel, &why)))?;
        let again = newcomer.again();
        let had = position.clone();
        let (place, mut from, mut number) = self.hub.enter(&broker, channel, newcomer, position, strict);
        for _ in 0..READS {
            let read = self.read(channel, &from, config.recovery_limit).await;
            match &read {
                Read::Unavailable(why) => return Err(Failed::Error(unavailable(channel, why))),
                Read::Page(page)
                    if strict
                        && page.top.offset.saturating_sub(had.offset) > config.recovery_limit as u64 =>
                {
                    return Err(Failed::Lost(again));
                }
                Read::Page(_) | Read::Unrecoverable { .. } => {}
            }
            match place.room.read_back(place.seat, number, read) {
                Caught::Behind { from: next, number: next_number } => (from, number) = (next, next_number),
                Caught::Lost | Caught::Gone => return Err(Failed::Lost(again)),
                Caught::Up if strict => {
                    let (publications, position) =
                        place.room.held(place.seat).ok_or(Failed::Error(ReplyError::INTERNAL))?;
                    return Ok(Joined { place, publications, position, recovered: None });
                }
                Caught::Up => {
                    let position =
                        place.room.stands(place.seat).ok_or(Failed::Error(ReplyError::INTERNAL))?;
                    return Ok(Joined { place, publications: Vec::new(), position, recovered: None });
                }
            }
        }
        Err(Failed::Error(ReplyError::BROKER_UNAVAILABLE))
    }
}

/// What a client is told when a broker cannot be asked; why is for the log.
pub(crate) fn unavailable(channel: &Channel, why: &crate::broker::answer::Unavailable) -> ReplyError {
    tracing::debug!(channel = %channel.name, %why, "channel not available");
    ReplyError::BROKER_UNAVAILABLE
}
