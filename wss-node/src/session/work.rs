//! What a client has asked for and has no answer yet. Requests take effect in the order in which they came: publications may
//! wait for their brokers side by side, everything else waits until those before it are answered.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;

use super::subscribe::Granted;
use crate::wire::{Answer, Command, ReplyError, Request};

/// Publications of one session that wait for their brokers at the same time.
const PUBLISHING: usize = 64;
/// What a request takes besides its data.
const OVERHEAD_BYTES: usize = 256;

/// Something to be done.
pub(super) type Doing = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What was done.
#[expect(clippy::large_enum_variant, reason = "it is moved twice: a box for each answer would cost more")]
pub(super) enum Outcome {
    /// A request has its answer.
    Answer { id: u32, answer: Result<Answer, ReplyError> },
    /// A subscription was made, or a part of it, or refused.
    Subscribed { by: By, called: String, granted: Result<Box<Granted>, ReplyError> },
    /// `connect` was granted, and these subscriptions with it.
    Connected { id: u32, granted: Vec<(String, Box<Granted>)> },
    /// The token of a subscription was checked again.
    Extended { id: u32, called: String, expires: Result<Option<jiff::Timestamp>, ReplyError> },
}

/// Who wanted a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The client, by a command with this id.
    Client(u32),
    /// The application or an operator.
    Server,
}

/// What waits.
pub(super) enum Waiting {
    Command(Box<Command>),
    Subscribe(String),
}

/// See the module.
#[derive(Default)]
pub(super) struct Work {
    /// Only while there is some: a session without work is small.
    publishing: Option<Box<FuturesOrdered<Doing>>>,
    running: Option<Doing>,
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("publishing", &self.publishing())
            .field("running", &self.running.is_some())
            .field("waiting", &self.waiting.len())
            .finish()
    }
}

impl Work {
    fn publishing(&self) -> usize {
        self.publishing.as_ref().map_or(0, |publishing| publishing.len())
    }

    /// Whether everything that was asked for is answered.
    pub(super) fn is_done(&self) -> bool {
        self.running.is_none() && self.waiting.is_empty() && self.publishing() == 0
    }

    /// What it holds, in bytes, since it was done last.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// One more, after all others.
    pub(super) fn add(&mut self, waiting: Waiting) {
        self.bytes += OVERHEAD_BYTES + waiting.bytes();
        self.waiting.push_back(waiting);
    }

    /// The next one whose turn it is.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        let publishing = self.publishing();
        let may = match self.waiting.front()? {
            Waiting::Command(command) if matches!(command.request, Some(Request::Publish(_))) => {
                publishing < PUBLISHING
            }
            _ => publishing == 0,
        };
        if may && self.running.is_none() { self.waiting.pop_front() } else { None }
    }

    /// A publication is on its way.
    pub(super) fn publish(&mut self, doing: Doing) {
        self.publishing.get_or_insert_default().push_back(doing);
    }

    /// Something else is being done.
    pub(super) fn run(&mut self, doing: Doing) {
        self.running = Some(doing);
    }

    /// Waits until something is done; for ever if nothing is being done.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut done = Poll::Pending;
        if let Some(publishing) = &mut self.publishing
            && let Poll::Ready(Some(outcome)) = publishing.poll_next_unpin(cx)
        {
            if publishing.is_empty() {
                self.publishing = None;
            }
            done = Poll::Ready(outcome);
        } else if let Some(running) = &mut self.running
            && let Poll::Ready(outcome) = running.as_mut().poll(cx)
        {
            self.running = None;
            done = Poll::Ready(outcome);
        }
        if done.is_ready() && self.is_done() {
            self.bytes = 0;
        }
        done
    }
}

impl Waiting {
    fn bytes(&self) -> usize {
        let Self::Command(command) = self else { return 0 };
        match &command.request {
            Some(Request::Publish(publish)) => publish.data.len(),
            Some(Request::Rpc(rpc)) => rpc.data.len(),
            Some(Request::Connect(connect)) => connect.token.len() + connect.data.len(),
            Some(Request::Subscribe(subscribe)) => subscribe.token.len() + subscribe.data.len(),
            _ => 0,
        }
    }
}
