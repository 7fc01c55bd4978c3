//! The life of a session: what it hears, what it says, what is due, and what the node tells it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::End;
use super::commands::Commands;
use super::rate::{Allowance, Rate};
use super::timers::{Due, Timers};
use super::tokens::Checked;
use super::wire::{Heard, Wire};
use super::work::Outcome;
use super::writing::{Pings, Stall, Writing};
use crate::guard::Gate;
use crate::outbound::{Frame, Next, Outbound, Taken};
use crate::registry::Entry;
use crate::service::Node;
use crate::telemetry::trace::{self, Tally};
use crate::wire::{Disconnect, Reply, v1};

/// Sessions leave a halted node within this time, not all at once.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);
/// Pings, pongs and closes in a second, on average and at once. SDKs and browsers send none; proxies and monitors one in
/// some seconds.
const CONTROL_FRAMES: u32 = 10;

/// A session while it is served.
pub(super) struct Session<'a, S> {
    pub(super) node: &'a Arc<Node>,
    pub(super) wire: &'a mut Wire<S>,
    pub(super) outbound: &'a Arc<Outbound>,
    pub(super) commands: &'a mut Commands,
    pub(super) entry: &'a Arc<Entry>,
    pub(super) tally: &'a mut Tally,
}

/// What comes next.
enum Turn<'a> {
    Heard(Heard),
    Checked(Checked),
    Done(Outcome),
    Say(Next<'a>),
    Due,
    Told(watch::Receiver<Gate>, Word),
}

/// What the node tells all its sessions.
enum Word {
    Gate(Gate),
    Stop,
}

/// What changes while a session lives.
struct Course {
    timers: Timers,
    messages: Allowance,
    message_rate: Rate,
    control_frames: Allowance,
    /// Whether the client is heard before what waits for it is said, so that neither starves the other.
    listens_first: bool,
    /// It ends as soon as what was asked for is answered.
    leaving: Option<Disconnect>,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Session<'a, S> {
    pub(super) async fn serve(&mut self) -> End {
        let (node, now) = (Arc::clone(self.node), Instant::now());
        let mut course = Course {
            timers: Timers::new(&node.config.session, now),
            messages: Allowance::new(now),
            message_rate: Rate::new(
                node.config.limits.messages_per_second,
                node.config.limits.messages_burst,
            ),
            control_frames: Allowance::new(now),
            listens_first: true,
            leaving: None,
        };
        let mut gate = node.guard.gate();
        if *gate.borrow() != Gate::Flowing {
            // It opened while this session began.
            gate.mark_changed();
        }
        let mut told = pin!(word(gate, node.stopping.clone(), false));
        let mut sleep = pin!(sleep_until(now));
        let mut stops = false;
        if let Err(end) = self.look(&mut course) {
            return end;
        }
        loop {
            let turn = self.turn(&mut course, sleep.as_mut(), told.as_mut()).await;
            let done = match turn {
                Turn::Heard(heard) => self.heard(heard, &mut course, sleep.as_mut()).await,
                Turn::Checked(checked) => match self.commands.checked(checked) {
                    Ok(()) => self.look(&mut course),
                    Err(why) => Err(why.into()),
                },
                Turn::Done(outcome) => self.done(outcome, &mut course),
                Turn::Say(Next::Order(order)) => {
                    self.commands.order(order);
                    Ok(())
                }
                Turn::Say(Next::Write(taken)) => self.write(taken, &mut course, sleep.as_mut()).await,
                Turn::Say(Next::Close(close)) => Err(End::Close(close)),
                Turn::Due => self.due(&mut course),
                Turn::Told(gate, word_told) => {
                    stops |= matches!(word_told, Word::Stop);
                    told.set(word(gate, node.stopping.clone(), stops));
                    self.told(&word_told, &mut course);
                    Ok(())
                }
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Waits for what comes next.
    async fn turn<F>(
        &mut self,
        course: &mut Course,
        mut sleep: Pin<&mut Sleep>,
        mut told: Pin<&mut F>,
    ) -> Turn<'a>
    where
        F: Future<Output = (watch::Receiver<Gate>, Word)>,
    {
        let (wire, outbound, commands) = (&mut *self.wire, self.outbound, &mut *self.commands);
        // Whose `connect` is being decided is not late with it, and not heard.
        let (connected, deciding) = (commands.is_connected(), commands.is_deciding());
        course.timers.decides(deciding);
        let listening = commands.is_listening() && course.leaving.is_none();
        course.timers.listens(listening, &self.node.config.session, Instant::now());
        let (config, guard) = (&self.node.config.session, &self.node.guard);
        course.listens_first = !course.listens_first;
        poll_fn(|cx| {
            if let Poll::Ready((gate, word)) = told.as_mut().poll(cx) {
                return Poll::Ready(Turn::Told(gate, word));
            }
            // Before the traffic, which may never end.
            let now = Instant::now();
            if course.timers.next(config, connected, wire.begun()) <= now {
                return Poll::Ready(Turn::Due);
            }
            if let Poll::Ready(checked) = commands.poll_checked(cx) {
                return Poll::Ready(Turn::Checked(checked));
            }
            if let Poll::Ready(outcome) = commands.poll_done(cx) {
                return Poll::Ready(Turn::Done(outcome));
            }
            for listens in [course.listens_first, !course.listens_first] {
                if listens && !listening {
                    continue;
                }
                if listens {
                    if let Poll::Ready(heard) = wire.poll_next(cx) {
                        return Poll::Ready(Turn::Heard(heard));
                    }
                } else if let Poll::Ready(next) = outbound.poll_next(cx, guard.is_open()) {
                    return Poll::Ready(Turn::Say(next));
                }
            }
            // A message may have begun just now. A timer that goes off too early costs less than moving it each time.
            let next = course.timers.next(config, connected, wire.begun());
            if next < sleep.deadline() || sleep.deadline() <= now {
                sleep.as_mut().reset(next);
            }
            sleep.as_mut().poll(cx).map(|()| Turn::Due)
        })
        .await
    }

    async fn heard(&mut self, heard: Heard, course: &mut Course, sleep: Pin<&mut Sleep>) -> Result<(), End> {
        let message = match heard {
            Heard::Message(message) => message,
            Heard::Violated(code, how) => return Err(End::Violated(code, how)),
            Heard::TooManyFragments => return Err(Disconnect::FRAGMENTS.into()),
            Heard::Gone(how) => return Err(End::cut(how)),
        };
        if let Some((code, reason)) = message.as_close() {
            return Err(End::Gone(code.into(), format!("closed: {reason}")));
        }
        let now = Instant::now();
        if message.is_ping() || message.is_pong() {
            let rate = Rate::new(CONTROL_FRAMES, CONTROL_FRAMES);
            if !course.control_frames.take(rate, 1, now) {
                return Err(Disconnect::CONTROL_FLOOD.into());
            }
            // A pong is one for one ping: its turn is over only when it is written.
            return if message.is_ping() { self.say(VecDeque::new(), course, sleep).await } else { Ok(()) };
        }
        if message.is_text() != self.commands.framing.is_text() {
            return Err(Disconnect::UNSUPPORTED.into());
        }
        let bytes = message.into_payload();
        self.tally.received(&self.node.counters, bytes.len());
        let frame = self.commands.parse(&bytes);
        let commands = frame.commands.len().max(1);
        self.entry.heard(Timestamp::now(), commands as u64, bytes.len());
        if !course.messages.take(course.message_rate, u32::try_from(commands).unwrap_or(u32::MAX), now) {
            return Err(Disconnect::TOO_MANY_REQUESTS.into());
        }
        if self.commands.take(frame)? {
            course.timers.pong();
        }
        Ok(())
    }

    /// Something that was asked for is done.
    fn done(&mut self, outcome: Outcome, course: &mut Course) -> Result<(), End> {
        let has_an_end = matches!(
            outcome,
            Outcome::Subscribed { .. } | Outcome::Connected { .. } | Outcome::Extended { .. }
        );
        self.commands.done(outcome);
        if let Some(why) = course.leaving.filter(|_| self.commands.work.is_done()) {
            self.entry.close(why.into());
        }
        if has_an_end { self.look(course) } else { Ok(()) }
    }

    /// Writes what waited.
    async fn write(
        &mut self,
        mut taken: Taken<'_>,
        course: &mut Course,
        sleep: Pin<&mut Sleep>,
    ) -> Result<(), End> {
        let frames = std::mem::take(&mut taken.frames);
        let (count, synced) = (frames.len(), frames.iter().any(|frame| frame.is_publication));
        self.say(frames, course, sleep).await?;
        let bytes = taken.written();
        self.tally.sent(&self.node.counters, count, bytes);
        self.entry.told(Timestamp::now(), count, bytes, synced);
        // What waited for these answers to be taken.
        self.commands.advance();
        Ok(())
    }

    /// Writes frames, and what the library has queued, and flushes once. Meanwhile nothing is read: who does not take
    /// answers may not ask. A ping that comes due goes between two frames.
    async fn say(
        &mut self,
        mut frames: VecDeque<Frame>,
        course: &mut Course,
        mut sleep: Pin<&mut Sleep>,
    ) -> Result<(), End> {
        let is_text = self.commands.framing.is_text();
        let connected = self.commands.is_connected();
        let mut stall = Stall::new(self.node.config.session.write_timeout);
        let mut pings = Pings::default();
        loop {
            let (wire, outbound, timers) = (&mut *self.wire, self.outbound, &course.timers);
            let turn = poll_fn(|cx| {
                if let Poll::Ready(written) = wire.poll_write(cx, &mut frames, is_text) {
                    return Poll::Ready(Writing::Done(written));
                }
                if outbound.poll_overflowed(cx).is_ready() {
                    return Poll::Ready(Writing::Stuck);
                }
                let now = Instant::now();
                let stuck_at = stall.at(wire.taken_bytes(), now);
                let next = timers.next_while_writing(connected).map_or(stuck_at, |next| next.min(stuck_at));
                if next <= now {
                    return Poll::Ready(if stuck_at <= now { Writing::Stuck } else { Writing::Due });
                }
                if next < sleep.deadline() || sleep.deadline() <= now {
                    sleep.as_mut().reset(next);
                }
                sleep.as_mut().poll(cx).map(|()| Writing::Due)
            });
            let turn = turn.await;
            if let Some(time) = stall.unheard(Instant::now) {
                course.timers.unheard(time);
                self.wire.unread_for(time);
            }
            match turn {
                Writing::Done(Ok(())) => return Ok(()),
                Writing::Done(Err(error)) => return Err(End::cut(error.to_string())),
                // A reader that takes nothing for so long is a slow one, however little waits for it.
                Writing::Stuck => return Err(Disconnect::SLOW.into()),
                Writing::Due => {
                    let config = &self.node.config.session;
                    let due = course.timers.due_while_writing(config, connected, Instant::now());
                    if let Some(ping) = self.meet(due, course)? {
                        pings.add(ping, &mut frames);
                    }
                }
            }
        }
    }

    /// Looks whether the token has ended, and sets the time to look again.
    fn look(&mut self, course: &mut Course) -> Result<(), End> {
        let after = self.commands.look(Timestamp::now())?;
        course.timers.look(after.map(|after| Instant::now() + after));
        Ok(())
    }

    fn due(&mut self, course: &mut Course) -> Result<(), End> {
        let (config, connected) = (&self.node.config.session, self.commands.is_connected());
        let due = course.timers.due(config, connected, self.wire.begun(), Instant::now());
        if let Some(ping) = self.meet(due, course)? {
            self.outbound.push(ping);
        }
        Ok(())
    }

    /// Does what is due; gives the ping that is to be sent.
    fn meet(&mut self, due: Option<Due>, course: &mut Course) -> Result<Option<Bytes>, End> {
        match due {
            None => {}
            Some(Due::Ping) => {
                self.commands.refresh_presence();
                return Ok(Some(self.commands.framing.ping()));
            }
            Some(Due::Look) => self.look(course)?,
            Some(Due::Close(why)) => return Err(why.into()),
            Some(Due::Leave(Disconnect::SHUTDOWN)) => {
                self.node.drain.moved();
                let connected = self.commands.is_connected();
                // Who has not said `connect` may speak another protocol than Centrifuge: it gets a code of the RFC's
                // registry.
                self.leave(if connected { Disconnect::SHUTDOWN } else { Disconnect::RESTART }, course);
            }
            Some(Due::Leave(why)) => self.leave(why, course),
        }
        Ok(None)
    }

    /// Ends it once what was asked for is answered and what waits is written. Brokers answer in time, or say that they
    /// cannot.
    fn leave(&self, why: Disconnect, course: &mut Course) {
        if self.commands.work.is_done() {
            self.entry.close(why.into());
        } else {
            course.leaving = Some(why);
        }
    }

    fn told(&self, word: &Word, course: &mut Course) {
        match word {
            Word::Stop => course.timers.leave(self.node.drain.leave_at(), Disconnect::SHUTDOWN),
            Word::Gate(Gate::Halted) => {
                trace::event("breaker open");
                self.notice("open");
            }
            Word::Gate(Gate::Flowing) => {
                trace::event("breaker closed");
                self.notice("closed");
                course.timers.stay(Disconnect::HALTED);
            }
            Word::Gate(Gate::SendAway) => {
                let within = LEAVE_WITHIN.mul_f64(fastrand::f64());
                course.timers.leave(Instant::now() + within, Disconnect::HALTED);
            }
        }
    }

    /// Tells a client of the breaker. Before `connect` there is nobody to tell.
    fn notice(&self, breaker: &str) {
        if self.commands.is_connected() {
            let data = format!("{{\"breaker\":\"{breaker}\"}}").into();
            self.commands.say(&Reply::push("", v1::Message { data }));
        }
    }
}

/// Waits for what the node tells its sessions; gives back what to wait with next.
async fn word(
    mut gate: watch::Receiver<Gate>,
    stopping: CancellationToken,
    stops: bool,
) -> (watch::Receiver<Gate>, Word) {
    let word = tokio::select! {
        Ok(()) = gate.changed() => Word::Gate(*gate.borrow_and_update()),
        () = stopping.cancelled(), if !stops => Word::Stop,
        // The node is gone: only in tests.
        else => std::future::pending().await,
    };
    (gate, word)
}
