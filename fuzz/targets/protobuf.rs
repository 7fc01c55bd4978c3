//! Binary frames of clients: what is read is the same after another round, and in JSON where its payloads are JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use wss_node::wire::v1::Command;
use wss_node::wire::{Framing, Limits, check, commands, replies};

fn one(framing: Framing, frame: &[u8]) -> Command {
    commands(framing, frame, 1).next().expect("there is one").expect("what we wrote can be read")
}

fn same_again(command: &Command) {
    if let Some(request) = &command.request {
        let _ = check(request, &Limits::default());
    }
    assert_eq!(one(Framing::Protobuf, &command.encode_length_delimited_to_vec()), *command);
    // Blanks around a payload and line feeds in it are lost on the way to JSON, so the first round may differ.
    let Ok(line) = serde_json::to_vec(command) else { return };
    assert!(!line.contains(&b'\n'));
    let again = one(Framing::Json, &line);
    assert_eq!(serde_json::to_vec(&again).expect("it is JSON"), line);
}

fuzz_target!(|data: &[u8]| {
    commands(Framing::Protobuf, data, 64).flatten().for_each(|command| same_again(&command));
    for reply in replies(Framing::Protobuf, data).unwrap_or_default() {
        let frame = Framing::Protobuf.encode(&reply).expect("Protobuf takes any payload");
        assert_eq!(replies(Framing::Protobuf, &frame), Some(vec![reply]));
    }
});
