#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn next(outbound: &Outbound, halted: bool) -> Poll<Next<'_>> {
    outbound.poll_next(&Context::from_waker(Waker::noop()), halted)
}

fn take(outbound: &Outbound, halted: bool) -> Taken<'_> {
    match next(outbound, halted) {
        Poll::Ready(Next::Write(taken)) => taken,
        other => panic!("{other:?}"),
    }
}

fn close_of(outbound: &Outbound) -> Close {
    match next(outbound, false) {
        Poll::Ready(Next::Close(close)) => close,
        other => panic!("{other:?}"),
    }
}

/// Takes what waits, as if it were written now.
pub(crate) fn written(outbound: &Outbound, now: Timestamp) {
    take(outbound, false).written(now);
}

/// Takes what waits, as if it were written.
pub(crate) fn texts(outbound: &Outbound) -> Vec<Bytes> {
    let taken = take(outbound, false);
    let frames: Vec<_> = taken.frames.iter().map(|frame| frame.bytes.clone()).collect();
    taken.written(Timestamp::UNIX_EPOCH);
    frames
}

#[test]
fn a_slow_reader_overflows_and_nothing_is_dropped_in_silence() {
    let outbound = Outbound::new(100);
    let frame = Bytes::from(vec![b'x'; 40]);
    outbound.push(frame.clone());
    let taken = take(&outbound, false);
    outbound.push(frame.clone());
    let writing = Context::from_waker(Waker::noop());
    assert!(outbound.poll_overflowed(&writing).is_pending());
    assert_eq!(outbound.queued_bytes(), 80);
    // 40 bytes are being written and 40 wait: one more is too much.
    outbound.push(frame);
    assert!(outbound.poll_overflowed(&writing).is_ready());
    taken.written(Timestamp::UNIX_EPOCH);
    assert_eq!(close_of(&outbound), Disconnect::SLOW.into());
}

#[test]
fn answers_are_never_too_much_and_count_against_nobody_else() {
    let outbound = Outbound::new(100);
    assert!(outbound.takes_questions());
    outbound.answer(Bytes::from(vec![b'a'; 1000]));
    assert!(!outbound.takes_questions(), "the next one waits until this is written");
    let taken = take(&outbound, false);
    // While it is being written there is as much room for publications as ever.
    assert!(!outbound.push_publication(Bytes::from(vec![b'p'; 100]), None));
    assert_eq!(outbound.queued_bytes(), 1100);
    assert!(outbound.poll_overflowed(&Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(taken.written(Timestamp::UNIX_EPOCH), (1, 1000));
    assert!(outbound.takes_questions());
    assert_eq!(texts(&outbound).len(), 1);
    assert_eq!(outbound.queued_bytes(), 0);
}

#[test]
fn while_halted_replies_go_out_and_publications_wait_in_order() {
    let outbound = Outbound::new(100);
    let add = |text: &'static str, is_publication| {
        outbound.add(Frame {
            bytes: Bytes::from_static(text.as_bytes()),
            is_publication,
            is_answer: false,
            superseding: None,
        });
    };
    for (text, is_publication) in [("p1", true), ("r1", false), ("p2", true), ("r2", false)] {
        add(text, is_publication);
    }
    let taken = take(&outbound, true);
    assert!(taken.frames.iter().map(|frame| &frame.bytes[..]).eq([b"r1", b"r2"]));
    taken.written(Timestamp::UNIX_EPOCH);
    add("p3", true);
    assert!(next(&outbound, true).is_pending());
    add("r3", false);
    assert_eq!(texts(&outbound), ["p1", "p2", "p3", "r3"]);
    // What waits counts.
    for _ in 0..51 {
        add("p4", true);
    }
    assert!(matches!(next(&outbound, true), Poll::Ready(Next::Close(_))));
}

#[test]
fn superseded_values_go_before_the_session_does() {
    let outbound = Outbound::new(100);
    let add = |key: &str, offset: u64, room: usize| {
        let publication = Publication { offset, key: Some(key.into()), ..Publication::default() };
        let superseding = Some(Superseding { room, publication: Arc::new(publication) });
        assert!(!outbound.push_publication(Bytes::from(format!("{key}{offset:09}")), superseding));
    };
    outbound.push(Bytes::from_static(b"0123456789"));
    for offset in 1..=9 {
        add(if offset % 3 == 0 { "a" } else { "b" }, offset, 1);
    }
    // The queue is full: of each key the last stays, and what has no key.
    add("c", 10, 2);
    assert_eq!(texts(&outbound), ["0123456789", "b000000008", "a000000009", "c000000010"]);
    for offset in 11..=20 {
        add(&format!("k{}", offset - 10), offset, 1);
    }
    assert_eq!(close_of(&outbound), Disconnect::SLOW.into());
}

#[test]
fn written_bytes_no_longer_count() {
    let outbound = Outbound::new(100);
    for _ in 0..10 {
        outbound.push(Bytes::from(vec![b'x'; 90]));
        assert_eq!(texts(&outbound).len(), 1);
    }
    assert_eq!(outbound.queued_bytes(), 0);
}

#[test]
fn what_waits_is_written_before_a_close_and_nothing_is_added_to_it() {
    let outbound = Outbound::new(100);
    outbound.push(Bytes::from_static(b"reply"));
    assert!(outbound.close(Disconnect::SHUTDOWN.into()));
    assert!(!outbound.close(Disconnect::STALE.into()), "the first word holds");
    outbound.push(Bytes::from_static(b"late"));
    assert_eq!(texts(&outbound), ["reply"]);
    assert_eq!(close_of(&outbound), Disconnect::SHUTDOWN.into());
}

#[test]
fn whoever_waits_is_woken_by_everything_that_is_news() {
    let outbound = Outbound::new(100);
    let woken = Arc::new(Woken::default());
    let waker = Arc::clone(&woken).into();
    let cx = Context::from_waker(&waker);
    let news: [&dyn Fn(); 3] = [
        &|| outbound.push(Bytes::from_static(b"x")),
        &|| assert!(!outbound.push_publication(Bytes::from_static(b"y"), None)),
        &|| assert!(outbound.close(Disconnect::SHUTDOWN.into())),
    ];
    for (before, news) in news.into_iter().enumerate() {
        assert!(outbound.poll_next(&cx, false).is_pending());
        assert_eq!(woken.0.load(Ordering::Relaxed), before);
        news();
        assert_eq!(woken.0.load(Ordering::Relaxed), before + 1);
        if before < 2 {
            assert_eq!(texts(&outbound).len(), 1);
        }
    }
}
