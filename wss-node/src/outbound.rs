//! What waits to be written to one session, bounded in bytes. Many add to it; one task takes from it.
//!
//! Answers are counted apart and have no limit here: who recovers after it was too slow gets more than the queue holds. What
//! bounds them is that a session begins nothing more while many wait ([`Outbound::takes_questions`]).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::broker::publication::Publication;
use crate::close::Close;
use crate::wire::{Disconnect, Unsubscribed};

/// Between two looks for what is superseded, a queue takes in this part of its limit: each look goes through all of it.
const CONFLATED_EACH: usize = 8;

/// Orders that wait: for each subscription one, and a few.
const MAX_ORDERS: usize = 4096;

/// The queue of one session.
#[derive(Debug)]
pub(crate) struct Outbound {
    queue: Mutex<Queue>,
    limit_bytes: usize,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Frame>,
    /// Of the frames in the queue and of those taken but not yet written, without answers.
    bytes: usize,
    /// Of answers, in the same way.
    answer_bytes: usize,
    overflowed: bool,
    /// Bytes added since it was last looked for what is superseded; `None`: it was not.
    since_conflated: Option<usize>,
    /// What the session is to do, told from outside.
    orders: VecDeque<Order>,
    /// From outside: nothing is added any more, what waits is written, then the session ends with this.
    close: Option<Close>,
    /// The task of the session. Kept here instead of in a `Notify`: there is one, and it looks at the queue itself.
    waker: Option<Waker>,
}

/// What goes into one WebSocket message.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    /// It waits while the breaker is open.
    pub(crate) is_publication: bool,
    /// The session has asked for it.
    is_answer: bool,
    /// What it makes needless; `None`: nothing, and nothing makes it needless.
    superseding: Option<Superseding>,
}

/// A publication that takes the place of an older one of the same channel and key.
#[derive(Clone, Debug)]
pub(crate) struct Superseding {
    /// Names the channel's room as long as there are subscribers.
    pub(crate) room: usize,
    pub(crate) publication: Arc<Publication>,
}

/// What a session is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Its subscription has missed something that the log does not have any more.
    Lost(Arc<str>),
    /// To end a subscription, by the channel as the client calls it.
    Unsubscribe(Arc<str>, Unsubscribed),
    /// To subscribe its client.
    Subscribe(Arc<str>),
}

/// What the session is to do next.
#[derive(Debug)]
pub(crate) enum Next<'a> {
    /// There is something to write.
    Write(Taken<'a>),
    /// It is told to do something.
    Order(Order),
    /// All is written, and it is to end.
    Close(Close),
}

impl Frame {
    /// Something that is no publication and no answer.
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { bytes, is_publication: false, is_answer: false, superseding: None }
    }
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

    /// Leaves out publications that later ones make needless.
    fn conflate(&mut self) {
        let mut seen: HashSet<(usize, &str)> = HashSet::new();
        let mut needless = Vec::new();
        for (index, frame) in self.frames.iter().enumerate().rev() {
            let Some(Superseding { room, publication }) = &frame.superseding else { continue };
            if !seen.insert((*room, publication.key.as_deref().unwrap_or_default())) {
                needless.push(index);
            }
        }
        let mut index = 0;
        let bytes = &mut self.bytes;
        self.frames.retain(|frame| {
            let is_needless = needless.last() == Some(&index);
            index += 1;
            if is_needless {
                needless.pop();
                *bytes -= frame.bytes.len();
            }
            !is_needless
        });
        self.since_conflated = Some(0);
    }

    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Outbound {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { queue: Mutex::default(), limit_bytes }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a ping, or a push that is no publication.
    pub(crate) fn push(&self, bytes: Bytes) {
        self.add(Frame::new(bytes));
    }

    /// Adds what the session has asked for.
    pub(crate) fn answer(&self, bytes: Bytes) {
        self.add(Frame { is_answer: true, ..Frame::new(bytes) });
    }

    /// Whether the session may begin more: who does not take answers may not ask.
    pub(crate) fn takes_questions(&self) -> bool {
        self.queue().answer_bytes < self.limit_bytes
    }

    /// Adds a publication, and says what it makes needless.
    pub(crate) fn push_publication(&self, bytes: Bytes, superseding: Option<Superseding>) {
        self.add(Frame { is_publication: true, superseding, ..Frame::new(bytes) });
    }

    /// The session is to do something.
    pub(crate) fn tell(&self, order: Order) {
        let mut queue = self.queue();
        if queue.orders.len() < MAX_ORDERS {
            queue.orders.push_back(order);
        } else {
            // It does not run. What it would miss it recovers when it comes back.
            queue.overflowed = true;
        }
        wake(queue);
    }

    /// Adds a frame. Past the limit older values that are superseded go; if that does not help, nothing more is added and the session is to be closed as too slow: a gap
    /// would be worse than an end, because after an end the client knows that it has to catch up.
    fn add(&self, frame: Frame) {
        let mut queue = self.queue();
        if queue.overflowed || queue.close.is_some() {
            return;
        }
        let length = frame.bytes.len();
        if frame.is_answer {
            queue.answer_bytes += length;
            queue.frames.push_back(frame);
            return wake(queue);
        }
        let is_over = |queue: &Queue| queue.bytes + length > self.limit_bytes;
        if is_over(&queue)
            && queue.since_conflated.is_none_or(|added| added >= self.limit_bytes / CONFLATED_EACH)
        {
            queue.conflate();
        }
        if is_over(&queue) {
            queue.overflowed = true;
            queue.frames = VecDeque::new();
        } else {
            queue.bytes += length;
            queue.since_conflated = queue.since_conflated.map(|added| added + length);
            queue.frames.push_back(frame);
        }
        wake(queue);
    }

    /// The session is to write what waits and to end; `false` if it had been told so before.
    pub(crate) fn close(&self, close: Close) -> bool {
        let mut queue = self.queue();
        let first = queue.close.is_none();
        queue.close.get_or_insert(close);
        wake(queue);
        first
    }

    /// Bytes that are not written yet.
    pub(crate) fn queued_bytes(&self) -> usize {
        let queue = self.queue();
        queue.bytes + queue.answer_bytes
    }

    /// Waits until there is something to write, and takes it all, but for publications while `halted`; or until the
    /// session is to end, because it was told to or because the limit was passed. For one task only.
    pub(crate) fn poll_next(&self, cx: &Context<'_>, halted: bool) -> Poll<Next<'_>> {
        let mut queue = self.queue();
        if queue.overflowed {
            return Poll::Ready(Next::Close(Disconnect::SLOW.into()));
        }
        if let Some(order) = queue.orders.pop_front() {
            return Poll::Ready(Next::Order(order));
        }
        let frames = queue.take(halted);
        if !frames.is_empty() {
            let (mut bytes, mut answer_bytes) = (0, 0);
            for Frame { bytes: of_frame, is_answer, .. } in &frames {
                *(if *is_answer { &mut answer_bytes } else { &mut bytes }) += of_frame.len();
            }
            return Poll::Ready(Next::Write(Taken { frames, bytes, answer_bytes, outbound: self }));
        }
        match &queue.close {
            Some(close) => Poll::Ready(Next::Close(close.clone())),
            None => queue.wait(cx),
        }
    }

    /// Waits until the limit is passed, while a write is under way.
    pub(crate) fn poll_overflowed(&self, cx: &Context<'_>) -> Poll<()> {
        let mut queue = self.queue();
        if queue.overflowed { Poll::Ready(()) } else { queue.wait(cx) }
    }
}

/// Wakes after the lock is given back, or the woken task would wait for it.
fn wake(mut queue: MutexGuard<'_, Queue>) {
    let waker = queue.waker.take();
    drop(queue);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Frames on their way to the socket; they count until they are written.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    pub(crate) frames: VecDeque<Frame>,
    bytes: usize,
    answer_bytes: usize,
    outbound: &'a Outbound,
}

impl Taken<'_> {
    /// The frames were written: they no longer count. Gives back how many bytes they were.
    pub(crate) fn written(self) -> usize {
        let mut queue = self.outbound.queue();
        queue.bytes -= self.bytes;
        queue.answer_bytes -= self.answer_bytes;
        self.bytes + self.answer_bytes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
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

    /// Takes what waits, as if it were written.
    pub(crate) fn texts(outbound: &Outbound) -> Vec<Bytes> {
        let taken = take(outbound, false);
        let frames: Vec<_> = taken.frames.iter().map(|frame| frame.bytes.clone()).collect();
        taken.written();
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
        taken.written();
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
        outbound.push_publication(Bytes::from(vec![b'p'; 100]), None);
        assert_eq!(outbound.queued_bytes(), 1100);
        assert!(outbound.poll_overflowed(&Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(taken.written(), 1000);
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
        taken.written();
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
            outbound.push_publication(Bytes::from(format!("{key}{offset:09}")), superseding);
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
            &|| outbound.push_publication(Bytes::from_static(b"y"), None),
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
}
