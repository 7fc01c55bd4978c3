//! Text frames of clients: what is read is the same after another round in either framing, and payloads that a client
//! with the JSON framing is given stay on one line.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use wss_node::wire::v1::{Command, Publication, Reply};
use wss_node::wire::{Broadcast, Form, Framing, Limits, check, commands, is_json, replies};

fn same_again(command: &Command) {
    if let Some(request) = &command.request {
        let _ = check(request, &Limits::default());
    }
    let line = serde_json::to_vec(command).expect("what was read from JSON is JSON");
    assert!(!line.contains(&b'\n'));
    for (framing, frame) in [(Framing::Json, line), (Framing::Protobuf, command.encode_length_delimited_to_vec())] {
        let again = commands(framing, &frame, 1).next().expect("there is one").expect("what we wrote can be read");
        assert_eq!(again, *command);
    }
}

/// The whole input as a payload.
fn publish(data: &[u8]) {
    let publication = Publication { data: Bytes::copy_from_slice(data), ..Publication::default() };
    let broadcast = Broadcast::new("c", publication, Some(Bytes::from_static(b"[\"the one before\"]")));
    for form in [Form::Plain, Form::Whole, Form::Delta] {
        let frame = broadcast.frame(Framing::Json, form);
        // Nothing is left out, and so is fine.
        assert_eq!(frame.is_ok(), is_json(data) || data.is_empty());
        let Ok(frame) = frame else { continue };
        let read: Vec<Reply> = replies(Framing::Json, &frame).expect("what we wrote can be read");
        assert_eq!(read.len(), 1);
    }
}

fuzz_target!(|data: &[u8]| {
    commands(Framing::Json, data, 64).flatten().for_each(|command| same_again(&command));
    publish(data);
});
