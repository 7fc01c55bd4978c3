//! Where frames and messages begin and end in what a client sends (RFC 6455 section 5.2). The library that reads them
//! tells of whole messages only; how many parts one has, and whether one was begun, must be known before. Pure, and
//! it judges nothing: what is wrong with a frame the library tells.

/// The head of a frame without the mask: two bytes and the longest extended length.
const MAX_HEAD: usize = 10;
/// On every frame of a client.
const MASK: u64 = 4;
/// A fragment that goes on (RFC 6455 section 5.2).
const CONTINUATION: u8 = 0;
/// Opcodes from here on are of control frames.
const CONTROL: u8 = 8;

/// What has been seen of a stream of frames.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    head: [u8; MAX_HEAD],
    /// Bytes of `head` that are there.
    have: u8,
    /// Bytes of the frame that are still to come after its head.
    left: u64,
    /// A message that is sent in parts has begun.
    is_open: bool,
    /// Parts of the message that was begun last.
    parts: u32,
    /// The most parts that any message had.
    most_parts: u32,
}

impl Frames {
    /// Takes the next bytes of the stream.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let passed = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= passed as u64;
                bytes = &bytes[passed..];
                continue;
            }
            self.head[usize::from(self.have)] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if let Some(length) = self.length() {
                self.left = length.saturating_add(if self.head[1] & 0x80 == 0 { 0 } else { MASK });
                self.have = 0;
                self.begin();
            }
        }
    }

    /// The length of the payload, once the head is whole.
    fn length(&self) -> Option<u64> {
        let (have, head) = (usize::from(self.have), &self.head);
        if have < 2 {
            return None;
        }
        match head[1] & 0x7f {
            126 => (have == 4).then(|| u64::from(u16::from_be_bytes([head[2], head[3]]))),
            127 => {
                (have == MAX_HEAD).then(|| head[2..].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
            }
            length => Some(u64::from(length)),
        }
    }

    /// A head is whole.
    fn begin(&mut self) {
        let (is_final, opcode) = (self.head[0] & 0x80 != 0, self.head[0] & 0x0f);
        if opcode >= CONTROL {
            return;
        }
        self.parts = if opcode == CONTINUATION { self.parts.saturating_add(1) } else { 1 };
        self.most_parts = self.most_parts.max(self.parts);
        self.is_open = !is_final;
    }

    /// Whether a message, or a frame of any kind, was begun and has not ended.
    pub(crate) fn is_within(&self) -> bool {
        self.is_open || self.have > 0 || self.left > 0
    }

    /// The most parts that any message had.
    pub(crate) fn most_parts(&self) -> u32 {
        self.most_parts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(first: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload {
            0..126 => bytes.push(0x80 | u8::try_from(payload).unwrap_or_default()),
            126..0x1_0000 => {
                bytes.push(0x80 | 126);
                bytes.extend(u16::try_from(payload).unwrap_or_default().to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend((payload as u64).to_be_bytes());
            }
        }
        bytes.extend(std::iter::repeat_n(0xff, 4 + payload));
        bytes
    }

    #[test]
    fn messages_in_parts_with_pings_between_them() {
        let mut frames = Frames::default();
        assert!(!frames.is_within());
        frames.take(&frame(0x81, 5));
        assert!(!frames.is_within());
        assert_eq!(frames.most_parts(), 1);
        frames.take(&frame(0x01, 300));
        frames.take(&frame(0x89, 4));
        assert!(frames.is_within(), "a ping does not end the message around it");
        frames.take(&frame(0x00, 0));
        frames.take(&frame(0x80, 70_000));
        assert!(!frames.is_within());
        assert_eq!(frames.most_parts(), 3);
        frames.take(&frame(0x82, 1));
        assert_eq!(frames.most_parts(), 3);
    }

    #[test]
    fn a_length_beyond_reason_is_never_reached() {
        let mut frames = Frames::default();
        frames.take(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        frames.take(&[0; 10_000]);
        assert!(frames.is_within());
    }

    proptest! {
        #[test]
        fn how_the_bytes_come_makes_no_difference(
            sizes in prop::collection::vec((0_usize..4, prop::sample::select(vec![0, 1, 125, 126, 65_535, 65_536])), 1..8),
            cut in 1_usize..97,
        ) {
            let kinds = [0x81, 0x01, 0x00, 0x89];
            let stream: Vec<u8> = sizes.iter().flat_map(|(kind, size)| frame(kinds[*kind], *size)).collect();
            let (mut whole, mut cuts) = (Frames::default(), Frames::default());
            whole.take(&stream);
            for piece in stream.chunks(cut) {
                cuts.take(piece);
            }
            prop_assert_eq!(whole.is_within(), cuts.is_within());
            prop_assert_eq!(whole.most_parts(), cuts.most_parts());
            // One byte less than all, and the last frame has not ended.
            let mut short = Frames::default();
            short.take(&stream[..stream.len() - 1]);
            prop_assert!(short.is_within());
        }
    }
}
