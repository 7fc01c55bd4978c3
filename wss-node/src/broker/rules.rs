//! What a channel is, and how much of it is kept. Namespaces decide it; brokers are told with each call.

use std::time::Duration;

/// What the present state of a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Every publication counts; there is no state but the log.
    Stream,
    /// The last publication is the state.
    Value,
    /// The last publication of each key that is not removed is the state.
    Map,
}

/// How much of a channel is kept, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What its state is. Another kind than before begins a new epoch.
    pub kind: Kind,
    /// Publications in the log, at most.
    pub history: usize,
    /// How long a publication stays in the log.
    pub history_ttl: Duration,
    /// How long a channel that nobody uses keeps its epoch, its offset and its state. At least `history_ttl`.
    pub meta_ttl: Duration,
    /// Bytes of the log, at most, with overhead. A larger publication is refused.
    pub retained_bytes: usize,
    /// Keys of a map, at most.
    pub keys: usize,
    /// How long a key of a map lives without being set again; `None`: until it is removed. Its end is a removal in the
    /// log like any other.
    pub key_ttl: Option<Duration>,
}

impl Default for Rules {
    /// A stream that serves short absences: 100 publications, 5 minutes, 1 MiB; positions for 30 days.
    fn default() -> Self {
        Self {
            kind: Kind::Stream,
            history: 100,
            history_ttl: Duration::from_secs(300),
            meta_ttl: Duration::from_secs(30 * 24 * 3600),
            retained_bytes: 1024 * 1024,
            keys: 10_000,
            key_ttl: None,
        }
    }
}
