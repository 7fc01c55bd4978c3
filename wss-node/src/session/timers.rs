//! What is due in a session, and when. Pure; the session has one timer and sets it to what comes first.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::SessionConfig;
use crate::wire::Disconnect;

/// No check of a token takes longer: two fetches of keys, or one question to its server.
const LONGEST_CHECK: Duration = Duration::from_secs(30);

/// The deadlines of one session.
#[derive(Debug)]
pub(crate) struct Timers {
    connect_by: Instant,
    /// `connect` has come, and its token is being checked.
    deciding: bool,
    /// The client is not heard for now: its pong waits with everything else that it says.
    deaf: bool,
    /// The ping that comes next.
    ping_at: Instant,
    /// The answer that is waited for.
    pong_by: Option<Instant>,
    /// When it is to leave a node that stops or has halted.
    leave: Option<(Instant, Disconnect)>,
    /// When to look whether its token has ended.
    look_at: Option<Instant>,
}

/// What has come due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Ping,
    /// To see whether the token has ended: by the clock of the wall, which is not ours.
    Look,
    /// At once: the client has done wrong, or nothing.
    Close(Disconnect),
    /// As soon as what waits is written.
    Leave(Disconnect),
}

impl Timers {
    pub(crate) fn new(config: &SessionConfig, now: Instant) -> Self {
        Self {
            connect_by: now + config.connect_timeout,
            deciding: false,
            deaf: false,
            ping_at: now + config.ping_interval,
            pong_by: None,
            leave: None,
            look_at: None,
        }
    }

    /// Whether `connect` has come and is being decided: the client is not late with it then.
    pub(crate) fn decides(&mut self, deciding: bool) {
        self.deciding = deciding;
    }

    /// Whether the client is heard. A pong that came meanwhile is heard first when it is heard again.
    pub(crate) fn listens(&mut self, listening: bool, config: &SessionConfig, now: Instant) {
        if self.deaf && listening {
            self.pong_by = self.pong_by.map(|by| by.max(now + config.pong_timeout));
        }
        self.deaf = !listening;
    }

    fn pong_by(&self) -> Option<Instant> {
        self.pong_by.filter(|_| !self.deaf)
    }

    fn connect_by(&self) -> Instant {
        if self.deciding { self.connect_by + LONGEST_CHECK } else { self.connect_by }
    }

    /// The end of the token is to be looked for then; `None`: it has none.
    pub(crate) fn look(&mut self, at: Option<Instant>) {
        self.look_at = at;
    }

    /// A ping was answered.
    pub(crate) fn pong(&mut self) {
        self.pong_by = None;
    }

    /// It is to leave then, unless there is a time set already. That the node stops counts for more than a halt.
    pub(crate) fn leave(&mut self, at: Instant, why: Disconnect) {
        if self.leave.is_none_or(|(_, set)| why == Disconnect::SHUTDOWN && set != why) {
            self.leave = Some((at, why));
        }
    }

    /// It is not to leave for this any more.
    pub(crate) fn stay(&mut self, why: Disconnect) {
        self.leave = self.leave.filter(|(_, leaving)| *leaving != why);
    }

    /// When to look again. `begun`: since when a message has been coming in.
    pub(crate) fn next(&self, config: &SessionConfig, connected: bool, begun: Option<Instant>) -> Instant {
        let alive = if connected { self.pong_by().unwrap_or(self.ping_at) } else { self.connect_by() };
        let whole = begun.map(|begun| begun + config.message_timeout);
        let leave = self.leave.map(|(at, _)| at);
        [whole, leave, self.look_at].into_iter().flatten().fold(alive, Instant::min)
    }

    /// The client was not heard for so long, because something was written to it. A pong that came meanwhile is not late
    /// by that.
    pub(crate) fn unheard(&mut self, time: Duration) {
        self.pong_by = self.pong_by.map(|by| by + time);
    }

    /// When something is due next while something is written; `None`: nothing is.
    pub(crate) fn next_while_writing(&self, connected: bool) -> Option<Instant> {
        let leave = self.leave.map(|(at, _)| at);
        let ping = connected.then_some(self.ping_at);
        [leave, self.look_at, ping].into_iter().flatten().min()
    }

    /// What is due by now while something is written. The client is not heard and cannot be late; but it goes away itself
    /// when no ping comes (SDKs: 10 s after the interval), so each comes when it is due, answered or not.
    pub(crate) fn due_while_writing(
        &mut self,
        config: &SessionConfig,
        connected: bool,
        now: Instant,
    ) -> Option<Due> {
        let due = self.due_anyway(now);
        if due.is_none() && connected && self.ping_at <= now {
            return Some(self.ping(config, now));
        }
        due
    }

    fn ping(&mut self, config: &SessionConfig, now: Instant) -> Due {
        self.pong_by = self.pong_by.or(Some(now + config.pong_timeout));
        self.ping_at = now + config.ping_interval;
        Due::Ping
    }

    /// What is due whatever the client does.
    fn due_anyway(&mut self, now: Instant) -> Option<Due> {
        if let Some((_, why)) = self.leave.take_if(|(at, _)| *at <= now) {
            return Some(Due::Leave(why));
        }
        self.look_at.take_if(|at| *at <= now).map(|_| Due::Look)
    }

    /// What is due by now.
    pub(crate) fn due(
        &mut self,
        config: &SessionConfig,
        connected: bool,
        begun: Option<Instant>,
        now: Instant,
    ) -> Option<Due> {
        let close = |why| Some(Due::Close(why));
        if let Some(due) = self.due_anyway(now) {
            return Some(due);
        }
        if begun.is_some_and(|begun| begun + config.message_timeout <= now) {
            return close(Disconnect::UNFINISHED);
        }
        if !connected {
            return if self.connect_by() <= now { close(Disconnect::STALE) } else { None };
        }
        if let Some(by) = self.pong_by() {
            return if by <= now { close(Disconnect::NO_PONG) } else { None };
        }
        (self.ping_at <= now).then(|| self.ping(config, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn a_session_that_says_nothing_is_stale_and_one_that_connected_is_pinged() {
        let (config, start) = (SessionConfig::default(), Instant::now());
        let mut timers = Timers::new(&config, start);
        assert_eq!(timers.next(&config, false, None), start + S(10));
        assert_eq!(timers.due(&config, false, None, start + S(9)), None);
        assert_eq!(timers.due(&config, false, None, start + S(10)), Some(Due::Close(Disconnect::STALE)));

        assert_eq!(timers.next(&config, true, None), start + S(25));
        assert_eq!(timers.due(&config, true, None, start + S(25)), Some(Due::Ping));
        assert_eq!(timers.next(&config, true, None), start + S(33));
        timers.pong();
        assert_eq!(timers.next(&config, true, None), start + S(50));
        assert_eq!(timers.due(&config, true, None, start + S(50)), Some(Due::Ping));
        assert_eq!(timers.due(&config, true, None, start + S(57)), None);
        assert_eq!(timers.due(&config, true, None, start + S(58)), Some(Due::Close(Disconnect::NO_PONG)));
    }

    #[test]
    fn who_waits_for_a_decision_is_not_late_and_the_end_of_a_token_is_looked_for() {
        let (config, start) = (SessionConfig::default(), Instant::now());
        let mut timers = Timers::new(&config, start);
        timers.decides(true);
        assert_eq!(timers.due(&config, false, None, start + S(10)), None);
        timers.decides(false);
        assert_eq!(timers.due(&config, false, None, start + S(10)), Some(Due::Close(Disconnect::STALE)));

        timers.look(Some(start + S(5)));
        assert_eq!(timers.next(&config, true, None), start + S(5));
        assert_eq!(timers.due(&config, true, None, start + S(4)), None);
        assert_eq!(timers.due(&config, true, None, start + S(5)), Some(Due::Look));
        assert_eq!(timers.due(&config, true, None, start + S(5)), None);
        assert_eq!(timers.next(&config, true, None), start + S(25));
    }

    #[test]
    fn a_message_that_was_begun_must_end() {
        let (config, start) = (SessionConfig::default(), Instant::now());
        let mut timers = Timers::new(&config, start);
        let begun = Some(start - S(20));
        assert_eq!(timers.next(&config, true, begun), start + S(10));
        assert_eq!(timers.due(&config, true, begun, start + S(9)), None);
        assert_eq!(timers.due(&config, true, begun, start + S(10)), Some(Due::Close(Disconnect::UNFINISHED)));
    }

    #[test]
    fn it_leaves_when_it_is_told_to_unless_there_is_no_more_cause() {
        let (config, start) = (SessionConfig::default(), Instant::now());
        let mut timers = Timers::new(&config, start);
        timers.leave(start + S(1), Disconnect::HALTED);
        timers.leave(start + S(2), Disconnect::HALTED);
        assert_eq!(timers.next(&config, true, None), start + S(1));
        timers.stay(Disconnect::HALTED);
        assert_eq!(timers.due(&config, true, None, start + S(1)), None);

        timers.leave(start + S(1), Disconnect::HALTED);
        timers.leave(start + S(3), Disconnect::SHUTDOWN);
        timers.leave(start + S(1), Disconnect::HALTED);
        timers.stay(Disconnect::HALTED);
        assert_eq!(timers.due(&config, true, None, start + S(2)), None);
        assert_eq!(timers.due(&config, true, None, start + S(3)), Some(Due::Leave(Disconnect::SHUTDOWN)));
        assert_eq!(timers.due(&config, true, None, start + S(3)), None, "it is told once");
    }
    #[test]
    fn while_something_is_written_pings_go_on_and_no_pong_is_late() {
        let (config, start) = (SessionConfig::default(), Instant::now());
        let mut timers = Timers::new(&config, start);
        assert_eq!(timers.next_while_writing(false), None);
        assert_eq!(timers.next_while_writing(true), Some(start + S(25)));
        assert_eq!(timers.due_while_writing(&config, true, start + S(24)), None);
        assert_eq!(timers.due_while_writing(&config, false, start + S(25)), None, "it knows of no pings");
        // A write from 20 s to 80 s: nobody could hear a pong.
        for second in [25, 50, 75] {
            assert_eq!(timers.due_while_writing(&config, true, start + S(second)), Some(Due::Ping));
            timers.unheard(if second == 75 { S(5) } else { S(25) });
        }
        assert_eq!(timers.next_while_writing(true), Some(start + S(100)));
        assert_eq!(timers.due(&config, true, None, start + S(80)), None);
        assert_eq!(timers.next(&config, true, None), start + S(88));
        assert_eq!(timers.due(&config, true, None, start + S(88)), Some(Due::Close(Disconnect::NO_PONG)));
    }

    #[test]
    fn while_something_is_written_a_token_may_end_and_a_node_may_stop() {
        let (config, start) = (SessionConfig::default(), Instant::now());
        let mut timers = Timers::new(&config, start);
        timers.look(Some(start + S(3)));
        timers.leave(start + S(2), Disconnect::SHUTDOWN);
        assert_eq!(timers.next_while_writing(true), Some(start + S(2)));
        let mut due = |second| timers.due_while_writing(&config, true, start + S(second));
        assert_eq!(due(1), None);
        assert_eq!([due(3), due(3), due(3)], [Some(Due::Leave(Disconnect::SHUTDOWN)), Some(Due::Look), None]);
        assert_eq!(timers.next_while_writing(true), Some(start + S(25)));
    }
}
