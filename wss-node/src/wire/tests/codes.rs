use std::collections::BTreeSet;

use crate::wire::{Disconnect, ReplyError, Unsubscribed, v1};

#[test]
fn errors_are_numbered_without_a_gap_and_three_are_temporary() {
    assert!(ReplyError::ALL.iter().map(|error| error.code).eq(100..=113));
    let temporary: Vec<_> =
        ReplyError::ALL.iter().filter(|error| error.temporary).map(|error| error.code).collect();
    assert_eq!(temporary, [100, 111, 113]);
    let halted = ReplyError::HALTED;
    assert!(halted.temporary);
}

#[test]
fn close_codes_say_whether_clients_come_again() {
    let codes: BTreeSet<_> = Disconnect::ALL.iter().map(|disconnect| disconnect.code).collect();
    assert_eq!(codes.len(), Disconnect::ALL.len(), "each code once");
    for disconnect in Disconnect::ALL {
        assert_eq!(disconnect.reconnects(), disconnect.code < 3500, "{disconnect:?}");
        assert!(disconnect.reason.len() <= 123);
        assert_eq!(v1::Disconnect::from(disconnect).reconnect, disconnect.reconnects());
    }
    assert!(Disconnect::HALTED.reconnects());
    for (code, reconnects) in
        [(4000, true), (4499, true), (4500, false), (4999, false), (1009, false), (1012, true)]
    {
        assert_eq!(Disconnect { code, reason: "" }.reconnects(), reconnects, "{code}");
    }
}

#[test]
fn subscriptions_that_end_from_2500_are_made_again() {
    for (unsubscribed, again) in [
        (Unsubscribed::SERVER, false),
        (Unsubscribed::INSUFFICIENT, true),
        (Unsubscribed::EXPIRED, true),
        (Unsubscribed::STATE_INVALIDATED, true),
    ] {
        assert_eq!(unsubscribed.resubscribes(), again);
    }
}
