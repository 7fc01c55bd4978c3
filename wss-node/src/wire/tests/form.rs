//! JSON and bytes as the SDKs write and expect them.

use bytes::Bytes;

use crate::wire::v1::*;
use crate::wire::{FrameError, Framing, NotJson, ReplyError, commands, replies};

fn json(reply: &Reply) -> String {
    String::from_utf8(Framing::Json.encode(reply).unwrap().to_vec()).unwrap()
}

fn read(line: &str) -> Result<Command, FrameError> {
    commands(Framing::Json, line.as_bytes(), 1).next().unwrap()
}

fn request(line: &str) -> command::Request {
    read(line).unwrap().request.unwrap()
}

#[test]
fn replies_leave_out_what_is_not_set() {
    let cases: [(reply::Answer, &str); 8] = [
        (UnsubscribeResult {}.into(), r#"{"id":7,"unsubscribe":{}}"#),
        (PublishResult {}.into(), r#"{"id":7,"publish":{}}"#),
        (SubscribeResult::default().into(), r#"{"id":7,"subscribe":{}}"#),
        (PingResult {}.into(), r#"{"id":7,"ping":{}}"#),
        (
            ReplyError::ALREADY_SUBSCRIBED.into(),
            r#"{"id":7,"error":{"code":105,"message":"already subscribed"}}"#,
        ),
        (
            ReplyError::INTERNAL.into(),
            r#"{"id":7,"error":{"code":100,"message":"internal server error","temporary":true}}"#,
        ),
        // SDKs read both without a default.
        (
            PresenceStatsResult::default().into(),
            r#"{"id":7,"presence_stats":{"num_clients":0,"num_users":0}}"#,
        ),
        (
            ConnectResult { client: "c".into(), ping: 25, pong: true, ..ConnectResult::default() }.into(),
            r#"{"id":7,"connect":{"client":"c","ping":25,"pong":true}}"#,
        ),
    ];
    for (answer, expected) in cases {
        assert_eq!(json(&Reply { id: 7, answer: Some(answer) }), expected);
    }
    assert_eq!(json(&Reply::default()), "{}");
    assert_eq!(Framing::Json.ping(), "{}");
    assert_eq!(Framing::Protobuf.encode(&Reply::default()).unwrap(), Framing::Protobuf.ping());
}

#[test]
fn data_are_passed_on_to_the_letter() {
    let command::Request::Publish(publish) = request(
        r#"{"id":1,"publish":{"channel":"a\"b","data":  {"z": 1.0,"a":[null], "big":12345678901234567890} }}"#,
    ) else {
        panic!()
    };
    let sent = Publication { data: publish.data, offset: u64::MAX, ..Publication::default() };
    assert_eq!(
        json(&Reply::publication(publish.channel, sent)),
        r#"{"push":{"channel":"a\"b","pub":{"data":{"z": 1.0,"a":[null], "big":12345678901234567890},"offset":18446744073709551615}}}"#
    );
}

#[test]
fn null_is_data_and_otherwise_nothing() {
    let command::Request::Publish(publish) = request(r#"{"id":1,"publish":{"channel":null,"data":null}}"#)
    else {
        panic!()
    };
    assert_eq!((publish.channel.as_str(), &publish.data[..]), ("", &b"null"[..]));
    let command = read(r#"{"id":null,"connect":null,"rpc":{}}"#).unwrap();
    assert_eq!(command, Command { id: 0, request: Some(RpcRequest::default().into()) });
    assert!(read("{\"connect\":null}").unwrap().is_pong());
}

#[test]
fn line_feeds_in_data_do_not_end_the_message() {
    let reply = Reply::publication(
        "c",
        Publication {
            data: Bytes::from_static(b"{\n  \"a\": \"x\\ny\",\r\n  \"b\": [1,\n2]\n}"),
            ..Publication::default()
        },
    );
    let line = json(&reply);
    assert_eq!(
        line,
        "{\"push\":{\"channel\":\"c\",\"pub\":{\"data\":{  \"a\": \"x\\ny\",\r  \"b\": [1,2]}}}}"
    );
    assert_eq!(replies(Framing::Json, line.as_bytes()).unwrap().len(), 1);
}

#[test]
fn data_that_are_not_json_go_to_protobuf_only() {
    for data in [&b"\xff\x00"[..], b"{", b"1 2", b"\"\xff\"", b"nul", "[".repeat(129).as_bytes()] {
        let closed =
            if data.starts_with(b"[") { [data, "]".repeat(129).as_bytes()].concat() } else { data.to_vec() };
        let reply = Reply::publication("c", Publication { data: closed.into(), ..Publication::default() });
        let mut frame = b"{}".to_vec();
        assert_eq!(Framing::Json.append(&reply, &mut frame), Err(NotJson), "{data:?}");
        assert_eq!(frame, b"{}", "as it was before");
        let frame = Framing::Protobuf.encode(&reply).unwrap();
        assert_eq!(replies(Framing::Protobuf, &frame), Some(vec![reply]));
    }
}

#[test]
fn what_is_not_known_is_passed_over() {
    let command =
        read(r#"{"id":3,"later":{"deep":[[]]},"subscribe":{"channel":"c","novelty":[1],"tf":{"x":1}}}"#)
            .unwrap();
    let tf = Some(FilterNode::default());
    let subscribe = SubscribeRequest { channel: "c".into(), tf, ..SubscribeRequest::default() };
    assert_eq!(command, Command { id: 3, request: Some(subscribe.into()) });
    // Protobuf: field 40, a varint; within connect, field 99, a string.
    let command = commands(Framing::Protobuf, b"\x0c\xc0\x02\x05\x08\x03\x22\x05\x9a\x06\x02hi", 1).next();
    assert_eq!(command, Some(Ok(Command { id: 3, request: Some(ConnectRequest::default().into()) })));
}

#[test]
fn fields_of_another_type_are_refused() {
    for line in [
        "[]",
        "7",
        "\"x\"",
        "null",
        "{",
        "{}{}",
        "{\"id\":\"1\"}",
        "{\"id\":-1}",
        "{\"id\":1.0}",
        "{\"id\":4294967296}",
        r#"{"id":1,"connect":[]}"#,
        r#"{"id":1,"connect":["t"]}"#,
        r#"{"id":1,"connect":7}"#,
        r#"{"id":1,"connect":{"subs":[]}}"#,
        r#"{"id":1,"connect":{"subs":{"c":["c"]}}}"#,
        r#"{"id":1,"subscribe":{"channel":7}}"#,
        r#"{"id":1,"subscribe":{"offset":"7"}}"#,
        r#"{"id":1,"subscribe":{"recover":1}}"#,
        r#"{"id":1,"subscribe":{"tf":["and"]}}"#,
        r#"{"id":1,"subscribe":{"tf":{"nodes":[["and"]]}}}"#,
        r#"{"id":1,"history":{"since":[1,"e"]}}"#,
        r#"{"id":1,"publish":{"channel":"a","channel":"b"}}"#,
        r#"{"id":1,"publish":{"data":{"a":}}}"#,
        r#"{"id":1,"ping":{},"rpc":{}}"#,
    ] {
        assert!(matches!(read(line), Err(FrameError::Json { command: 1, .. })), "{line}: {:?}", read(line));
    }
}

#[test]
fn protobuf_that_is_not_the_protocol_is_refused() {
    for (frame, expected) in [
        // A string that is not UTF-8; a varint that does not end; a wire type that is none; a group that does not end.
        (&b"\x05\x32\x03\x0a\x01\xff"[..], FrameError::Protobuf { command: 1 }),
        (b"\x02\x08\xff", FrameError::Protobuf { command: 1 }),
        (b"\x01\x0f", FrameError::Protobuf { command: 1 }),
        (b"\x02\x83\x02", FrameError::Protobuf { command: 1 }),
        // Ping and RPC in one; the same twice.
        (b"\x04\x5a\x00\x6a\x00", FrameError::Protobuf { command: 1 }),
        (b"\x04\x5a\x00\x5a\x00", FrameError::Protobuf { command: 1 }),
        (b"\x05\x08\x01", FrameError::Cut { command: 1 }),
        (b"\xff", FrameError::Cut { command: 1 }),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", FrameError::Cut { command: 1 }),
    ] {
        assert_eq!(commands(Framing::Protobuf, frame, 9).collect::<Vec<_>>(), [Err(expected)], "{frame:x?}");
    }
}

#[test]
fn subprotocols_name_the_framing() {
    for framing in [Framing::Json, Framing::Protobuf] {
        assert_eq!(Framing::of_subprotocol(framing.subprotocol()), Some(framing));
    }
    assert_eq!(Framing::of_subprotocol("centrifuge"), None);
    assert!(Framing::Json.is_text() && !Framing::Protobuf.is_text());
}

#[test]
fn secrets_are_not_in_debug_output() {
    let token = || "eyJtoken".to_owned();
    let track = vec![TrackBatch { signature: token(), items: vec![] }];
    let headers = [("authorization".to_owned(), token())].into();
    let subs = [("c".to_owned(), SubscribeRequest { token: token(), ..SubscribeRequest::default() })].into();
    for request in [
        ConnectRequest { token: token(), headers, subs, ..ConnectRequest::default() }.into(),
        SubscribeRequest { token: token(), ..SubscribeRequest::default() }.into(),
        RefreshRequest { token: token() }.into(),
        SubRefreshRequest { token: token(), track, ..SubRefreshRequest::default() }.into(),
    ] {
        let text = format!("{:?}", Command { id: 1, request: Some(request) });
        assert!(text.contains("<secret>") && !text.contains("eyJ"), "{text}");
    }
    let misplaced = read(r#"{"id":"eyJtoken"}"#).unwrap_err();
    assert!(!format!("{misplaced} {misplaced:?}").contains("eyJ"), "{misplaced}");
}
