#![allow(clippy::unwrap_used)]

use std::task::Waker;

use jiff::Timestamp;

use super::*;
use crate::outbound::tests::texts;
use crate::service::tests::{admission, node};

fn commands(extra: &str) -> (Commands, Arc<Outbound>) {
    let outbound = Arc::new(Outbound::new(100_000));
    let node = node(extra);
    let admission = admission(&node);
    let registered = node.registry.open(&admission, &outbound, Timestamp::UNIX_EPOCH);
    let entry = Arc::clone(registered.entry());
    (Commands::new(node, Arc::clone(&outbound), admission, entry), outbound)
}

/// Takes a frame, and does what it asks for, as far as that needs nobody else.
pub(in crate::session) fn hear(commands: &mut Commands, text: &str) -> Result<bool, Disconnect> {
    let frame = commands.parse(text.as_bytes());
    let pong = commands.take(frame)?;
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(outcome) = commands.poll_done(&mut context) {
        commands.done(outcome);
    }
    Ok(pong)
}

fn sent(outbound: &Outbound) -> Vec<String> {
    texts(outbound).iter().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect()
}

#[test]
fn connect_subscribe_publish_unsubscribe() {
    let (mut commands, outbound) = commands("");
    hear(
        &mut commands,
        "{\"id\":1,\"connect\":{\"name\":\"js\"}}\n{\"id\":2,\"subscribe\":{\"channel\":\"c\"}}",
    )
    .unwrap();
    hear(&mut commands, r#"{"id":3,"publish":{"channel":"c","data":{"n":1}}}"#).unwrap();
    hear(&mut commands, r#"{"id":4,"unsubscribe":{"channel":"c"}}"#).unwrap();
    hear(&mut commands, r#"{"id":5,"publish":{"channel":"c","data":2}}"#).unwrap();
    let sent = sent(&outbound);
    assert!(sent[0].starts_with(r#"{"id":1,"connect":{"client":""#), "{sent:?}");
    assert_eq!(
        sent[1..],
        [
            r#"{"id":2,"subscribe":{}}"#,
            r#"{"push":{"channel":"c","pub":{"data":{"n":1}}}}"#,
            r#"{"id":3,"publish":{}}"#,
            r#"{"id":4,"unsubscribe":{}}"#,
            r#"{"id":5,"publish":{}}"#,
        ]
    );
}

#[test]
fn errors_are_replies_and_the_session_goes_on() {
    let (mut commands, outbound) = commands("[session]\nchannels = 1\nchannel_name_bytes = 4\n");
    hear(&mut commands, r#"{"id":1,"connect":{}}"#).unwrap();
    for (id, command, code) in [
        (2, r#""subscribe":{"channel":"c"}"#, 0),
        (3, r#""subscribe":{"channel":"c"}"#, 105),
        (4, r#""subscribe":{"channel":"d"}"#, 106),
        (5, r#""subscribe":{"channel":""}"#, 107),
        (6, r#""publish":{"channel":"longer","data":1}"#, 106),
        (7, r#""publish":{"channel":"c"}"#, 107),
        (8, r#""history":{"channel":"c"}"#, 108),
        (9, r#""unknown":{}"#, 104),
    ] {
        hear(&mut commands, &format!("{{\"id\":{id},{command}}}")).unwrap();
        let reply: serde_json::Value = serde_json::from_str(sent(&outbound).last().unwrap()).unwrap();
        assert_eq!(reply["error"]["code"].as_u64().unwrap_or(0), code, "{command}: {reply}");
        assert_eq!(reply["id"], id);
    }
    assert_eq!(hear(&mut commands, "{}"), Ok(true));
}

#[test]
fn what_is_not_the_protocol_ends_the_session() {
    for first in ["nonsense", "{}", r#"{"id":1,"subscribe":{"channel":"c"}}"#, r#"{"connect":{}}"#] {
        assert_eq!(hear(&mut commands("").0, first), Err(Disconnect::BAD_REQUEST), "{first}");
    }
    let (mut twice, _) = commands("");
    hear(&mut twice, r#"{"id":1,"connect":{}}"#).unwrap();
    assert_eq!(hear(&mut twice, r#"{"id":2,"connect":{}}"#), Err(Disconnect::BAD_REQUEST));
}
