#![allow(clippy::unwrap_used)]

use super::*;
use crate::auth::Grant;
use crate::service::tests::{admission, node};
use crate::wire::Disconnect;
use sealwire_proto::v1::{self, SessionFilter};

struct Opened {
    registry: Arc<Registry>,
    sessions: Vec<Registered>,
}

/// Sessions of these users at these addresses.
fn opened(who: &[(&str, &str)]) -> Opened {
    let registry = Arc::new(Registry::default());
    let node = node("");
    let sessions = who
        .iter()
        .map(|(user, address)| {
            let mut admission = admission(&node);
            admission.client.address = address.parse().unwrap();
            admission.grant = Some(Grant { user: (*user).to_owned(), ..Grant::anonymous() });
            registry.open(&admission, &Arc::new(Outbound::new(1000)), Timestamp::UNIX_EPOCH)
        })
        .collect();
    Opened { registry, sessions }
}

fn filter(change: impl FnOnce(&mut SessionFilter)) -> Filter {
    let mut wire = SessionFilter::default();
    change(&mut wire);
    Filter::from_wire(&wire).unwrap()
}

fn users(page: &Page) -> Vec<String> {
    page.sessions.iter().map(|entry| entry.identity().user).collect()
}

#[test]
fn pages_are_in_order_and_miss_nobody() {
    let names: Vec<_> = (0..50).map(|number| format!("u{number:02}")).collect();
    let who: Vec<_> = names.iter().map(|name| (name.as_str(), "192.0.2.1")).collect();
    let Opened { registry, sessions } = opened(&who);
    let (mut after, mut seen) = (None, Vec::new());
    for _ in 0..5 {
        let page = registry.page(&Filter::default(), after, 12);
        assert_eq!(page.total, 50);
        seen.extend(users(&page));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, names);
    assert_eq!(registry.page(&Filter::default(), None, 50).next, None, "nothing is left after the last");
    drop(sessions);
    assert_eq!((registry.len(), registry.page(&Filter::default(), None, 1).total), (0, 0));
}

#[test]
fn filters_match_all_that_is_set() {
    let who = [("ada", "192.0.2.1"), ("bob", "192.0.2.200"), ("ada", "2001:db8::1"), ("", "198.51.100.1")];
    let Opened { registry, sessions } = opened(&who);
    let found = |filter: &Filter| registry.page(filter, None, 10).sessions.len();
    let everybody = filter(|_| {});
    assert!(everybody.is_everything());
    assert_eq!(found(&everybody), 4);
    let ada = filter(|filter| filter.user = "ada".into());
    assert!(!ada.is_everything());
    assert_eq!(found(&ada), 2);
    assert_eq!(found(&filter(|filter| filter.address = "192.0.2.0/25".into())), 1);
    assert_eq!(found(&filter(|filter| filter.address = "192.0.2.0/24".into())), 2);
    assert_eq!(found(&filter(|filter| filter.address = "::ffff:192.0.2.200".into())), 1);
    assert_eq!(found(&filter(|filter| filter.address = "2001:db8::/32".into())), 1);
    assert_eq!(found(&filter(|filter| filter.tenant = "acme".into())), 0);
    let both = filter(|filter| (filter.user, filter.address) = ("ada".into(), "192.0.2.0/24".into()));
    assert_eq!(found(&both), 1);
    let id = sessions[1].entry().id.to_string();
    assert_eq!(users(&registry.page(&filter(|filter| filter.session = id), None, 10)), ["bob"]);
    for wrong in ["192.0.2.0/33", "somewhere"] {
        let wire = SessionFilter { address: wrong.into(), ..SessionFilter::default() };
        assert!(Filter::from_wire(&wire).unwrap_err().starts_with(wrong));
    }
    let wire = SessionFilter { session: "7".into(), ..SessionFilter::default() };
    assert!(Filter::from_wire(&wire).unwrap_err().contains("id of a session"));
}

#[test]
fn those_that_match_are_closed_once() {
    let Opened { registry, sessions } = opened(&[("ada", "192.0.2.1"), ("bob", "192.0.2.2")]);
    let ada = filter(|filter| filter.user = "ada".into());
    let close = Close::from(Disconnect::SHUTDOWN);
    assert_eq!(registry.close(&ada, &close).len(), 1);
    assert_eq!(registry.close(&ada, &close).len(), 0, "it was told already");
    let states: Vec<_> = sessions.iter().map(|session| session.entry().state()).collect();
    assert_eq!(states, [State::Closing, State::Connecting]);
    sessions[0].entry().reached(State::Connected);
    assert_eq!(sessions[0].entry().state(), State::Closing);
}

#[test]
fn a_session_is_shown_with_what_it_did() {
    let Opened { sessions, .. } = opened(&[("ada", "192.0.2.1")]);
    let entry = sessions[0].entry();
    let at = |ms| Timestamp::from_millisecond(ms).unwrap();
    entry.reached(State::Connected);
    entry.identify(|identity| identity.client_name = "js".into());
    entry.heard(at(5), 2, 100);
    entry.told(at(6), 1, 10, false);
    assert_eq!(entry.wire().synced_ms, 0, "a reply is no publication");
    entry.told(at(7), 2, 20, true);
    entry.subscribed(3);
    let wire = entry.wire();
    assert_eq!((wire.user.as_str(), wire.client_name.as_str()), ("ada", "js"));
    assert_eq!((wire.heard_ms, wire.synced_ms, wire.subscriptions), (5, 7, 3));
    assert_eq!((wire.messages_in, wire.messages_out, wire.bytes_in, wire.bytes_out), (2, 3, 100, 30));
    assert_eq!(wire.state(), v1::SessionState::Connected);
}
