//! Heads of frames as a server writes them (RFC 6455 section 5.2): a few bytes before a payload that many sessions
//! share, so that nothing is copied or queued on the way to the connection.

use std::array;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWrite;

use crate::outbound::Frame;

/// Frames that go out in one write, at most: 64 pieces, which is what one TLS record may be made of.
pub(super) const TOGETHER: usize = 32;
/// Two bytes and the longest length.
const LONGEST: usize = 10;
/// A frame that is a whole message.
const FINAL: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// What comes before a payload.
#[derive(Clone, Copy, Debug)]
struct Head {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Head {
    const EMPTY: Self = Self { bytes: [0; LONGEST], length: 0 };

    /// Of a message of so many bytes.
    fn of(payload: usize, is_text: bool) -> Self {
        let mut bytes = [0; LONGEST];
        bytes[0] = FINAL | if is_text { TEXT } else { BINARY };
        let length = match (u8::try_from(payload), u16::try_from(payload)) {
            (Ok(short), _) if short < 126 => {
                bytes[1] = short;
                2
            }
            (_, Ok(middle)) => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&middle.to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..].copy_from_slice(&(payload as u64).to_be_bytes());
                LONGEST
            }
        };
        Self { bytes, length }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Writes the first frames, `N` at most; tells how many bytes of them were taken.
///
/// # Errors
/// The connection is over, or takes nothing.
pub(super) fn poll_write<const N: usize, S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    frames: &VecDeque<Frame>,
    is_text: bool,
) -> Poll<io::Result<usize>> {
    let mut heads = [Head::EMPTY; N];
    for (head, frame) in heads.iter_mut().zip(frames) {
        *head = Head::of(frame.bytes.len(), is_text);
    }
    let count = frames.len().min(N);
    let parts: [[IoSlice<'_>; 2]; N] = array::from_fn(|index| {
        let payload = frames.get(index).map_or(&[][..], |frame| &frame.bytes[..]);
        [IoSlice::new(heads[index].bytes()), IoSlice::new(payload)]
    });
    let taken = ready!(Pin::new(stream).poll_write_vectored(cx, parts[..count].as_flattened()))?;
    if taken == 0 && count > 0 {
        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
    }
    Poll::Ready(Ok(taken))
}

/// Takes away what the connection has taken; gives back what is left of the last of those frames.
pub(super) fn taken(frames: &mut VecDeque<Frame>, mut bytes: usize, is_text: bool) -> Bytes {
    while bytes > 0
        && let Some(Frame { bytes: payload, .. }) = frames.pop_front()
    {
        let head = Head::of(payload.len(), is_text);
        let whole = head.length + payload.len();
        if bytes < head.length {
            let mut rest = BytesMut::with_capacity(whole - bytes);
            rest.extend_from_slice(&head.bytes()[bytes..]);
            rest.extend_from_slice(&payload);
            return rest.freeze();
        }
        if bytes < whole {
            return payload.slice(bytes - head.length..);
        }
        bytes -= whole;
    }
    Bytes::new()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::task::Waker;

    use futures_util::StreamExt;
    use proptest::prelude::*;
    use tokio_websockets::ClientBuilder;

    use super::*;

    /// Takes so many bytes at a time.
    struct Narrow {
        width: usize,
        all: Vec<u8>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.width);
            self.all.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            parts: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let whole: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
            self.poll_write(cx, &whole)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// All frames as a connection gets them that takes `width` bytes at a time.
    fn written(payloads: &[Bytes], width: usize, is_text: bool) -> Vec<u8> {
        let mut frames: VecDeque<Frame> = payloads.iter().cloned().map(Frame::new).collect();
        let (mut stream, mut cx) = (Narrow { width, all: Vec::new() }, Context::from_waker(Waker::noop()));
        while !frames.is_empty() {
            let Poll::Ready(Ok(bytes)) = poll_write::<TOGETHER, _>(&mut stream, &mut cx, &frames, is_text)
            else {
                panic!("it takes something");
            };
            let rest = taken(&mut frames, bytes, is_text);
            stream.all.extend_from_slice(&rest);
        }
        stream.all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_client_reads_what_was_written_whatever_the_connection_takes_at_a_time(
            sizes in prop::collection::vec(prop::sample::select(vec![0, 1, 125, 126, 300, 65_535, 65_536]), 1..70),
            width in 1_usize..200_000,
            is_text: bool,
        ) {
            let payloads: Vec<Bytes> = sizes.iter().map(|size| Bytes::from(vec![b'x'; *size])).collect();
            let bytes = written(&payloads, width, is_text);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(async {
                let stream = tokio::io::join(io::Cursor::new(bytes), tokio::io::sink());
                let mut client = ClientBuilder::new().take_over(stream);
                let mut read = Vec::new();
                while let Some(Ok(message)) = client.next().await {
                    assert_eq!(message.is_text(), is_text);
                    read.push(Bytes::from(message.into_payload()));
                }
                read
            });
            prop_assert_eq!(read, payloads);
        }
    }
}
