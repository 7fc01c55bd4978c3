//! One direction of a connection.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::weather::{Flow, Sky, Way};

/// What is read at once.
const CHUNK_BYTES: usize = 4096;
/// Chunks on their way: with latency, as much as this may be under way at once.
const CHUNKS: usize = 16;
/// With a limit on the rate bytes go in so many pieces a second.
const PIECES_PER_SECOND: u32 = 50;

/// What a direction goes by, and where it is counted.
#[derive(Debug)]
pub(super) struct Course<'a> {
    pub(super) way: Way,
    pub(super) sky: Sky,
    pub(super) passed: &'a AtomicU64,
    pub(super) swallowed: &'a AtomicU64,
}

/// Passes bytes on until their end, and then the end.
pub(super) async fn pump(from: ReadHalf<'_>, to: WriteHalf<'_>, course: Course<'_>) -> io::Result<()> {
    let (queue, chunks) = mpsc::channel(CHUNKS);
    let ((), ()) = tokio::try_join!(read(from, queue, course.sky.clone()), write(to, chunks, course))?;
    Ok(())
}

async fn read(mut from: ReadHalf<'_>, queue: mpsc::Sender<(Instant, Vec<u8>)>, sky: Sky) -> io::Result<()> {
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let length = from.read(&mut chunk).await?;
        if length == 0 {
            return Ok(());
        }
        chunk.truncate(length);
        if queue.send((Instant::now() + sky.now().latency, chunk)).await.is_err() {
            return Ok(());
        }
    }
}

async fn write(
    mut to: WriteHalf<'_>,
    mut chunks: mpsc::Receiver<(Instant, Vec<u8>)>,
    Course { way, mut sky, passed, swallowed }: Course<'_>,
) -> io::Result<()> {
    while let Some((due, chunk)) = chunks.recv().await {
        tokio::time::sleep_until(due).await;
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            if sky.released(way).await == Flow::Swallowed {
                swallowed.fetch_add(rest.len() as u64, Ordering::Relaxed);
                break;
            }
            let rate = sky.now().bytes_per_second.map(|rate| rate.max(1));
            let most = rate.map_or(rest.len(), |rate| (rate / PIECES_PER_SECOND).max(1) as usize);
            let (piece, after) = rest.split_at(most.min(rest.len()));
            to.write_all(piece).await?;
            passed.fetch_add(piece.len() as u64, Ordering::Relaxed);
            rest = after;
            if let Some(rate) = rate {
                tokio::time::sleep(Duration::from_secs_f64(piece.len() as f64 / f64::from(rate))).await;
            }
        }
    }
    // An end that is swallowed is not seen either.
    if sky.released(way).await == Flow::Free { to.shutdown().await } else { Ok(()) }
}
