//! Channels and who listens to them. A publication is encoded once and the same bytes go to every
//! subscriber's queue; sockets are written elsewhere, so no lock is held while writing.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// All channels of the node.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    channels: Mutex<HashMap<String, Arc<Channel>>>,
}

/// The subscribers of one channel. Its lock orders publications: all subscribers see one order.
#[derive(Debug, Default)]
struct Channel {
    subscribers: Mutex<Vec<Arc<Outbound>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// Adds a subscriber until the returned value is dropped.
    pub(crate) fn subscribe(self: &Arc<Self>, channel: &str, outbound: &Arc<Outbound>) -> Subscription {
        // Under the lock of the map, or the last one to leave could take the channel away meanwhile.
        let mut channels = locked(&self.channels);
        let entry = channels.entry(channel.to_owned()).or_default();
        locked(&entry.subscribers).push(Arc::clone(outbound));
        Subscription { hub: Arc::clone(self), channel: channel.to_owned(), outbound: Arc::clone(outbound) }
    }

    /// Puts a frame into the queue of every subscriber; tells how many there were.
    pub(crate) fn publish(&self, channel: &str, frame: &Bytes) -> usize {
        let Some(channel) = locked(&self.channels).get(channel).cloned() else { return 0 };
        let subscribers = locked(&channel.subscribers);
        for outbound in subscribers.iter() {
            outbound.push_publication(frame.clone());
        }
        subscribers.len()
    }

    /// How many channels have subscribers.
    #[cfg(test)]
    fn channels(&self) -> usize {
        locked(&self.channels).len()
    }
}

/// A place in a channel, given back on drop, whatever way the session ends.
#[derive(Debug)]
pub(crate) struct Subscription {
    hub: Arc<Hub>,
    channel: String,
    outbound: Arc<Outbound>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut channels = locked(&self.hub.channels);
        let Some(channel) = channels.get(&self.channel) else { return };
        let mut subscribers = locked(&channel.subscribers);
        subscribers.retain(|outbound| !Arc::ptr_eq(outbound, &self.outbound));
        let empty = subscribers.is_empty();
        drop(subscribers);
        if empty {
            channels.remove(&self.channel);
        }
    }
}

/// What waits to be written to one session, bounded in bytes.
#[derive(Debug)]
pub(crate) struct Outbound {
    queue: Mutex<Queue>,
    changed: Notify,
    limit_bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Frame>,
    /// Of the frames in the queue and of those taken but not yet written.
    bytes: usize,
    overflowed: bool,
}

/// What goes into one WebSocket message.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    /// It waits while the breaker is open.
    is_publication: bool,
}

impl Queue {
    /// Takes what may be written now, in order.
    fn take(&mut self, halted: bool) -> VecDeque<Frame> {
        let frames = std::mem::take(&mut self.frames);
        if !halted {
            return frames;
        }
        let (held, free) = frames.into_iter().partition(|frame| frame.is_publication);
        self.frames = held;
        free
    }
}

impl Outbound {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { queue: Mutex::default(), changed: Notify::new(), limit_bytes }
    }

    /// Adds a reply or a ping.
    pub(crate) fn push(&self, bytes: Bytes) {
        self.add(Frame { bytes, is_publication: false });
    }

    /// Adds a publication.
    fn push_publication(&self, bytes: Bytes) {
        self.add(Frame { bytes, is_publication: true });
    }

    /// Adds a frame. Past the limit nothing more is added and the session is to be closed as too slow: a gap
    /// would be worse than an end, because after an end the client knows that it has to catch up.
    fn add(&self, frame: Frame) {
        let mut queue = locked(&self.queue);
        if queue.overflowed {
            return;
        }
        if queue.bytes + frame.bytes.len() > self.limit_bytes {
            queue.overflowed = true;
            queue.frames.clear();
        } else {
            queue.bytes += frame.bytes.len();
            queue.frames.push_back(frame);
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// Waits until there is something to write, and takes it all, but for publications while `halted`; an error
    /// when the limit was passed.
    pub(crate) async fn take(&self, halted: bool) -> Result<Taken<'_>, Overflowed> {
        loop {
            let changed = self.changed.notified();
            if let Some(taken) = self.try_take(halted)? {
                return Ok(taken);
            }
            changed.await;
        }
    }

    /// The same without waiting; `None` when there is nothing.
    pub(crate) fn try_take(&self, halted: bool) -> Result<Option<Taken<'_>>, Overflowed> {
        let mut queue = locked(&self.queue);
        if queue.overflowed {
            return Err(Overflowed);
        }
        let frames = queue.take(halted);
        Ok((!frames.is_empty()).then_some(Taken { frames, outbound: self }))
    }

    /// Waits until the limit is passed, while a write is under way.
    pub(crate) async fn overflowed(&self) {
        loop {
            let changed = self.changed.notified();
            if locked(&self.queue).overflowed {
                return;
            }
            changed.await;
        }
    }
}

/// The session reads too slowly.
#[derive(Debug)]
pub(crate) struct Overflowed;

/// Frames on their way to the socket; they count until this is dropped.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    pub(crate) frames: VecDeque<Frame>,
    outbound: &'a Outbound,
}

impl Taken<'_> {
    /// The frames were written: they no longer count. `bytes` is their sum.
    pub(crate) fn written(self, bytes: usize) {
        locked(&self.outbound.queue).bytes -= bytes;
        // A permit used up by a waiter for overflow must not be missed by the next taker: takers look at
        // the queue before they wait.
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn outbound() -> Arc<Outbound> {
        Arc::new(Outbound::new(100))
    }

    async fn texts(outbound: &Outbound) -> Vec<Bytes> {
        let taken = outbound.take(false).await.unwrap();
        let frames: Vec<_> = taken.frames.iter().map(|frame| frame.bytes.clone()).collect();
        taken.written(frames.iter().map(Bytes::len).sum());
        frames
    }

    #[tokio::test]
    async fn all_subscribers_see_one_order_and_the_same_bytes() {
        let hub = Arc::new(Hub::default());
        let (one, two) = (outbound(), outbound());
        let _places = (hub.subscribe("c", &one), hub.subscribe("c", &two));
        let frames = ["a", "b", "c"].map(|text| Bytes::from_static(text.as_bytes()));
        for frame in &frames {
            assert_eq!(hub.publish("c", frame), 2);
        }
        assert_eq!(hub.publish("nobody", &frames[0]), 0);
        let (one, two) = (texts(&one).await, texts(&two).await);
        assert_eq!(one, frames);
        assert_eq!(two[0].as_ptr(), frames[0].as_ptr(), "shared, not copied");
    }

    #[test]
    fn places_are_given_back() {
        let hub = Arc::new(Hub::default());
        let (one, two) = (outbound(), outbound());
        let place = hub.subscribe("c", &one);
        let other = hub.subscribe("c", &two);
        drop(place);
        assert_eq!(hub.publish("c", &Bytes::from_static(b"x")), 1);
        drop(other);
        assert_eq!(hub.channels(), 0);
        assert_eq!(Arc::strong_count(&one), 1);
    }

    #[tokio::test]
    async fn a_slow_reader_overflows_and_nothing_is_dropped_in_silence() {
        let outbound = outbound();
        let frame = Bytes::from(vec![b'x'; 40]);
        outbound.push(frame.clone());
        let taken = outbound.take(false).await.unwrap();
        outbound.push(frame.clone());
        // 40 bytes are being written and 40 wait: one more is too much.
        outbound.push(frame.clone());
        outbound.overflowed().await;
        taken.written(40);
        assert!(outbound.take(false).await.is_err());
    }

    #[tokio::test]
    async fn while_halted_replies_go_out_and_publications_wait_in_order() {
        let outbound = outbound();
        let add = |text: &'static str, is_publication| {
            outbound.add(Frame { bytes: Bytes::from_static(text.as_bytes()), is_publication });
        };
        for (text, is_publication) in [("p1", true), ("r1", false), ("p2", true), ("r2", false)] {
            add(text, is_publication);
        }
        let taken = outbound.take(true).await.unwrap();
        assert!(taken.frames.iter().map(|frame| &frame.bytes[..]).eq([b"r1", b"r2"]));
        taken.written(4);
        add("p3", true);
        assert!(
            tokio::time::timeout(std::time::Duration::from_millis(20), outbound.take(true)).await.is_err()
        );
        add("r3", false);
        assert_eq!(texts(&outbound).await, ["p1", "p2", "p3", "r3"]);
        // What waits counts.
        for _ in 0..51 {
            add("p4", true);
        }
        assert!(outbound.take(true).await.is_err());
    }

    #[tokio::test]
    async fn written_bytes_no_longer_count() {
        let outbound = outbound();
        for _ in 0..10 {
            outbound.push(Bytes::from(vec![b'x'; 90]));
            assert_eq!(texts(&outbound).await.len(), 1);
        }
    }
}
