//! The official clients, unmodified, on channels of a real node, in both framings: recovery after cuts, history, presence,
//! procedures, values with deltas, maps, subscriptions by the node, tokens that end; and on two nodes that share channels.
#![allow(missing_docs, clippy::unwrap_used)]

use sealwire_tests::sdk::Maker;

#[path = "sdks/channels.rs"]
mod channels;
#[path = "sdks/cluster.rs"]
mod cluster;
#[path = "sdks/maps.rs"]
mod maps;
#[path = "sdks/scene.rs"]
mod scene;
#[path = "sdks/tokens.rs"]
mod tokens;

use scene::Scene;

const FRAMINGS: [&str; 2] = ["json", "protobuf"];

async fn official(maker: Maker) {
    let Some(mut scene) = Scene::open(maker).await else { return };
    for framing in FRAMINGS {
        channels::recovery(&mut scene, framing).await;
        channels::history(&mut scene, framing);
        channels::presence(&mut scene, framing);
        channels::procedures(&mut scene, framing);
        channels::values(&mut scene, framing).await;
        channels::slow(&mut scene, framing);
        tokens::subscriptions_by_the_node(&mut scene, framing).await;
        tokens::refresh(&mut scene, framing);
        // Release 0.7 of the client for Python has no maps.
        if maker == Maker::JavaScript {
            maps::maps(&mut scene, framing).await;
        }
    }
    scene.has_been_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript() {
    official(Maker::JavaScript).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python() {
    official(Maker::Python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_on_two_nodes() {
    cluster::shared(Maker::JavaScript).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_on_two_nodes() {
    cluster::shared(Maker::Python).await;
}
