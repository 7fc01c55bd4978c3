//! What the servers are spoken to in: how to subscribe, how to publish, how to stay. Pure.

use super::frames::Opcode;

/// The command ids of [`Tongue::hello`].
const SUBSCRIBED: &str = r#""id":2"#;

/// A server's protocol above WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tongue {
    /// The Centrifuge client protocol, in JSON: ours and Centrifugo's.
    Centrifuge,
    /// NATS' text protocol.
    Nats,
    /// That of our scripts for servers that bring none: `+channel` subscribes, `channel`, a line feed and the payload
    /// publishes, and subscribers get the payload as it is.
    Plain,
}

impl Tongue {
    /// What is said first; without a channel, by who only publishes.
    #[must_use]
    pub(super) fn hello(self, channel: Option<&str>) -> String {
        match (self, channel) {
            (Self::Centrifuge, None) => r#"{"id":1,"connect":{}}"#.to_owned(),
            (Self::Centrifuge, Some(channel)) => {
                format!(
                    "{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{channel}\"}}}}"
                )
            }
            (Self::Nats, channel) => {
                let subscribe = channel.map_or(String::new(), |channel| format!("SUB {channel} 1\r\n"));
                let connect =
                    r#"{"verbose":false,"pedantic":false,"protocol":1,"lang":"rust","version":"1"}"#;
                format!("CONNECT {connect}\r\n{subscribe}PING\r\n")
            }
            (Self::Plain, None) => "+".to_owned(),
            (Self::Plain, Some(channel)) => format!("+{channel}"),
        }
    }

    /// Whether a message says that [`Tongue::hello`] was taken.
    #[must_use]
    pub(super) fn is_welcome(self, message: &str, subscribes: bool) -> bool {
        match self {
            Self::Centrifuge if subscribes => {
                message.lines().any(|line| line.contains(SUBSCRIBED) && line.contains(r#""subscribe""#))
            }
            Self::Centrifuge => message.lines().any(|line| line.contains(r#""connect""#)),
            Self::Nats => message.lines().any(|line| line == "PONG"),
            Self::Plain => message == "ok",
        }
    }

    /// Whether a message says that something was refused. Payloads never do.
    #[must_use]
    pub(super) fn is_refusal(self, message: &[u8]) -> bool {
        let needle: &[u8] = match self {
            Self::Centrifuge => br#""error""#,
            Self::Nats => b"-ERR",
            Self::Plain => return false,
        };
        memchr::memmem::find(message, needle).is_some()
    }

    /// The command that publishes.
    #[must_use]
    pub(super) fn publish(self, id: u64, channel: &str, payload: &[u8]) -> Vec<u8> {
        let (before, after) = match self {
            Self::Centrifuge => (format!(r#"{{"id":{id},"publish":{{"channel":"{channel}","data":"#), "}}"),
            Self::Nats => (format!("PUB {channel} {}\r\n", payload.len()), "\r\n"),
            Self::Plain => (format!("{channel}\n"), ""),
        };
        [before.as_bytes(), payload, after.as_bytes()].concat()
    }

    /// What to answer, if the message is or holds a ping of the protocol.
    #[must_use]
    pub(super) fn pong(self, message: &[u8]) -> Option<&'static [u8]> {
        match self {
            Self::Centrifuge => {
                let alone = message.starts_with(b"{}") || message.ends_with(b"\n{}");
                alone.then_some(b"{}")
            }
            Self::Nats => {
                let pinged = message.starts_with(b"PING\r\n") || message.ends_with(b"\r\nPING\r\n");
                pinged.then_some(b"PONG\r\n")
            }
            Self::Plain => None,
        }
    }

    /// What messages of a client are.
    #[must_use]
    pub(super) fn opcode(self) -> Opcode {
        match self {
            Self::Centrifuge | Self::Plain => Opcode::Text,
            Self::Nats => Opcode::Binary,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_welcome_is_told_from_all_else() {
        let subscribed = r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"x"}}"#;
        let connected = r#"{"id":1,"connect":{"client":"c","version":"v"}}"#;
        let both = format!("{connected}\n{subscribed}");
        let is = |tongue: Tongue, message: &str| tongue.is_welcome(message, true);
        assert!(is(Tongue::Centrifuge, subscribed) && is(Tongue::Centrifuge, &both));
        assert!(!is(Tongue::Centrifuge, connected));
        let refused = r#"{"id":2,"error":{"code":103}}"#;
        assert!(!is(Tongue::Centrifuge, refused) && Tongue::Centrifuge.is_refusal(refused.as_bytes()));
        assert!(Tongue::Centrifuge.is_welcome(connected, false));
        assert!(is(Tongue::Nats, "INFO {}\r\nPONG\r\n") && !is(Tongue::Nats, "INFO {}\r\n"));
    }

    #[test]
    fn commands_of_centrifuge_are_json_lines() {
        let hello = Tongue::Centrifuge.hello(Some("c"));
        let lines: Vec<serde_json::Value> =
            hello.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[1]["subscribe"]["channel"], "c");
        let publish = Tongue::Centrifuge.publish(3, "c", b"{\"a\":1}");
        let publish: serde_json::Value = serde_json::from_slice(&publish).unwrap();
        assert_eq!(publish["publish"]["data"]["a"], 1);
    }

    #[test]
    fn pings_are_answered_in_any_company() {
        assert!(
            Tongue::Centrifuge.pong(b"{}").is_some()
                && Tongue::Centrifuge.pong(b"{\"push\":1}\n{}").is_some()
        );
        assert!(Tongue::Centrifuge.pong(b"{\"push\":{}}").is_none());
        assert!(
            Tongue::Nats.pong(b"MSG c 1 2\r\n{}\r\nPING\r\n").is_some()
                && Tongue::Nats.pong(b"PONG\r\n").is_none()
        );
    }
}
