use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use super::generate::{command, reply};
use crate::wire::{Batch, Framing, commands, replies};

const BOTH: [Framing; 2] = [Framing::Json, Framing::Protobuf];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn commands_are_the_same_in_both_framings(sent in vec(command(), 1..4)) {
        let json: Vec<String> = sent.iter().map(|command| serde_json::to_string(command).unwrap()).collect();
        let protobuf: Vec<u8> = sent.iter().flat_map(Message::encode_length_delimited_to_vec).collect();
        for (framing, frame) in BOTH.into_iter().zip([json.join("\n").into_bytes(), protobuf]) {
            let read: Result<Vec<_>, _> = commands(framing, &frame, 3).collect();
            prop_assert_eq!(read.unwrap(), sent.clone(), "{}", String::from_utf8_lossy(&frame));
        }
    }

    #[test]
    fn replies_are_the_same_in_both_framings(sent in vec(reply(), 0..4)) {
        for framing in BOTH {
            let mut batch = Batch::new(framing, usize::MAX);
            let mut again = Batch::new(framing, usize::MAX);
            for reply in &sent {
                batch.push(reply).unwrap();
                again.push_encoded(&framing.encode(reply).unwrap());
            }
            let frame = batch.take().unwrap_or_default();
            prop_assert_eq!(&frame, &again.take().unwrap_or_default());
            prop_assert_eq!(replies(framing, &frame).unwrap(), sent.clone());
        }
    }

    #[test]
    fn nothing_panics_and_what_is_read_reads_the_same_again(frame in vec(any::<u8>(), 0..300)) {
        for framing in BOTH {
            for command in commands(framing, &frame, 50).flatten() {
                let bytes = match framing {
                    Framing::Json => serde_json::to_vec(&command).unwrap(),
                    Framing::Protobuf => command.encode_length_delimited_to_vec(),
                };
                prop_assert_eq!(commands(framing, &bytes, 1).next(), Some(Ok(command)));
            }
        }
    }

    #[test]
    fn pieces_of_the_protocol_in_any_order_do_not_panic(pieces in vec(piece(), 0..40)) {
        let frame = pieces.concat();
        let read = commands(Framing::Json, frame.as_bytes(), 10).collect::<Vec<_>>();
        prop_assert!(read.len() <= 11);
    }
}

fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\n",
        "\"",
        "\\",
        "null",
        "1",
        "-1",
        "1e400",
        "true",
        "\"id\"",
        "\"connect\"",
        "\"publish\":{",
        "\"channel\":\"c\"",
        "\"data\":",
        "\"subs\"",
        "\"tf\"",
        "\"nodes\":[",
        "\"\\ud800\"",
        " ",
    ])
}
