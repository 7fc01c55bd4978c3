//! Channels and who listens to them. A publication is encoded once and the same bytes go to every
//! subscriber's queue; sockets are written elsewhere, so no lock is held while writing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::outbound::Outbound;

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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::outbound::tests::texts;

    fn outbound() -> Arc<Outbound> {
        Arc::new(Outbound::new(100))
    }

    #[test]
    fn all_subscribers_see_one_order_and_the_same_bytes() {
        let hub = Arc::new(Hub::default());
        let (one, two) = (outbound(), outbound());
        let _places = (hub.subscribe("c", &one), hub.subscribe("c", &two));
        let frames = ["a", "b", "c"].map(|text| Bytes::from_static(text.as_bytes()));
        for frame in &frames {
            assert_eq!(hub.publish("c", frame), 2);
        }
        assert_eq!(hub.publish("nobody", &frames[0]), 0);
        let (one, two) = (texts(&one), texts(&two));
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
}
