//! What waits to be written to one session, bounded in bytes. Many add to it; one at a time takes from it: the session's
//! task, or for what is published a writer (`direct.rs`), which need not wake it.
//!
//! Answers are counted apart and have no limit here: who recovers after it was too slow gets more than the queue holds. What
//! bounds them is that a session begins nothing more while many wait ([`Outbound::takes_questions`]).

mod direct;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::broker::publication::Publication;
use crate::close::Close;
use crate::wire::{Disconnect, Unsubscribed};
pub(crate) use direct::{Direct, Left, Wrote};

/// Between two looks for what is superseded, a queue takes in this part of its limit: each look goes through all of it.
const CONFLATED_EACH: usize = 8;

/// Orders that wait: for each subscription one, and a few.
const MAX_ORDERS: usize = 4096;

/// The queue of one session.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Outbound {
    limit_bytes: usize,
    queue: Mutex<Queue>,
}

/// In this order: what each publication of each subscriber touches lies side by side.
#[derive(Debug, Default)]
#[repr(C)]
struct Queue {
    overflowed: bool,
    /// Somebody has taken frames and writes them: nobody else may.
    is_writing: bool,
    /// A writer knows that something waits.
    is_listed: bool,
    /// From outside: nothing is added any more, what waits is written, then the session ends with this.
    close: Option<Box<Close>>,
    /// Of the frames in the queue and of those taken but not yet written, without answers.
    bytes: usize,
    /// Of answers, in the same way.
    answer_bytes: usize,
    frames: VecDeque<Frame>,
    /// Bytes of frames that the connection has taken from a writer and not passed on: the session goes on with them.
    stalled: Option<usize>,
    /// Bytes added since it was last looked for what is superseded; `None`: it was not.
    since_conflated: Option<usize>,
    /// Where writers write; `None`: there is no connection, or it is the session's alone.
    connection: Option<Arc<dyn Direct>>,
    said: Said,
    /// The task of the session. Kept here instead of in a `Notify`: there is one, and it looks at the queue itself.
    waker: Option<Waker>,
    /// What the session is to do, told from outside.
    orders: VecDeque<Order>,
}

/// What was written to a session so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// When the last publication was, in milliseconds since the Unix epoch; 0: never.
    pub(crate) synced_ms: i64,
}

impl Said {
    /// So many messages; `synced`: with a publication among them.
    fn add(&mut self, messages: usize, bytes: usize, synced: bool, now: Timestamp) {
        self.messages += messages as u64;
        self.bytes += bytes as u64;
        if synced {
            self.synced_ms = now.as_millisecond();
        }
    }
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

    /// Adds a publication, and says what it makes needless. `true`: a writer is to be told of it
    /// ([`Outbound::write_directly`]), for the session is not.
    #[must_use]
    pub(crate) fn push_publication(&self, bytes: Bytes, superseding: Option<Superseding>) -> bool {
        let frame = Frame { is_publication: true, superseding, ..Frame::new(bytes) };
        let Some(mut queue) = self.put(frame) else { return false };
        if queue.is_writing && !queue.overflowed {
            // Whoever writes looks again.
            return false;
        }
        if queue.is_for_writers() {
            return !std::mem::replace(&mut queue.is_listed, true);
        }
        wake(queue);
        false
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

    fn add(&self, frame: Frame) {
        if let Some(queue) = self.put(frame) {
            wake(queue);
        }
    }

    /// Adds a frame; whoever is to write it is still to be told. Past the limit older values that are superseded go; if
    /// that does not help, nothing more is added and the session is to be closed as too slow: a gap would be worse than
    /// an end, because after an end the client knows that it has to catch up. `None`: nothing is added any more.
    fn put(&self, frame: Frame) -> Option<MutexGuard<'_, Queue>> {
        let mut queue = self.queue();
        if queue.overflowed || queue.close.is_some() {
            return None;
        }
        let length = frame.bytes.len();
        if frame.is_answer {
            queue.answer_bytes += length;
            queue.frames.push_back(frame);
            return Some(queue);
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
        Some(queue)
    }

    /// The session is to write what waits and to end; `false` if it had been told so before.
    pub(crate) fn close(&self, close: Close) -> bool {
        let mut queue = self.queue();
        let first = queue.close.is_none();
        queue.close.get_or_insert_with(|| Box::new(close));
        wake(queue);
        first
    }

    /// What was written so far.
    pub(crate) fn said(&self) -> Said {
        self.queue().said
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
        if queue.is_writing {
            return queue.wait(cx);
        }
        let frames = queue.take(halted);
        if !frames.is_empty() || queue.stalled.is_some() {
            let (mut bytes, mut answer_bytes, mut synced) = (0, 0, false);
            for Frame { bytes: of_frame, is_answer, is_publication, .. } in &frames {
                *(if *is_answer { &mut answer_bytes } else { &mut bytes }) += of_frame.len();
                synced |= is_publication;
            }
            queue.is_writing = true;
            let stalled = queue.stalled.take().unwrap_or(0);
            let count = frames.len();
            let taken = Taken { frames, count, synced, bytes, answer_bytes, stalled, outbound: self };
            return Poll::Ready(Next::Write(taken));
        }
        match &queue.close {
            Some(close) => Poll::Ready(Next::Close(Close::clone(close))),
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
    count: usize,
    /// A publication is among them.
    synced: bool,
    bytes: usize,
    answer_bytes: usize,
    /// Of frames that a writer began with.
    stalled: usize,
    outbound: &'a Outbound,
}

impl Taken<'_> {
    /// The frames were written: they no longer count. Gives back how many, and their bytes.
    pub(crate) fn written(self, now: Timestamp) -> (usize, usize) {
        let mut queue = self.outbound.queue();
        queue.is_writing = false;
        queue.bytes -= self.bytes + self.stalled;
        queue.answer_bytes -= self.answer_bytes;
        let bytes = self.bytes + self.answer_bytes;
        queue.said.add(self.count, bytes, self.synced, now);
        (self.count, bytes)
    }
}

#[cfg(test)]
pub(crate) mod tests;
