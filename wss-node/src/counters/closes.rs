//! How sessions end: the close codes of both sides.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::{Kind, Metric};

/// Who closed a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Node,
    Client,
}

impl Side {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Client => "client",
        }
    }
}

/// Codes that clients send for a reason (RFC 6455 section 7.4.1 and its registry; the SDKs of Centrifuge send
/// 3000-3007), and those that stand for none (1005) and for a connection that was cut (1006). Others are told as 0, or
/// a client could make as many numbers as there are codes.
const OF_CLIENTS: [u16; 21] = [
    1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3001, 3002, 3003,
    3004, 3005, 3006, 3007,
];
/// Codes of this node that are told before they occur, so that a rate can be taken of the first.
const OF_THIS_NODE: [u16; 9] = [1002, 1007, 1009, 1013, 3001, 3008, 3012, 3501, 3502];
/// A code that is told as another.
const OTHER: u16 = 0;

/// Ended sessions by side and code. Behind a lock that is held for nanoseconds, once in a session.
#[derive(Debug)]
pub(crate) struct Closes(Mutex<BTreeMap<(Side, u16), u64>>);

impl Default for Closes {
    fn default() -> Self {
        let of_node = OF_THIS_NODE.into_iter().map(|code| ((Side::Node, code), 0));
        let of_clients = OF_CLIENTS.into_iter().chain([OTHER]).map(|code| ((Side::Client, code), 0));
        Self(Mutex::new(of_node.chain(of_clients).collect()))
    }
}

impl Closes {
    /// A session has ended so. Codes of the node's side are its own: there are few.
    pub(crate) fn add(&self, side: Side, code: u16) {
        let known = side == Side::Node || OF_CLIENTS.contains(&code);
        let key = (side, if known { code } else { OTHER });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
    }

    pub(super) fn visit(&self, see: &mut dyn FnMut(&Metric<'_>)) {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for ((side, code), value) in counts {
            let code = if code == OTHER { "other".to_owned() } else { code.to_string() };
            see(&Metric {
                name: "wss_node.sessions.closed",
                unit: "{session}",
                kind: Kind::Counter,
                help: "Sessions that have ended, and upgrades closed at once (`reject = \"close\"`), by the side that \
                       closed and its code; 1005: the client gave none, 1006: the connection was cut",
                labels: &[("side", side.as_str()), ("code", &code)],
                value,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(closes: &Closes, side: &str, code: &str) -> Option<u64> {
        let mut found = None;
        closes.visit(&mut |metric| {
            if metric.labels == [("side", side), ("code", code)] {
                found = Some(metric.value);
            }
        });
        found
    }

    #[test]
    fn clients_make_no_codes_of_their_own() {
        let closes = Closes::default();
        for code in 0..=u16::MAX {
            closes.add(Side::Client, code);
        }
        closes.add(Side::Client, 1000);
        closes.add(Side::Node, 4503);
        assert_eq!(count(&closes, "client", "1000"), Some(2));
        assert_eq!(count(&closes, "client", "other"), Some(65_536 - 21));
        assert_eq!(count(&closes, "client", "4503"), None);
        assert_eq!(count(&closes, "node", "4503"), Some(1));
        assert_eq!(count(&closes, "node", "3008"), Some(0), "told before it occurs");
    }
}
