//! One of every message, with every field that the peer knows.

use bytes::Bytes;
use wss_node::wire::ReplyError;
use wss_node::wire::v1::*;

/// The largest that a number of JavaScript holds exactly.
const LARGE: u64 = (1 << 53) - 1;

fn payload() -> Bytes {
    Bytes::from_static("{\"a\":[1,null,true],\"b\":\"é\\n\\\"😀\"}".as_bytes())
}

pub(crate) fn requests(maps: bool) -> Vec<Command> {
    let filter = FilterNode {
        op: "and".into(),
        nodes: vec![
            FilterNode {
                key: "t".into(),
                cmp: "in".into(),
                vals: vec!["a".into(), "b".into()],
                ..Default::default()
            },
            FilterNode { key: "u".into(), cmp: "gte".into(), val: "7".into(), ..Default::default() },
        ],
        ..Default::default()
    };
    let subscribe = SubscribeRequest {
        channel: "news:é".into(),
        token: "t".into(),
        recover: true,
        epoch: "e".into(),
        offset: LARGE,
        data: payload(),
        positioned: true,
        recoverable: true,
        join_leave: true,
        delta: "fossil".into(),
        tf: Some(filter),
        flag: 3,
        ..Default::default()
    };
    let connect = ConnectRequest {
        token: "t".into(),
        data: payload(),
        subs: [("server".to_owned(), SubscribeRequest { recover: true, offset: 3, ..Default::default() })]
            .into(),
        name: "js".into(),
        version: "1".into(),
        headers: [("x-a".to_owned(), "b".to_owned())].into(),
        flag: 1,
        ..Default::default()
    };
    let since = Some(StreamPosition { offset: LARGE, epoch: "e".into() });
    let channel = || "c".to_owned();
    let mut requests: Vec<command::Request> = vec![
        connect.into(),
        subscribe.into(),
        PublishRequest { channel: channel(), data: payload(), ..Default::default() }.into(),
        UnsubscribeRequest { channel: channel() }.into(),
        PresenceRequest { channel: channel() }.into(),
        PresenceStatsRequest { channel: channel() }.into(),
        HistoryRequest { channel: channel(), limit: -1, since, reverse: true }.into(),
        PingRequest {}.into(),
        RpcRequest { data: payload(), method: "server.time".into() }.into(),
        RefreshRequest { token: "t".into() }.into(),
        SubRefreshRequest { channel: channel(), token: "t".into(), ..Default::default() }.into(),
        SendRequest { data: payload() }.into(),
    ];
    if maps {
        let page = SubscribeRequest {
            channel: channel(),
            r#type: 1,
            phase: 2,
            cursor: "after".into(),
            limit: 100,
            asc: true,
            ..Default::default()
        };
        let items = vec![KeyedItem { key: "k".into(), version: LARGE }];
        let track = vec![TrackBatch { signature: "s".into(), items }];
        requests.extend([
            page.into(),
            PublishRequest {
                channel: channel(),
                data: payload(),
                r#type: 1,
                key: "k".into(),
                removed: false,
            }
            .into(),
            PublishRequest {
                channel: channel(),
                r#type: 1,
                key: "k".into(),
                removed: true,
                ..Default::default()
            }
            .into(),
            SubRefreshRequest { channel: channel(), r#type: 1, track, ..Default::default() }.into(),
            SubRefreshRequest {
                channel: channel(),
                r#type: 2,
                untrack: vec!["k".into()],
                ..Default::default()
            }
            .into(),
        ]);
    }
    let numbered = (1..).zip(requests).map(|(id, request)| Command { id, request: Some(request) });
    // And a pong.
    numbered.chain([Command::default()]).collect()
}

pub(crate) fn answers(maps: bool) -> Vec<Reply> {
    let info = || ClientInfo {
        user: "u".into(),
        client: "id".into(),
        conn_info: payload(),
        chan_info: Bytes::from_static(b"[]"),
    };
    let publication = Publication {
        data: payload(),
        info: Some(info()),
        offset: LARGE,
        tags: [("k".to_owned(), "é".to_owned())].into(),
        time: 1_795_000_000_000,
        channel: "c:x".into(),
        ..Default::default()
    };
    let keyed = Publication {
        data: payload(),
        offset: 7,
        key: "k".into(),
        score: -3,
        version: LARGE,
        epoch: "e".into(),
        ..Default::default()
    };
    let gone = Publication { key: "k".into(), removed: true, offset: 8, ..Default::default() };
    let mut subscribed = SubscribeResult {
        expires: true,
        ttl: 60,
        recoverable: true,
        epoch: "e".into(),
        publications: vec![
            publication.clone(),
            Publication { data: payload(), delta: true, ..Default::default() },
        ],
        recovered: true,
        offset: LARGE,
        positioned: true,
        data: payload(),
        was_recovering: true,
        delta: true,
        id: 9,
        ..Default::default()
    };
    if maps {
        subscribed.r#type = 1;
        subscribed.phase = 2;
        subscribed.cursor = "next".into();
        subscribed.state = vec![keyed.clone()];
        subscribed.publish_debounce = 50;
    }
    let connected = ConnectResult {
        client: "id".into(),
        version: "sealwire".into(),
        expires: true,
        ttl: 3600,
        data: payload(),
        subs: [("server".to_owned(), subscribed.clone())].into(),
        ping: 25,
        pong: true,
        session: "s".into(),
        node: "n".into(),
        time: 1_795_000_000_000,
        ..Default::default()
    };
    let pushed_connect = Connect {
        client: "id".into(),
        subs: [("server".to_owned(), SubscribeResult { offset: 1, ..Default::default() })].into(),
        ping: 25,
        ..Default::default()
    };
    let answers: Vec<reply::Answer> = vec![
        ReplyError::INTERNAL.into(),
        connected.into(),
        subscribed.into(),
        UnsubscribeResult {}.into(),
        PublishResult {}.into(),
        PresenceResult { presence: [("id".to_owned(), info())].into() }.into(),
        PresenceStatsResult { num_clients: 2, num_users: 1 }.into(),
        HistoryResult { publications: vec![publication.clone()], epoch: "e".into(), offset: LARGE }.into(),
        PingResult {}.into(),
        RpcResult { data: payload() }.into(),
        RefreshResult { client: "id".into(), version: "v".into(), expires: true, ttl: 9 }.into(),
        SubRefreshResult { expires: true, ttl: 9, ..Default::default() }.into(),
    ];
    let mut events: Vec<push::Event> = vec![
        publication.into(),
        Join { info: Some(info()) }.into(),
        Leave { info: Some(info()) }.into(),
        Unsubscribe { code: 2500, reason: "insufficient state".into() }.into(),
        Message { data: payload() }.into(),
        Subscribe { recoverable: true, epoch: "e".into(), offset: 3, positioned: true, data: payload() }
            .into(),
        pushed_connect.into(),
        Disconnect { code: 3001, reason: "shutdown".into(), reconnect: true }.into(),
        Refresh { expires: true, ttl: 9 }.into(),
    ];
    if maps {
        events.extend([keyed.into(), gone.into()]);
    }
    let answered = (1..).zip(answers).map(|(id, answer)| Reply::answer(id, answer));
    answered.chain(events.into_iter().map(|event| Reply::push("c", event))).collect()
}
