//! Those who write what is published: tasks that begin when something is there to be written and end when nothing is, one
//! for a thousand sessions and at most one for each thread of the runtime. Each takes a handful of sessions at a time, so that
//! other tasks get their turn; what is published meanwhile goes out together when a session's turn comes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::task::coop::unconstrained;

use crate::counters::Counters;
use crate::outbound::{Left, Outbound};

/// Sessions that are written to before others get their turn: about a tenth of a millisecond.
const HANDFUL: usize = 32;
/// Sessions that one writer is enough for: it goes through them in two milliseconds. Two writers of few sessions would be
/// done sooner, and so find less to write together the next time: for a thousand subscribers that costs a third more.
const FOR_ONE: usize = 1024;

/// Queues that writers are to be told of.
pub(super) type Ready = Vec<Weak<Outbound>>;

/// The writers, and the sessions that wait for them: each at most once.
#[derive(Debug)]
pub(super) struct Writers {
    waiting: Mutex<Waiting>,
    runtime: OnceLock<Handle>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Waiting {
    queues: VecDeque<Weak<Outbound>>,
    writers: usize,
}

impl Writers {
    pub(super) fn new(counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), runtime: OnceLock::new(), counters })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brokers may deliver on threads of their own: writers run where subscribers do. To be called there.
    pub(super) fn run_here(&self) {
        if self.runtime.get().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            let _ = self.runtime.set(runtime);
        }
    }

    /// Queues have something for writers.
    pub(super) fn tell(self: &Arc<Self>, ready: Ready) {
        if ready.is_empty() {
            return;
        }
        let Some(runtime) = self.runtime.get() else {
            for outbound in ready.iter().filter_map(Weak::upgrade) {
                outbound.write_by_session();
            }
            return;
        };
        let mut waiting = self.waiting();
        waiting.queues.extend(ready);
        let wanted = waiting.queues.len().div_ceil(FOR_ONE).min(runtime.metrics().num_workers());
        let more = wanted.saturating_sub(waiting.writers);
        waiting.writers += more;
        drop(waiting);
        for _ in 0..more {
            let writer = Writer { writers: Arc::clone(self), is_counted: true };
            // What is written does not wait: the budget of tasks that do is not for it.
            runtime.spawn(unconstrained(writer.write()));
        }
    }
}

/// One of them.
struct Writer {
    writers: Arc<Writers>,
    is_counted: bool,
}

impl Writer {
    async fn write(mut self) {
        let mut handful = Ready::with_capacity(HANDFUL);
        while self.takes(&mut handful) {
            self.write_to(&mut handful);
            tokio::task::yield_now().await;
        }
    }

    /// Takes the next; if there are none, whoever adds some begins a new writer.
    fn takes(&mut self, handful: &mut Ready) -> bool {
        let mut waiting = self.writers.waiting();
        let count = waiting.queues.len().min(HANDFUL);
        handful.extend(waiting.queues.drain(..count));
        if count == 0 {
            waiting.writers -= 1;
            self.is_counted = false;
        }
        count > 0
    }

    fn write_to(&self, handful: &mut Ready) {
        let (now, mut messages, mut bytes) = (Timestamp::now(), 0, 0);
        let mut again = Vec::new();
        for queue in handful.drain(..) {
            let Some(outbound) = queue.upgrade() else { continue };
            let (left, of_messages, of_bytes) = outbound.write_directly(now);
            (messages, bytes) = (messages + of_messages, bytes + of_bytes);
            match left {
                Left::Nothing => {}
                Left::More => again.push(queue),
                Left::Fault => {
                    Counters::add(&self.writers.counters.sessions_panicked);
                    tracing::error!(
                        "session closed: a fault of this node while it was written to; what it was is above"
                    );
                }
            }
        }
        self.writers.counters.sent(messages, bytes);
        if !again.is_empty() {
            self.writers.waiting().queues.extend(again);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.is_counted {
            self.writers.waiting().writers -= 1;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::outbound::{Direct, Frame, Wrote};

    /// Takes everything.
    #[derive(Debug)]
    struct Sink;

    impl Direct for Sink {
        fn write(&self, frames: &mut VecDeque<Frame>) -> Wrote {
            frames.clear();
            Wrote::All
        }
    }

    fn queues(count: usize) -> Vec<Arc<Outbound>> {
        let connected = |outbound: Outbound| {
            outbound.connect(Some(Arc::new(Sink)));
            Arc::new(outbound)
        };
        (0..count).map(|_| connected(Outbound::new(100))).collect()
    }

    fn publish(queues: &[Arc<Outbound>]) -> Ready {
        let told = queues.iter().filter(|queue| queue.push_publication("p".into(), None));
        told.map(Arc::downgrade).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn there_are_as_many_as_are_needed_and_none_when_all_is_written() {
        let counters = Arc::<Counters>::default();
        let writers = Writers::new(Arc::clone(&counters));
        writers.run_here();
        let (few, many) = (queues(10), queues(5000));
        for round in 1..=50 {
            for some in [&few, &many] {
                writers.tell(publish(some));
                assert!(writers.waiting().writers <= 3);
            }
            // One that is gone by the time of its turn hurts nobody.
            let gone = publish(&queues(1));
            writers.tell(gone);
            let all = round * 5010;
            let written = async {
                while Counters::get(&counters.messages_sent) < all || writers.waiting().writers > 0 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), written).await.expect("all is written");
        }
        assert!(few.iter().chain(&many).all(|queue| queue.queued_bytes() == 0));
    }

    #[test]
    fn without_a_runtime_sessions_write_by_themselves() {
        let writers = Writers::new(Arc::default());
        let session = queues(1);
        writers.tell(publish(&session));
        assert_eq!(session[0].queued_bytes(), 1);
        assert_eq!(publish(&session).len(), 1, "the next one is told of again");
        assert_eq!(crate::outbound::tests::texts(&session[0]).len(), 2);
    }
}
