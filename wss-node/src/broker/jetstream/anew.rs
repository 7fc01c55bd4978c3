//! How a channel begins: the first time, and again when its history is removed.

use std::sync::Arc;

use super::log::Failure;
use super::message;
use super::shared::{Live, Shared, failed, unavailable};
use crate::broker::answer::Unavailable;
use crate::broker::position::{Epoch, Position};
use crate::broker::publication::NewPublication;
use crate::broker::rules::Rules;

impl Shared {
    /// Writes that a channel without messages begins, so that all nodes agree on its epoch. `after`: the sequence of its
    /// last message that is none of ours.
    pub(super) async fn begin(&self, live: &Live, after: u64) -> Result<(), Failure> {
        let at = Position { epoch: Epoch::drawn(fastrand::u64(..)), offset: 0 };
        let headers = message::headers(&NewPublication::default(), &at, after, &live.filter);
        let subject = self.names.subject(live.kind, &live.name, None);
        match self.log(live).append(subject, headers, bytes::Bytes::new()).await {
            // Another node may have been faster: then its epoch it is.
            Ok(_) | Err(Failure::Moved) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Removes all messages of a channel, and begins it under another epoch: by that message all nodes know.
    pub(super) async fn begin_anew(&self, channel: &str, rules: &Arc<Rules>) -> Result<(), Unavailable> {
        let removing = async {
            let live = self.live(channel, rules).await?;
            // Appends of this node wait; those of others find out that the channel is another.
            let _turn = live.turn.lock().await;
            self.catch_up(&live).await.map_err(failed)?;
            let top = live.held().current().map(|replica| replica.channel.top());
            if top.is_some_and(|top| top.offset == 0) {
                return Ok(());
            }
            let purged = self.log(&live).stream.purge().filter(live.filter.clone()).await;
            purged.map_err(unavailable)?;
            self.begin(&live, 0).await.map_err(failed)?;
            self.break_up(&live);
            Ok(())
        };
        let removed = tokio::time::timeout(self.timeout, removing).await;
        removed.unwrap_or_else(|_| Err(unavailable("it does not answer; the history may be removed")))
    }
}
