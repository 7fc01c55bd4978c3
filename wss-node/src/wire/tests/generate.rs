//! Any message of the protocol, with data that are JSON.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use crate::wire::v1::*;

pub(super) fn text() -> BoxedStrategy<String> {
    prop_oneof![Just(String::new()), "[a-z:_-]{1,12}", "\\PC{0,8}", Just("\"\\\n\u{2028}\u{0}é".to_owned())]
        .boxed()
}

/// JSON of one line: line feeds between tokens would be taken out on their way.
pub(super) fn data() -> BoxedStrategy<Bytes> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just(" ".to_owned() + "1.50e+3"),
        any::<i64>().prop_map(|number| number.to_string()),
        text().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            vec((text(), inner), 0..3).prop_map(|items| {
                let items = items.iter().map(|(key, value)| format!("{}:{value}", serde_json::json!(key)));
                format!("{{{}}}", items.collect::<Vec<_>>().join(","))
            }),
        ]
    });
    // Blanks around a value are not part of it.
    prop_oneof![Just(Bytes::new()), value.prop_map(|json| json.trim().to_owned().into())].boxed()
}

fn strings() -> BoxedStrategy<BTreeMap<String, String>> {
    btree_map(text(), text(), 0..3).boxed()
}

fn info() -> BoxedStrategy<ClientInfo> {
    (text(), text(), data(), data())
        .prop_map(|(user, client, conn_info, chan_info)| ClientInfo { user, client, conn_info, chan_info })
        .boxed()
}

pub(super) fn publication() -> BoxedStrategy<Publication> {
    let place = (any::<u64>(), any::<i64>(), any::<i64>(), any::<u64>());
    (data(), option::of(info()), place, strings(), any::<(bool, bool)>(), text(), text(), text())
        .prop_map(
            |(data, info, (offset, time, score, version), tags, (delta, removed), channel, key, epoch)| {
                Publication {
                    data,
                    info,
                    offset,
                    tags,
                    delta,
                    time,
                    channel,
                    key,
                    removed,
                    score,
                    epoch,
                    version,
                }
            },
        )
        .boxed()
}

fn publications() -> BoxedStrategy<Vec<Publication>> {
    vec(publication(), 0..3).boxed()
}

fn filter() -> BoxedStrategy<FilterNode> {
    let leaf = (text(), text(), text(), vec(text(), 0..3)).prop_map(|(key, cmp, val, vals)| FilterNode {
        key,
        cmp,
        val,
        vals,
        ..FilterNode::default()
    });
    leaf.prop_recursive(3, 8, 3, |inner| {
        (text(), vec(inner, 1..3)).prop_map(|(op, nodes)| FilterNode { op, nodes, ..FilterNode::default() })
    })
    .boxed()
}

fn subscribe_request() -> BoxedStrategy<SubscribeRequest> {
    let names = (text(), text(), text(), text(), text());
    let numbers = (any::<u64>(), any::<i64>(), any::<i32>(), any::<i32>(), any::<i32>());
    (names, numbers, any::<[bool; 5]>(), data(), option::of(filter()))
        .prop_map(
            |((channel, token, epoch, delta, cursor), (offset, flag, kind, phase, limit), is, data, tf)| {
                SubscribeRequest {
                    channel,
                    token,
                    recover: is[0],
                    epoch,
                    offset,
                    data,
                    positioned: is[1],
                    recoverable: is[2],
                    join_leave: is[3],
                    delta,
                    tf,
                    flag,
                    r#type: kind,
                    phase,
                    cursor,
                    limit,
                    asc: is[4],
                }
            },
        )
        .boxed()
}

fn subscribe_result() -> BoxedStrategy<SubscribeResult> {
    let numbers = (any::<u32>(), any::<u64>(), any::<i64>(), any::<i32>(), any::<i32>(), any::<u32>());
    (numbers, any::<[bool; 6]>(), (text(), text()), data(), (publications(), publications()))
        .prop_map(
            |(
                (ttl, offset, id, kind, phase, publish_debounce),
                is,
                (epoch, cursor),
                data,
                (publications, state),
            )| {
                SubscribeResult {
                    expires: is[0],
                    ttl,
                    recoverable: is[1],
                    epoch,
                    publications,
                    recovered: is[2],
                    offset,
                    positioned: is[3],
                    data,
                    was_recovering: is[4],
                    delta: is[5],
                    id,
                    r#type: kind,
                    phase,
                    cursor,
                    state,
                    publish_debounce,
                }
            },
        )
        .boxed()
}

fn connect_request() -> BoxedStrategy<ConnectRequest> {
    let names = (text(), text(), text(), text(), text());
    (names, data(), btree_map(text(), subscribe_request(), 0..3), strings(), any::<i64>())
        .prop_map(|((token, name, version, dict, profile), data, subs, headers, flag)| ConnectRequest {
            token,
            data,
            subs,
            name,
            version,
            headers,
            flag,
            dict,
            profile,
        })
        .boxed()
}

fn connect_result() -> BoxedStrategy<ConnectResult> {
    let names = (text(), text(), text(), text());
    let numbers = (any::<u32>(), any::<u32>(), any::<i64>(), any::<i64>());
    let dict = option::of((text(), data(), text()))
        .prop_map(|dict| dict.map(|(id, data, data_b64)| Dictionary { id, data, data_b64 }));
    (names, numbers, any::<(bool, bool)>(), data(), btree_map(text(), subscribe_result(), 0..3), dict)
        .prop_map(
            |(
                (client, version, session, node),
                (ttl, ping, time, flag),
                (expires, pong),
                data,
                subs,
                dict,
            )| {
                ConnectResult {
                    client,
                    version,
                    expires,
                    ttl,
                    data,
                    subs,
                    ping,
                    pong,
                    session,
                    node,
                    time,
                    flag,
                    dict,
                }
            },
        )
        .boxed()
}

fn sub_refresh_request() -> BoxedStrategy<SubRefreshRequest> {
    let items = vec((text(), any::<u64>()), 0..3)
        .prop_map(|items| items.into_iter().map(|(key, version)| KeyedItem { key, version }).collect());
    let batch = (text(), items).prop_map(|(signature, items)| TrackBatch { signature, items });
    (text(), text(), any::<i32>(), vec(batch, 0..3), vec(text(), 0..3))
        .prop_map(|(channel, token, kind, track, untrack)| SubRefreshRequest {
            channel,
            token,
            r#type: kind,
            track,
            untrack,
        })
        .boxed()
}

fn request() -> BoxedStrategy<command::Request> {
    let publish = (text(), data(), any::<i32>(), text(), any::<bool>()).prop_map(
        |(channel, data, kind, key, removed)| PublishRequest { channel, data, r#type: kind, key, removed },
    );
    let since = option::of((any::<u64>(), text()))
        .prop_map(|since| since.map(|(offset, epoch)| StreamPosition { offset, epoch }));
    let history = (text(), any::<i32>(), since, any::<bool>())
        .prop_map(|(channel, limit, since, reverse)| HistoryRequest { channel, limit, since, reverse });
    prop_oneof![
        connect_request().prop_map(Into::into).boxed(),
        subscribe_request().prop_map(Into::into).boxed(),
        text().prop_map(|channel| UnsubscribeRequest { channel }.into()),
        publish.prop_map(Into::into).boxed(),
        text().prop_map(|channel| PresenceRequest { channel }.into()),
        text().prop_map(|channel| PresenceStatsRequest { channel }.into()),
        history.prop_map(Into::into).boxed(),
        Just(PingRequest {}.into()),
        data().prop_map(|data| SendRequest { data }.into()),
        (data(), text()).prop_map(|(data, method)| RpcRequest { data, method }.into()),
        text().prop_map(|token| RefreshRequest { token }.into()),
        sub_refresh_request().prop_map(Into::into).boxed(),
    ]
    .boxed()
}

pub(super) fn command() -> BoxedStrategy<Command> {
    (any::<u32>(), option::weighted(0.9, request())).prop_map(|(id, request)| Command { id, request }).boxed()
}

fn event() -> BoxedStrategy<push::Event> {
    let connect = connect_result().prop_map(|result| Connect {
        client: result.client,
        version: result.version,
        data: result.data,
        subs: result.subs,
        expires: result.expires,
        ttl: result.ttl,
        ping: result.ping,
        pong: result.pong,
        session: result.session,
        node: result.node,
        time: result.time,
    });
    let subscribe = (any::<(bool, bool, u64)>(), text(), data()).prop_map(
        |((recoverable, positioned, offset), epoch, data)| Subscribe {
            recoverable,
            epoch,
            offset,
            positioned,
            data,
        },
    );
    prop_oneof![
        publication().prop_map(Into::into).boxed(),
        option::of(info()).prop_map(|info| Join { info }.into()),
        option::of(info()).prop_map(|info| Leave { info }.into()),
        (any::<u32>(), text()).prop_map(|(code, reason)| Unsubscribe { code, reason }.into()),
        data().prop_map(|data| Message { data }.into()),
        subscribe.prop_map(Into::into).boxed(),
        connect.prop_map(Into::into).boxed(),
        (any::<u32>(), text(), any::<bool>()).prop_map(|(code, reason, reconnect)| Disconnect {
            code,
            reason,
            reconnect
        }
        .into()),
        any::<(bool, u32)>().prop_map(|(expires, ttl)| Refresh { expires, ttl }.into()),
    ]
    .boxed()
}

fn answer() -> BoxedStrategy<reply::Answer> {
    let push = (any::<i64>(), text(), option::of(event()))
        .prop_map(|(id, channel, event)| Push { id, channel, event }.into());
    let refresh = (text(), text(), any::<(bool, u32)>())
        .prop_map(|(client, version, (expires, ttl))| RefreshResult { client, version, expires, ttl }.into());
    prop_oneof![
        (any::<u32>(), text(), any::<bool>()).prop_map(|(code, message, temporary)| Error {
            code,
            message,
            temporary
        }
        .into()),
        push,
        connect_result().prop_map(Into::into).boxed(),
        subscribe_result().prop_map(Into::into).boxed(),
        Just(UnsubscribeResult {}.into()),
        Just(PublishResult {}.into()),
        btree_map(text(), info(), 0..3).prop_map(|presence| PresenceResult { presence }.into()),
        any::<(u32, u32)>().prop_map(|(num_clients, num_users)| PresenceStatsResult {
            num_clients,
            num_users
        }
        .into()),
        (publications(), text(), any::<u64>()).prop_map(|(publications, epoch, offset)| HistoryResult {
            publications,
            epoch,
            offset
        }
        .into()),
        Just(PingResult {}.into()),
        data().prop_map(|data| RpcResult { data }.into()),
        refresh,
        (any::<(bool, u32)>(), publications()).prop_map(|((expires, ttl), items)| SubRefreshResult {
            expires,
            ttl,
            items
        }
        .into()),
    ]
    .boxed()
}

pub(super) fn reply() -> BoxedStrategy<Reply> {
    (any::<u32>(), option::weighted(0.9, answer())).prop_map(|(id, answer)| Reply { id, answer }).boxed()
}
