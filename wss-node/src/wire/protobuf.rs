//! The Protobuf framing: messages one after the other, each after its length.

use prost::Message;
use prost::encoding::{DecodeContext, decode_key, decode_varint, skip_field};

/// The numbers of the bodies in `Command` and `Reply`, but for `Reply.error` (2), which has no counterpart.
const BODIES: std::ops::RangeInclusive<u32> = 4..=15;

/// Takes the first message off; nothing when its length is no varint or goes past the end.
pub(super) fn first_message<'a>(frame: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(decode_varint(frame).ok()?).ok()?;
    let (message, rest) = frame.split_at_checked(length)?;
    *frame = rest;
    Some(message)
}

/// Reads a command or a reply. Payloads are copied out of the frame: a slice of it would keep the whole frame in
/// memory for as long as history keeps one small publication of it.
pub(super) fn read<M: Message + Default>(message: &[u8]) -> Option<M> {
    let read = M::decode(message).ok()?;
    has_one_body(message).then_some(read)
}

/// Two bodies in one message are refused, as in JSON. By itself a oneof would take the last.
fn has_one_body(mut message: &[u8]) -> bool {
    let mut bodies = 0;
    while !message.is_empty() {
        let Ok((number, kind)) = decode_key(&mut message) else { return false };
        bodies += usize::from(BODIES.contains(&number));
        if skip_field(kind, number, &mut message, DecodeContext::default()).is_err() {
            return false;
        }
    }
    bodies <= 1
}
