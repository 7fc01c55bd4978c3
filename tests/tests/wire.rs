//! The node's codecs against those of the official clients: what these write we read, what we write these read, in both
//! framings, with deltas.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sealwire_tests::process::run;
use sealwire_tests::tools;
use serde_json::{Value, json};
use wss_node::wire::v1::Reply;
use wss_node::wire::{Batch, Framing, commands};

#[path = "wire/chains.rs"]
mod chains;
#[path = "wire/messages.rs"]
mod messages;

use chains::Chains;

const FRAMINGS: [(&str, Framing); 2] = [("json", Framing::Json), ("protobuf", Framing::Protobuf)];

#[test]
fn javascript() {
    let (Some(node), Some(_)) = (tools::find("node"), tools::find("js/node_modules/centrifuge")) else {
        return;
    };
    let mut codec = Command::new(node);
    codec.arg(tools::repository().join("tests/clients/js/codec.mjs")).arg(tools::dir().join("js"));
    exchange(codec, &Peer { knows_maps: true });
}

#[test]
fn python() {
    let Some(python) = tools::find("python/bin/python") else { return };
    let mut codec = Command::new(python);
    codec.arg(tools::repository().join("tests/clients/python/codec.py"));
    exchange(codec, &Peer { knows_maps: false });
}

struct Peer {
    /// Release 0.7 of the client for Python has no map subscriptions yet.
    knows_maps: bool,
}

fn exchange(mut codec: Command, peer: &Peer) {
    let sent = messages::requests(peer.knows_maps);
    let answers = messages::answers(peer.knows_maps);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let chains = Chains::new(seed);

    let mut input = json!({ "commands": sent, "frames": {}, "chains": {} });
    for (name, framing) in FRAMINGS {
        input["frames"][name] =
            json!([frame(framing, &answers), frame(framing, &[]), frame(framing, &answers[..1])]);
        input["chains"][name] = chains.frames(framing);
    }
    let dir = tempfile::tempdir().unwrap();
    let [given, told] = ["input.json", "output.json"].map(|name| dir.path().join(name));
    std::fs::write(&given, input.to_string()).unwrap();
    let ran = run(codec.args([&given, &told]));
    assert_eq!(ran.code, 0, "{ran:?}");
    let told: Value = serde_json::from_slice(&std::fs::read(told).unwrap()).unwrap();

    for (name, framing) in FRAMINGS {
        let frame = STANDARD.decode(told["commands"][name].as_str().unwrap()).unwrap();
        let read: Vec<_> = commands(framing, &frame, sent.len()).collect::<Result<_, _>>().unwrap();
        for (read, sent) in read.iter().zip(&sent) {
            assert_eq!(json!(read), json!(sent), "{name}");
        }
        assert_eq!(read.len(), sent.len());

        let expected: Vec<_> = answers.iter().map(|reply| payloads_as_text(json!(reply))).collect();
        let frames = told["frames"][name].as_array().unwrap();
        for (told, expected) in frames[0].as_array().unwrap().iter().zip(&expected) {
            assert_eq!(told, expected, "{name}");
        }
        assert_eq!(frames[0].as_array().unwrap().len(), expected.len());
        // A ping is a frame of its own, and nothing in it.
        assert_eq!((&frames[1], &frames[2]), (&json!([{}]), &json!([expected[0]])), "{name}");

        assert_eq!(told["chains"][name], chains.told(framing), "{name}, seed {seed}");
    }
}

fn frame(framing: Framing, replies: &[Reply]) -> String {
    let mut batch = Batch::new(framing, usize::MAX);
    replies.iter().for_each(|reply| batch.push(reply).unwrap());
    STANDARD.encode(batch.take().unwrap_or_else(|| framing.ping()))
}

/// As the scripts tell them.
fn payloads_as_text(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| match name.as_str() {
                "data" | "conn_info" | "chan_info" => (name, Value::String(value.to_string())),
                _ => (name, payloads_as_text(value)),
            })
            .collect(),
        Value::Array(items) => items.into_iter().map(payloads_as_text).collect(),
        value => value,
    }
}
