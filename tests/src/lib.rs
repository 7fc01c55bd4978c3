//! What the end-to-end tests, the benchmarks and the demo share: real processes on addresses of their own,
//! sessions and handshakes that count what they see, and a relay that spoils bundles on their way.

pub mod alertmanager;
pub mod asking;
pub mod authority;
pub mod board;
pub mod channels;
pub mod client;
pub mod collector;
pub mod continuity;
pub mod envoy;
pub mod faults;
pub mod gate;
pub mod handshakes;
pub mod haproxy;
pub mod hook;
pub mod hostile;
pub mod inbox;
pub mod issuer;
pub mod judge;
pub mod kubernetes;
pub mod load;
pub mod mount;
pub mod nats;
pub mod openssl_ocsp;
pub mod pebble;
pub mod process;
pub mod publisher;
pub mod relay;
pub mod scripted_agent;
pub mod scripted_node;
pub mod sdk;
pub mod session;
pub mod step_ca;
pub mod steps;
pub mod talk;
pub mod tools;
pub mod wire;
pub mod world;

use std::time::{Duration, Instant};

/// Asks `ready` again and again until it answers, for at most `limit`.
///
/// # Panics
/// When the limit is over; the message says what was waited for.
pub async fn eventually<T, F, R>(what: &str, limit: Duration, mut ready: F) -> T
where
    F: FnMut() -> R,
    R: Future<Output = Option<T>>,
{
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = ready().await {
            return found;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
