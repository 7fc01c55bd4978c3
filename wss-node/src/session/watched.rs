//! A client's bytes on their way to the library, watched for where messages begin and end; and how many go the other way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::frames::Frames;

/// Gives what was read ahead, then the stream, and watches both.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    /// Read before the library was there to take it.
    ahead: Bytes,
    frames: Frames,
    /// Since when a message has been coming in.
    begun: Option<Instant>,
    /// Nothing more is read once a message has more parts.
    most_parts: Option<u32>,
    taken_bytes: u64,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, most_parts: u32) -> Self {
        let (ahead, frames) = (Bytes::new(), Frames::default());
        Self { stream, ahead, frames, begun: None, most_parts: Some(most_parts), taken_bytes: 0 }
    }

    /// Takes back what was read already.
    pub(super) fn unread(&mut self, bytes: Bytes) {
        self.ahead = bytes;
    }

    /// Since when a message has been coming in; `None`: it would be the first byte of one that comes next.
    pub(super) fn begun(&self) -> Option<Instant> {
        self.begun
    }

    /// Nothing was read for so long: what is coming in is not late by that.
    pub(super) fn unread_for(&mut self, time: Duration) {
        self.begun = self.begun.map(|begun| begun + time);
    }

    /// Whether a message was of more parts than allowed.
    pub(super) fn has_too_many_parts(&self) -> bool {
        self.most_parts.is_some_and(|most| self.frames.most_parts() > most)
    }

    /// What the stream has taken so far, in bytes.
    pub(super) fn taken_bytes(&self) -> u64 {
        self.taken_bytes
    }

    fn took(&mut self, taken: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &taken {
            self.taken_bytes += *bytes as u64;
        }
        taken
    }

    /// Reads on whatever comes: for the end of a connection.
    pub(super) fn lift(&mut self) {
        self.most_parts = None;
    }

    pub(super) fn stream(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_too_many_parts() {
            // Whoever polls looks at that next: nobody waits for a wake.
            return Poll::Pending;
        }
        let before = into.filled().len();
        if self.ahead.is_empty() {
            std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        } else {
            let fits = self.ahead.len().min(into.remaining());
            into.put_slice(&self.ahead[..fits]);
            self.ahead.advance(fits);
        }
        self.frames.take(&into.filled()[before..]);
        self.begun = if self.frames.is_within() { self.begun.or_else(|| Some(Instant::now())) } else { None };
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.took(taken)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.took(taken)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_was_read_ahead_comes_first_whatever_the_buffer() {
        let (mut other, stream) = tokio::io::duplex(64);
        other.write_all(b"def").await.unwrap();
        drop(other);
        let mut watched = Watched::new(stream, 64);
        watched.unread(Bytes::from_static(b"abc"));
        let mut two = [0; 2];
        watched.read_exact(&mut two).await.unwrap();
        let mut rest = Vec::new();
        watched.read_to_end(&mut rest).await.unwrap();
        assert_eq!((&two, rest.as_slice()), (b"ab", b"cdef".as_slice()));
    }
}
