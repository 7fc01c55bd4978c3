//! A write that takes its time: whether it goes on, for how long the client was not heard meanwhile, and the pings that
//! come due. No I/O.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_websockets::Error;

use crate::outbound::Frame;

/// What has come of a write so far.
pub(super) enum Writing {
    /// All is written, or the connection is over.
    Done(Result<(), Error>),
    /// The connection takes nothing any more, or what waits behind it has become too much.
    Stuck,
    /// Something else is due.
    Due,
}

/// Since when a connection takes nothing. A large answer over a narrow line takes its time: what counts is that it goes
/// on.
#[derive(Debug)]
pub(super) struct Stall {
    limit: Duration,
    /// What the connection had taken, in bytes, and when that was seen first.
    taken: Option<(u64, Instant)>,
    unheard_since: Option<Instant>,
}

impl Stall {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, taken: None, unheard_since: None }
    }

    /// The write has to wait; the connection has taken so many bytes. When it is stuck, unless it takes more.
    pub(super) fn at(&mut self, taken_bytes: u64, now: Instant) -> Instant {
        self.unheard_since.get_or_insert(now);
        let since = match self.taken {
            Some((bytes, since)) if bytes == taken_bytes => since,
            _ => now,
        };
        self.taken = Some((taken_bytes, since));
        since + self.limit
    }

    /// For how long the write has waited since this was asked last; `None`: it did not have to.
    pub(super) fn unheard(&mut self, now: impl FnOnce() -> Instant) -> Option<Duration> {
        self.unheard_since.take().map(|since| now() - since)
    }
}

/// Pings among frames that wait.
#[derive(Debug, Default)]
pub(super) struct Pings {
    /// Frames that wait, with the last ping.
    with_last: Option<usize>,
}

impl Pings {
    /// Puts one before all that wait, unless the last one waits still: one is enough.
    pub(super) fn add(&mut self, ping: Bytes, frames: &mut VecDeque<Frame>) {
        if self.with_last.is_none_or(|with_last| frames.len() < with_last) {
            frames.push_front(Frame::new(ping));
            self.with_last = Some(frames.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_stuck_when_nothing_is_taken_for_so_long() {
        let (start, s) = (Instant::now(), Duration::from_secs);
        let mut stall = Stall::new(s(10));
        assert_eq!(stall.at(5, start), start + s(10));
        assert_eq!(stall.at(5, start + s(9)), start + s(10));
        assert_eq!(stall.at(6, start + s(9)), start + s(19));
        assert_eq!(stall.unheard(|| start + s(12)), Some(s(12)));
        assert_eq!(stall.at(6, start + s(12)), start + s(19));
        assert_eq!(stall.unheard(|| start + s(13)), Some(s(1)), "no time is counted twice");
        assert_eq!(Stall::new(s(10)).unheard(|| start), None, "a write that was done at once");
    }

    #[test]
    fn a_ping_goes_before_what_waits_and_never_two_of_them() {
        let frame = |text: &'static str| Frame::new(Bytes::from_static(text.as_bytes()));
        let mut frames = VecDeque::from([frame("a"), frame("b")]);
        let mut pings = Pings::default();
        for _ in 0..2 {
            pings.add(Bytes::from_static(b"{}"), &mut frames);
        }
        assert!(frames.iter().map(|frame| &frame.bytes[..]).eq([&b"{}"[..], b"a", b"b"]));
        frames.drain(..2);
        pings.add(Bytes::from_static(b"{}"), &mut frames);
        assert!(frames.iter().map(|frame| &frame.bytes[..]).eq([&b"{}"[..], b"b"]));
    }
}
