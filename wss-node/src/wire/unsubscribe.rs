//! Why the node ends a subscription. Codes are those of the Go library that Centrifugo is made of
//! (centrifugal/centrifuge, `unsubscribe.go`).

use super::v1;

/// A reason to end a subscription while the session goes on; said in a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribed {
    /// 2000 and more are sent to clients.
    pub code: u32,
    /// For people.
    pub reason: &'static str,
}

impl Unsubscribed {
    /// The client asked; never sent (`UnsubscribeCodeClient`).
    pub const CLIENT: Self = Self { code: 0, reason: "client unsubscribed" };
    /// The session ended; never sent (`UnsubscribeCodeDisconnect`).
    pub const DISCONNECT: Self = Self { code: 1, reason: "client disconnected" };
    /// An operator's or the application's word, for good (`UnsubscribeCodeServer`).
    pub const SERVER: Self = Self { code: 2000, reason: "server unsubscribe" };
    /// A gap: the client subscribes again and recovers (`UnsubscribeCodeInsufficient`).
    pub const INSUFFICIENT: Self = Self { code: 2500, reason: "insufficient state" };
    /// The subscription had its time: the client subscribes again, with a new token (`UnsubscribeCodeExpired`).
    pub const EXPIRED: Self = Self { code: 2501, reason: "subscription expired" };
    /// Token and state of the subscription are void: the client starts anew (`UnsubscribeCodeStateInvalidated`).
    pub const STATE_INVALIDATED: Self = Self { code: 2502, reason: "state invalidated" };

    /// Whether SDKs subscribe again by themselves: from 2500 (client SDK specification, "unsubscribe codes").
    #[must_use]
    pub const fn resubscribes(self) -> bool {
        self.code >= 2500
    }
}

impl From<Unsubscribed> for v1::Unsubscribe {
    fn from(unsubscribed: Unsubscribed) -> Self {
        Self { code: unsubscribed.code, reason: unsubscribed.reason.to_owned() }
    }
}
