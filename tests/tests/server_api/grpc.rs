//! The same by gRPC.

use std::collections::BTreeMap;

use http::uri::PathAndQuery;
use tonic::Code;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;
use wss_node::api::v1::server_api_client::ServerApiClient;
use wss_node::api::v1::{
    BatchRequest, Command as Asked, Expect, InfoRequest, MapPublishRequest, PublishRequest, PublishResponse,
};

use crate::scene::{Scene, publication, signed};

#[tokio::test(flavor = "multi_thread")]
async fn grpc_does_the_same_under_both_names() {
    let scene = Scene::open("").await;
    let channel = scene.channel().await;
    let mut api = ServerApiClient::new(channel.clone());
    let refused = api.info(InfoRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let (mut session, _) = scene.session().await;
    session.subscribe("news").await.unwrap();
    let publish = |data: &'static str| PublishRequest {
        channel: "news".to_owned(),
        data: data.as_bytes().into(),
        ..PublishRequest::default()
    };
    let answer = api.publish(signed(publish("{\"n\":1}"))).await.unwrap().into_inner();
    assert_eq!((answer.error, answer.result.unwrap().offset), (None, 1));
    assert_eq!(publication(&mut session).await["data"]["n"], 1);

    // An error is an answer, unless the status is asked for.
    let stale = PublishRequest { expect: Some(Expect { absent: true, ..Expect::default() }), ..publish("0") };
    let answer = api.publish(signed(stale.clone())).await.unwrap().into_inner();
    let error = answer.error.unwrap();
    assert_eq!((error.code, error.current.unwrap().offset), (113, 1));
    let mut by_status = signed(stale);
    by_status.metadata_mut().insert("x-centrifugo-error-mode", "transport".parse().unwrap());
    assert_eq!(api.publish(by_status).await.unwrap_err().code(), Code::AlreadyExists);

    let commands = vec![
        Asked { info: Some(InfoRequest {}), ..Asked::default() },
        Asked {
            map_publish: Some(MapPublishRequest {
                channel: "board:1".to_owned(),
                key: "a".to_owned(),
                data: "1".into(),
                tags: BTreeMap::from([("t".to_owned(), "u".to_owned())]),
                ..MapPublishRequest::default()
            }),
            ..Asked::default()
        },
    ];
    let replies =
        api.batch(signed(BatchRequest { commands, parallel: false })).await.unwrap().into_inner().replies;
    assert_eq!(replies[0].info.as_ref().unwrap().nodes[0].num_clients, 1);
    assert_eq!(replies[1].map_publish.as_ref().unwrap().offset, 1);

    // As a client made from Centrifugo's definition asks.
    let mut centrifugos = Grpc::new(channel);
    centrifugos.ready().await.unwrap();
    let path = PathAndQuery::from_static("/centrifugal.centrifugo.api.CentrifugoApi/Publish");
    let codec = ProstCodec::<PublishRequest, PublishResponse>::default();
    let answer = centrifugos.unary(signed(publish("{\"n\":2}")), path, codec).await.unwrap().into_inner();
    assert_eq!(answer.result.unwrap().offset, 2);
    assert_eq!(publication(&mut session).await["data"]["n"], 2);
}
