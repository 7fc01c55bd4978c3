use std::time::Instant;

use crate::wire::v1::Command;
use crate::wire::{Batch, Disconnect, FrameError, Framing, MAX_DEPTH, commands};

fn ids(framing: Framing, frame: &[u8], limit: usize) -> Result<Vec<u32>, FrameError> {
    commands(framing, frame, limit).map(|command| command.map(|command| command.id)).collect()
}

#[test]
fn a_frame_holds_several_commands_in_order() {
    let text = b"{\"id\":1,\"ping\":{}}\n\r\n{}\n {\"id\":2,\"rpc\":{}} \n\n";
    assert_eq!(ids(Framing::Json, text, 3), Ok(vec![1, 0, 2]));
    assert_eq!(ids(Framing::Protobuf, b"\x04\x08\x01\x5a\x00\x00\x04\x08\x02\x6a\x00", 3), Ok(vec![1, 0, 2]));
}

#[test]
fn a_frame_without_a_command_is_none() {
    for (framing, frame) in [(Framing::Json, &b""[..]), (Framing::Json, b" \n\n"), (Framing::Protobuf, b"")] {
        assert_eq!(commands(framing, frame, 1).collect::<Vec<_>>(), [Err(FrameError::Empty)]);
    }
}

#[test]
fn the_limit_of_commands_is_exact_and_errors_are_the_end() {
    for (framing, pong) in [(Framing::Json, &b"{}\n"[..]), (Framing::Protobuf, b"\0")] {
        assert_eq!(ids(framing, &pong.repeat(100), 100).unwrap().len(), 100);
        let mut many = commands(framing, &[&pong.repeat(101)[..]].concat(), 100).collect::<Vec<_>>();
        assert_eq!(many.pop(), Some(Err(FrameError::TooMany { limit: 100 })));
        assert!(many.len() == 100 && many.iter().all(|command| *command == Ok(Command::default())));
    }
    let broken = b"{}\n{\"id\":true}\n{}";
    let read = commands(Framing::Json, broken, 9).collect::<Vec<_>>();
    assert_eq!(read, [Ok(Command::default()), Err(FrameError::Json { command: 2, column: 10 })]);
    let error = read[1].as_ref().unwrap_err();
    assert_eq!(error.to_string(), "command 2 of the frame is not an object of the protocol: see its byte 10");
    assert_eq!(error.disconnect(), Disconnect::BAD_REQUEST);
}

#[test]
fn depth_is_limited_in_both_framings() {
    // The command and its request are two levels.
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!("{{\"id\":1,\"rpc\":{{\"data\":{open}{close}}}}}")
    };
    assert_eq!(ids(Framing::Json, nested(MAX_DEPTH - 2).as_bytes(), 1), Ok(vec![1]));
    let deep = FrameError::Deep { command: 1 };
    assert_eq!(ids(Framing::Json, nested(MAX_DEPTH - 1).as_bytes(), 1), Err(deep));
    assert_eq!(ids(Framing::Json, nested(1_000_000).as_bytes(), 1), Err(deep));

    // Filters within filters.
    let mut message = Vec::new();
    for _ in 0..20_000 {
        let mut outer = vec![0x32];
        prost::encoding::encode_varint(message.len() as u64, &mut outer);
        outer.extend(message.iter().copied().take(if message.len() > 60_000 { 0 } else { usize::MAX }));
        if outer.len() > 60_000 {
            break;
        }
        message = outer;
    }
    let mut subscribe = vec![0x6a];
    prost::encoding::encode_varint(message.len() as u64, &mut subscribe);
    subscribe.extend(&message);
    let mut command = vec![0x2a];
    prost::encoding::encode_varint(subscribe.len() as u64, &mut command);
    command.extend(&subscribe);
    let mut frame = Vec::new();
    prost::encoding::encode_varint(command.len() as u64, &mut frame);
    frame.extend(&command);
    assert!(frame.len() > 60_000);
    assert_eq!(ids(Framing::Protobuf, &frame, 1), Err(FrameError::Protobuf { command: 1 }));
}

/// A squared time would be minutes for these, even with optimisation.
#[test]
fn large_frames_take_no_longer_than_their_size_allows() {
    const SIZE: usize = 1_000_000;
    let mut fields = Vec::new();
    prost::encoding::encode_varint(SIZE as u64, &mut fields);
    fields.extend(b"\x08\x01".repeat(SIZE / 2));
    for (framing, frame) in [
        (Framing::Json, b"\n".repeat(SIZE)),
        (Framing::Json, b"{}\n".repeat(SIZE / 3)),
        (Framing::Json, b"{\"a\":".repeat(SIZE / 5)),
        (Framing::Json, b"\\\"".repeat(SIZE / 2)),
        (Framing::Json, [b"{", &b"\"a\":1,".repeat(SIZE / 6)[..], b"\"id\":1}"].concat()),
        (Framing::Protobuf, b"\0".repeat(SIZE)),
        (Framing::Protobuf, fields),
    ] {
        let start = Instant::now();
        assert!(commands(framing, &frame, usize::MAX).count() > 0);
        assert!(start.elapsed().as_secs() < 20, "{framing:?}: {:?}", start.elapsed());
    }
}

#[test]
fn a_batch_is_full_at_its_limit_and_begins_anew() {
    for (framing, expected) in [(Framing::Json, &b"{}\n{}"[..]), (Framing::Protobuf, b"\0\0")] {
        let mut batch = Batch::new(framing, expected.len());
        assert_eq!(batch.take(), None);
        batch.push_encoded(&framing.ping());
        assert!(!batch.is_full());
        batch.push_encoded(&framing.ping());
        assert!(batch.is_full());
        assert_eq!(batch.take().as_deref(), Some(expected));
        assert!(!batch.is_full());
        batch.push_encoded(&framing.ping());
        assert_eq!(batch.take(), Some(framing.ping()));
    }
}
