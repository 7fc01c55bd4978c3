//! What a client can look into: the history of a channel, and who is in it.

use super::commands::Commands;
use super::work::Outcome;
use crate::auth::Action;
use crate::broker::answer::{From, Read};
use crate::broker::position::{Epoch, Position};
use crate::channels::form;
use crate::wire::v1::{HistoryRequest, HistoryResult, PresenceResult, PresenceStatsResult, StreamPosition};
use crate::wire::{Answer, ReplyError};

/// Members of a channel that one answer tells, at most.
const MEMBERS: usize = 1000;

impl Commands {
    /// Begins to read the log of a channel.
    pub(super) fn history(&mut self, id: u32, request: HistoryRequest) -> Result<(), ReplyError> {
        let channel = self.allowed(Action::History, &request.channel)?;
        let config = &channel.namespace.config;
        if !channel.namespace.has_history() {
            return Err(ReplyError::NOT_AVAILABLE);
        }
        let limit =
            usize::try_from(request.limit).map_or(config.recovery_limit, |n| n.min(config.recovery_limit));
        let since = request
            .since
            .map(|StreamPosition { offset, epoch }| Position { epoch: Epoch::named(&epoch), offset });
        let from = match (since, request.reverse) {
            (Some(since), false) => From::After(since),
            (Some(since), true) => From::Before(since),
            (None, false) => From::Oldest,
            (None, true) => From::Newest,
        };
        let channels = std::sync::Arc::clone(&self.node.channels);
        self.work.run(Box::pin(async move {
            let answer = match channels.read(&channel, &from, limit).await {
                Read::Page(page) => Ok(HistoryResult {
                    publications: form::publications(&channel.namespace, &page.publications),
                    epoch: page.top.epoch.as_str().to_owned(),
                    offset: page.top.offset,
                }
                .into()),
                Read::Unrecoverable { .. } => Err(ReplyError::UNRECOVERABLE_POSITION),
                Read::Unavailable(_) => Err(ReplyError::BROKER_UNAVAILABLE),
            };
            Outcome::Answer { id, answer }
        }));
        Ok(())
    }

    /// Begins to ask who is in a channel; `counted`: only how many.
    pub(super) fn presence(&mut self, id: u32, called: &str, counted: bool) -> Result<(), ReplyError> {
        let channel = self.allowed(Action::Presence, called)?;
        if !channel.namespace.config.presence {
            return Err(ReplyError::NOT_AVAILABLE);
        }
        let channels = std::sync::Arc::clone(&self.node.channels);
        self.work.run(Box::pin(async move {
            let answer: Result<Answer, _> = if counted {
                channels.member_count(&channel).await.map(|(clients, users)| {
                    let count = |n| u32::try_from(n).unwrap_or(u32::MAX);
                    PresenceStatsResult { num_clients: count(clients), num_users: count(users) }.into()
                })
            } else {
                channels.members(&channel, MEMBERS).await.map(|members| {
                    let presence =
                        members.iter().map(|member| (member.client.to_string(), form::member(member)));
                    PresenceResult { presence: presence.collect() }.into()
                })
            };
            Outcome::Answer { id, answer: answer.map_err(|_| ReplyError::BROKER_UNAVAILABLE) }
        }));
        Ok(())
    }
}
