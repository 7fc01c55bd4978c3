//! The latest decisions, for `wss-node why`. As many as configured, whoever floods the node.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use jiff::Timestamp;
use sealwire_proto::v1;

use super::{Entry, MAX_TEXT_CHARS};

/// A decision and when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) at: Timestamp,
    pub(crate) entry: Entry,
    /// The other end of the socket, where that is known.
    pub(crate) peer: Option<SocketAddr>,
}

impl Decision {
    /// What others may have written is kept at a limited length.
    pub(super) fn new(entry: &Entry, peer: Option<SocketAddr>, at: Timestamp) -> Self {
        let short = |text: &String| text.chars().take(MAX_TEXT_CHARS).collect::<String>();
        let entry =
            Entry { user: entry.user.as_ref().map(short), detail: short(&entry.detail), ..entry.clone() };
        Self { at, entry, peer }
    }

    fn is_about(&self, whom: &str, network: Option<IpNet>) -> bool {
        let entry = &self.entry;
        let named = |text: &Option<String>| text.as_deref() == Some(whom);
        let addresses = [entry.address, self.peer.map(|peer| peer.ip())];
        let within = |network: IpNet| {
            addresses.into_iter().flatten().any(|address| network.contains(&address.to_canonical()))
        };
        network.is_some_and(within) || named(&entry.session) || named(&entry.user)
    }
}

impl From<Decision> for v1::Decision {
    fn from(decision: Decision) -> Self {
        let Decision { at, entry, .. } = decision;
        Self {
            at_ms: at.as_millisecond(),
            what: entry.what.to_owned(),
            address: entry.address.map(|address| address.to_string()).unwrap_or_default(),
            session: entry.session.unwrap_or_default(),
            user: entry.user.unwrap_or_default(),
            tenant: entry.tenant.unwrap_or_default(),
            detail: entry.detail,
        }
    }
}

/// The latest decisions.
#[derive(Debug)]
pub(super) struct Memory {
    /// The newest last.
    kept: VecDeque<Decision>,
    most: usize,
    forgotten: u64,
}

impl Memory {
    pub(super) fn new(most: usize) -> Self {
        Self { kept: VecDeque::new(), most, forgotten: 0 }
    }

    pub(super) fn keep(&mut self, decision: Decision) {
        self.kept.push_back(decision);
        if self.kept.len() > self.most {
            self.kept.pop_front();
            self.forgotten += 1;
        }
    }

    /// The newest first. An address stands for itself, a network such as `2001:db8::/64` for all in it.
    pub(super) fn about(&self, whom: &str, limit: usize) -> Vec<Decision> {
        let address = whom.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
        let network = address.or_else(|_| whom.parse::<IpNet>()).ok();
        let about = self.kept.iter().rev().filter(|decision| decision.is_about(whom, network));
        about.take(limit).cloned().collect()
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn decision(address: &str, session: &str, user: &str, second: i64) -> Decision {
        let entry = Entry {
            what: "token_refused",
            address: address.parse().ok(),
            session: Some(session.to_owned()),
            user: Some(user.to_owned()),
            tenant: None,
            detail: "x".repeat(MAX_TEXT_CHARS + 1),
        };
        Decision::new(&entry, "10.0.0.1:5".parse().ok(), Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn whom_a_decision_was_about() {
        let mut memory = Memory::new(10);
        memory.keep(decision("192.0.2.1", "s1", "ann", 1));
        memory.keep(decision("::ffff:192.0.2.2", "s2", "192.0.2.1", 2));
        memory.keep(decision("2001:db8::1", "s3", "bob", 3));
        let seconds = |whom, limit| -> Vec<i64> {
            memory.about(whom, limit).iter().map(|decision| decision.at.as_second()).collect()
        };
        assert_eq!(seconds("192.0.2.1", 10), [2, 1], "an address, and a user who is called like it");
        assert_eq!(seconds("192.0.2.2", 10), [2]);
        assert_eq!(seconds("192.0.2.0/24", 10), [2, 1]);
        assert_eq!(seconds("2001:db8::/64", 10), [3]);
        assert_eq!(seconds("10.0.0.1", 2), [3, 2], "the proxy's");
        assert_eq!((seconds("s1", 10), seconds("bob", 10)), (vec![1], vec![3]));
        assert!(seconds("nobody", 10).is_empty() && seconds("", 10).is_empty());
        assert_eq!(memory.about("s1", 1)[0].entry.detail.len(), MAX_TEXT_CHARS);
    }

    #[test]
    fn a_flood_takes_no_more_than_its_room() {
        let mut memory = Memory::new(3);
        for second in 0..10 {
            memory.keep(decision("192.0.2.1", "s", "u", second));
        }
        assert_eq!((memory.about("u", 100).len(), memory.forgotten()), (3, 7));
        assert_eq!(memory.about("u", 1)[0].at.as_second(), 9);
        let mut nothing = Memory::new(0);
        nothing.keep(decision("192.0.2.1", "s", "u", 1));
        assert_eq!((nothing.about("u", 1).len(), nothing.forgotten()), (0, 1));
    }
}
