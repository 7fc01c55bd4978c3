//! What can be looked into: the log of a channel, and who is there.

use super::fault::Fault;
use super::v1::{
    ClientInfo, HistoryRemoveRequest, HistoryRemoveResult, HistoryRequest, HistoryResult, PresenceRequest,
    PresenceResult, PresenceStatsRequest, PresenceStatsResult, StreamPosition,
};
use super::{Api, Caller, count, expect, payload};
use crate::audit::Entry;
use crate::broker::answer::{From, Page, Read};
use crate::broker::rules::Kind;
use crate::channels::Channel;

/// Members of a channel that one answer tells, at most.
const MEMBERS: usize = 10_000;

impl Api {
    /// A part of the log.
    pub(super) async fn history(
        &self,
        caller: &Caller,
        request: HistoryRequest,
    ) -> Result<HistoryResult, Fault> {
        let channel = self.channel(&request.channel)?;
        if !channel.namespace.has_history() {
            return Err(Fault::not_available("history of the namespace is 0"));
        }
        let page = self.log(&channel, request.since, request.reverse, request.limit).await?;
        Ok(HistoryResult {
            publications: page.publications.iter().map(|one| payload::publication(caller, one)).collect(),
            epoch: page.top.epoch.as_str().to_owned(),
            offset: page.top.offset,
        })
    }

    /// Reads the log of a channel. `limit` 0: only where it ends; less: as much as the namespace gives at once.
    pub(super) async fn log(
        &self,
        channel: &Channel,
        since: Option<StreamPosition>,
        reverse: bool,
        limit: i32,
    ) -> Result<Page, Fault> {
        let most = channel.namespace.config.recovery_limit;
        let limit = usize::try_from(limit).map_or(most, |limit| limit.min(most));
        let since = since.as_ref().map(expect::position);
        let from = match (since, reverse) {
            (Some(since), false) => From::After(since),
            (Some(since), true) => From::Before(since),
            (None, false) => From::Oldest,
            (None, true) => From::Newest,
        };
        match self.node.channels.read(channel, &from, limit).await {
            Read::Page(page) => Ok(page),
            Read::Unrecoverable { top } => Err(Fault::unrecoverable(&top)),
            Read::Unavailable(unavailable) => Err(unavailable.into()),
        }
    }

    /// Begins a channel anew: nothing of it is there any more, and no position of before is.
    pub(super) async fn history_remove(
        &self,
        caller: &Caller,
        request: HistoryRemoveRequest,
    ) -> Result<HistoryRemoveResult, Fault> {
        let channel = self.channel(&request.channel)?;
        if channel.namespace.kind() == Kind::Map {
            let message =
                "subscribers of a map catch up by its log; map_clear removes its keys, for them as well";
            return Err(Fault::not_available(message));
        }
        if !channel.namespace.has_history() {
            return Err(Fault::not_available("history of the namespace is 0"));
        }
        self.node.channels.begin_anew(&channel).await?;
        self.node.audit.record(&Entry {
            what: "history_removed",
            address: None,
            session: None,
            user: None,
            tenant: None,
            detail: format!("of {}, by the API for {}", request.channel, caller.name),
        });
        Ok(HistoryRemoveResult {})
    }

    /// Who is in a channel.
    pub(super) async fn presence(
        &self,
        _: &Caller,
        request: PresenceRequest,
    ) -> Result<PresenceResult, Fault> {
        let channel = self.with_presence(&request.channel)?;
        // One more tells whether there are more.
        let mut members = self.node.channels.members(&channel, MEMBERS + 1).await?;
        let truncated = members.len() > MEMBERS;
        members.truncate(MEMBERS);
        let presence = members.into_iter().map(|member| {
            let client = String::from(member.client);
            let info =
                ClientInfo { user: member.user.into(), client: client.clone(), ..ClientInfo::default() };
            (client, info)
        });
        Ok(PresenceResult { presence: presence.collect(), truncated })
    }

    /// How many are in a channel.
    pub(super) async fn presence_stats(
        &self,
        _: &Caller,
        request: PresenceStatsRequest,
    ) -> Result<PresenceStatsResult, Fault> {
        let channel = self.with_presence(&request.channel)?;
        let (clients, users) = self.node.channels.member_count(&channel).await?;
        Ok(PresenceStatsResult { num_clients: count(clients), num_users: count(users) })
    }

    fn with_presence(&self, name: &str) -> Result<Channel, Fault> {
        let channel = self.channel(name)?;
        if !channel.namespace.config.presence {
            return Err(Fault::not_available("presence of the namespace is false"));
        }
        Ok(channel)
    }
}
