//! How a publication gets its place: decided by the replica, under the expectation that the replica is all there is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::log::{Failure, Message};
use super::message::{self, Written};
use super::shared::{Live, Shared, unavailable};
use crate::broker::answer::{Append, Refusal, Unavailable};
use crate::broker::channel::Declined;
use crate::broker::draft::Draft;
use crate::broker::position::Position;
use crate::broker::publication::NewPublication;
use crate::broker::rules::Rules;

/// Between two tries of an append whose outcome is not known.
const TRY_AGAIN: Duration = Duration::from_millis(100);

impl Shared {
    /// Appends a publication, in as many tries as the time allows.
    pub(super) async fn append(&self, channel: &str, rules: &Arc<Rules>, mut new: NewPublication) -> Append {
        if !self.budget.has_room(new.cost_bytes()) {
            return Append::Unavailable(Unavailable::for_now(
                "the channels of this node take all of broker.memory_bytes",
            ));
        }
        // A try whose outcome is unknown is found again by it.
        let id = new.idempotency_key.get_or_insert_with(|| format!("{:032x}", fastrand::u128(..)).into());
        tracing::trace!(channel, id, "append");
        let until = Instant::now() + self.timeout;
        let mut tried = false;
        let mut trouble = Failure::Moved;
        while Instant::now() < until {
            let live = match self.live(channel, rules).await {
                Ok(live) => live,
                Err(why) => return Append::Unavailable(why),
            };
            let left = until.saturating_duration_since(Instant::now());
            let Ok(_turn) = tokio::time::timeout(left, live.turn.lock()).await else { break };
            let attempt = tokio::time::timeout(left, self.attempt(&live, rules, &new, &mut tried));
            match attempt.await {
                Ok(Ok(append)) => return append,
                Ok(Err(Failure::Moved)) => {}
                Ok(Err(failure)) => {
                    trouble = failure;
                    tokio::time::sleep(TRY_AGAIN).await;
                }
                Err(_) => break,
            }
        }
        let why = match trouble {
            Failure::Unknown(why) => why,
            Failure::Moved | Failure::TooLarge => {
                "others append all the time, or it does not answer".to_owned()
            }
        };
        Append::Unavailable(unavailable(format!(
            "{why}; the outcome is not known: use the same idempotency key"
        )))
    }

    /// One try, by whoever has the turn. [`Failure::Moved`]: try again at once.
    async fn attempt(
        &self,
        live: &Live,
        rules: &Rules,
        new: &NewPublication,
        tried: &mut bool,
    ) -> Result<Append, Failure> {
        if *tried {
            self.catch_up(live).await?;
        }
        let now = self.now();
        let decided = live.held().current().map(|replica| {
            let decided = replica.channel.decide(&mut Draft::default(), rules, new, now);
            (decided, replica.channel.top().epoch, replica.sequence)
        });
        let (decided, epoch, after) = decided.ok_or(Failure::Moved)?;
        let offset = match decided {
            Ok(offset) => offset,
            Err(Declined::Duplicate(position)) if *tried => return Ok(Append::Appended(position)),
            Err(Declined::Duplicate(position)) => return Ok(Append::Duplicate(position)),
            Err(declined) => {
                // By what this node knows. By what the leader knows, it may be otherwise.
                if self.catch_up(live).await? {
                    return Err(Failure::Moved);
                }
                return Ok(declined.into());
            }
        };
        let at = Position { epoch, offset };
        let headers = message::headers(new, &at, after, &live.filter);
        let subject = self.names.subject(live.kind, &live.name, new.key.as_deref());
        *tried = true;
        match self.log(live).append(subject, headers, new.data.clone()).await {
            Ok(sequence) => {
                let written = Written {
                    epoch: at.epoch.clone(),
                    id: new.idempotency_key.clone(),
                    publication: new.clone().at(offset, now),
                    sequence,
                };
                self.take(live, Message { sequence, written: Some(written) });
                Ok(Append::Appended(at))
            }
            Err(Failure::TooLarge) => Ok(Append::Refused(Refusal::TooLarge {
                bytes: new.cost_bytes(),
                limit_bytes: self.log(live).max_payload(),
            })),
            Err(failure) => Err(failure),
        }
    }
}
