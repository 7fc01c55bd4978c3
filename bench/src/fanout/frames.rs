//! WebSocket frames as a client sees them (RFC 6455 section 5.2), read in place. A library would check more, and cost the
//! reader of hundreds of thousands of messages a second more than the servers spend on them. Pure.

/// A server sends smaller frames here.
const MAX_PAYLOAD: usize = 16 << 20;
/// Any will do: nothing between the two is misled by what is sent.
const MASK: [u8; 4] = [0x53, 0x65, 0x61, 0x6c];

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A message or a part of one.
    Message(&'a [u8]),
    /// To be answered with the same bytes.
    Ping(&'a [u8]),
    /// A close, with its code if it has one.
    Close(Option<u16>),
}

/// Bytes of a frame that has not come to its end.
#[derive(Debug, Default)]
pub(super) struct Frames {
    rest: Vec<u8>,
}

impl Frames {
    /// Takes what came next, and gives the frames that are whole.
    ///
    /// # Errors
    /// It is no frame, or too large for what is published here.
    pub(super) fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Frame<'_>)) -> Result<(), &'static str> {
        let used;
        if self.rest.is_empty() {
            used = whole(bytes, &mut each)?;
            self.rest.extend_from_slice(&bytes[used..]);
        } else {
            self.rest.extend_from_slice(bytes);
            used = whole(&self.rest, &mut each)?;
            self.rest.drain(..used);
        }
        if self.rest.is_empty() {
            // Ten thousand readers: what one large message needed is not kept.
            self.rest.shrink_to(4096);
        }
        Ok(())
    }
}

/// Gives all whole frames; tells how many bytes they are.
fn whole(bytes: &[u8], each: &mut impl FnMut(Frame<'_>)) -> Result<usize, &'static str> {
    let mut at = 0;
    while let Some((opcode, from, to)) = head(&bytes[at..])? {
        let payload = &bytes[at + from..at + to];
        match opcode {
            0..=2 => each(Frame::Message(payload)),
            8 => each(Frame::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code)))),
            9 => each(Frame::Ping(payload)),
            10 => {}
            _ => return Err("a frame of an unknown kind"),
        }
        at += to;
    }
    Ok(at)
}

/// Opcode, and where the payload begins and ends; `None` if not all is there.
fn head(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>, &'static str> {
    let [first, second, ..] = *bytes else { return Ok(None) };
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Err("a frame with an extension or a mask");
    }
    let (from, length) = match second {
        126 => {
            let Some(length) = bytes.get(2..4).and_then(<[u8]>::first_chunk) else { return Ok(None) };
            (4, usize::from(u16::from_be_bytes(*length)))
        }
        127 => {
            let Some(length) = bytes.get(2..10).and_then(<[u8]>::first_chunk) else { return Ok(None) };
            (10, usize::try_from(u64::from_be_bytes(*length)).unwrap_or(usize::MAX))
        }
        length => (2, usize::from(length)),
    };
    if length > MAX_PAYLOAD {
        return Err("a frame too large");
    }
    Ok((bytes.len() >= from + length).then_some((first & 0x0f, from, from + length)))
}

/// What a client's frame is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Opcode {
    /// A text message.
    Text = 1,
    /// A binary message.
    Binary = 2,
    /// The answer to a ping.
    Pong = 10,
}

/// Appends a masked frame.
pub(super) fn write(into: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    into.push(0x80 | opcode as u8);
    match payload.len() {
        length @ 0..126 => into.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            into.push(0x80 | 126);
            into.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            into.push(0x80 | 127);
            into.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    into.extend_from_slice(&MASK);
    into.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn served(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&mut bytes, Opcode::Text, payload);
        let head = bytes.len() - payload.len() - MASK.len();
        bytes[0] = 0x80 | opcode;
        bytes[1] &= 0x7f;
        bytes.truncate(head);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_came() {
        let (small, large, huge) = (vec![b'a'; 125], vec![b'b'; 126], vec![b'c'; 70_000]);
        let mut stream = Vec::new();
        for payload in [&small, &large, &huge] {
            stream.extend(served(1, payload));
            stream.extend(served(9, b"p"));
        }
        stream.extend(served(8, &3008_u16.to_be_bytes()));
        for piece in [1, 7, 4096, stream.len()] {
            let (mut frames, mut came) = (Frames::default(), Vec::new());
            for bytes in stream.chunks(piece) {
                let each = |frame: Frame<'_>| {
                    came.push(match frame {
                        Frame::Message(payload) => (payload.len(), None),
                        Frame::Ping(payload) => (payload.len(), Some(0)),
                        Frame::Close(code) => (0, code),
                    });
                };
                frames.take(bytes, each).unwrap();
            }
            let (ping, message) = ((1, Some(0)), |length| (length, None));
            let all =
                [message(125), ping, message(126), ping, message(70_000), ping, (0, Some(3008))].to_vec();
            assert_eq!(came, all, "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_frame_of_a_server_is_refused() {
        let refused = |bytes: &[u8]| Frames::default().take(bytes, |_| {}).is_err();
        assert!(refused(&[0xc1, 0]) && refused(&[0x81, 0x80]) && refused(&[0x83, 0]));
        assert!(refused(&[0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0]));
        assert!(!refused(&[0x81, 127, 0, 0]));
    }
}
