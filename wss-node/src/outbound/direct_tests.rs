#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;

use super::*;
use crate::outbound::Next;
use crate::outbound::tests::texts;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// Counts how often the session is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A connection that takes so many frames, and is full with the last of them; what happens during a write is a test's.
struct Scripted {
    room: AtomicUsize,
    taken: Mutex<Vec<Bytes>>,
    during: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

impl Direct for Scripted {
    fn write(&self, frames: &mut VecDeque<Frame>) -> Wrote {
        (self.during)();
        while self.room.load(Ordering::Relaxed) > 0
            && let Some(frame) = frames.pop_front()
        {
            self.room.fetch_sub(1, Ordering::Relaxed);
            self.taken.lock().unwrap().push(frame.bytes);
        }
        if self.room.load(Ordering::Relaxed) > 0 { Wrote::All } else { Wrote::Part }
    }
}

/// A queue whose session sleeps.
struct Asleep {
    outbound: Arc<Outbound>,
    connection: Arc<Scripted>,
    woken: Arc<Woken>,
    waker: Waker,
}

impl Asleep {
    fn new(room: usize, during: impl Fn(&Outbound) + Send + Sync + 'static) -> Self {
        let outbound = Arc::new(Outbound::new(100));
        let weak: Weak<Outbound> = Arc::downgrade(&outbound);
        let during = Box::new(move || during(&weak.upgrade().unwrap()));
        let connection = Arc::new(Scripted { room: room.into(), taken: Mutex::default(), during });
        outbound.connect(Some(Arc::clone(&connection) as _));
        let woken = Arc::new(Woken::default());
        let asleep = Self { outbound, connection, waker: Arc::clone(&woken).into(), woken };
        assert!(asleep.next().is_pending());
        asleep
    }

    fn next(&self) -> Poll<Next<'_>> {
        self.outbound.poll_next(&Context::from_waker(&self.waker), false)
    }

    fn publish(&self, text: &'static str) -> bool {
        self.outbound.push_publication(text.into(), None)
    }

    fn wakes(&self) -> usize {
        self.woken.0.load(Ordering::Relaxed)
    }

    fn taken(&self) -> Vec<Bytes> {
        self.connection.taken.lock().unwrap().clone()
    }
}

#[test]
fn what_is_published_is_written_and_nobody_is_woken() {
    let session = Asleep::new(10, |_| {});
    assert!(session.publish("p1"), "a writer is to be told");
    assert!(!session.publish("p2"), "it was told");
    assert_eq!(session.outbound.queued_bytes(), 4);
    assert_eq!(session.outbound.write_directly(NOW), (Left::Nothing, 2, 4));
    assert_eq!((session.taken(), session.wakes()), (vec!["p1".into(), "p2".into()], 0));
    assert_eq!(session.outbound.queued_bytes(), 0);
    let said = session.outbound.said();
    assert_eq!((said.messages, said.bytes), (2, 4));
    assert!(session.publish("p3"), "the next one is told of again");
    // The session was awake for another reason, and faster.
    assert_eq!(texts(&session.outbound), ["p3"]);
    assert_eq!(session.outbound.write_directly(NOW), (Left::Nothing, 0, 0));
}

#[test]
fn with_a_connection_that_takes_no_more_the_session_goes_on_in_order() {
    let session = Asleep::new(1, |_| {});
    assert!(session.publish("p1"));
    assert!(!session.publish("p22"));
    assert_eq!(session.outbound.write_directly(NOW), (Left::Nothing, 1, 2));
    assert_eq!(session.wakes(), 1);
    assert_eq!(session.outbound.queued_bytes(), 5, "what the connection has not passed on still counts");
    assert!(!session.publish("p3"), "it is the session's");
    let Poll::Ready(Next::Write(taken)) = session.next() else { panic!("there is something to write") };
    assert!(taken.frames.iter().map(|frame| &frame.bytes[..]).eq([&b"p22"[..], b"p3"]));
    assert_eq!(taken.written(NOW), (2, 5));
    assert_eq!(session.outbound.queued_bytes(), 0);
    assert_eq!(session.outbound.said().messages, 3);
    assert!(session.publish("p4"), "writers may write again");
}

#[test]
fn a_session_goes_on_with_what_stalled_even_if_nothing_follows() {
    let session = Asleep::new(1, |_| {});
    assert!(session.publish("p1"));
    assert_eq!(session.outbound.write_directly(NOW), (Left::Nothing, 1, 2));
    assert_eq!((session.wakes(), session.outbound.queued_bytes()), (1, 2));
    let Poll::Ready(Next::Write(taken)) = session.next() else { panic!("there is something to write") };
    assert!(taken.frames.is_empty());
    assert_eq!(taken.written(NOW), (0, 0));
    assert_eq!((session.outbound.queued_bytes(), session.outbound.said().messages), (0, 1));
    assert!(session.next().is_pending());
}

#[test]
fn what_comes_during_a_write_is_written_after_it_and_by_one_only() {
    let session = Asleep::new(10, |outbound| {
        assert!(outbound.poll_next(&Context::from_waker(Waker::noop()), false).is_pending());
        if outbound.said().messages == 0 {
            assert!(!outbound.push_publication("p2".into(), None), "whoever writes looks again");
        }
    });
    assert!(session.publish("p1"));
    assert_eq!(session.outbound.write_directly(NOW), (Left::More, 1, 2));
    assert!(!session.publish("p3"), "it is told already");
    assert_eq!(session.outbound.write_directly(NOW), (Left::Nothing, 2, 4));
    assert_eq!(session.taken(), ["p1", "p2", "p3"]);
}

#[test]
fn answers_and_ends_are_the_sessions() {
    let session = Asleep::new(10, |_| {});
    assert!(session.publish("p1"));
    session.outbound.answer("a".into());
    assert_eq!(session.wakes(), 1);
    assert_eq!(session.outbound.write_directly(NOW), (Left::Nothing, 0, 0));
    assert_eq!(texts(&session.outbound), ["p1", "a"]);

    let ending = Asleep::new(10, |outbound| assert!(outbound.close(Disconnect::SHUTDOWN.into())));
    assert!(ending.publish("p1"));
    assert_eq!(ending.outbound.write_directly(NOW), (Left::Nothing, 1, 2));
    assert!(ending.wakes() >= 1, "it is told once the write is done");
    let Poll::Ready(Next::Close(close)) = ending.next() else { panic!("it ends") };
    assert_eq!(close, Disconnect::SHUTDOWN.into());

    let slow = Asleep::new(10, |outbound| {
        assert!(!outbound.push_publication(vec![b'x'; 100].into(), None));
    });
    assert!(slow.publish("p1"));
    slow.outbound.write_directly(NOW);
    assert_eq!(slow.wakes(), 1);
    let Poll::Ready(Next::Close(close)) = slow.next() else { panic!("it is too slow") };
    assert_eq!(close, Disconnect::SLOW.into());
}

#[test]
fn a_fault_of_ours_ends_one_session() {
    let session = Asleep::new(10, |_| panic!("a fault of ours, made by a test"));
    assert!(session.publish("p1"));
    assert_eq!(session.outbound.write_directly(NOW), (Left::Fault, 0, 0));
    assert_eq!(session.wakes(), 1);
    let Poll::Ready(Next::Close(close)) = session.next() else { panic!("it ends") };
    assert_eq!(close, Disconnect::SERVER_ERROR.into());
}
