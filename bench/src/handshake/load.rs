//! Loops of connections on one processor: each makes a handshake, checks what came of it, says goodbye and begins
//! again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustls::HandshakeKind;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Target;
use crate::cpu;
use crate::loader_tls;
use crate::sample::Sample;
use crate::server::NAME;

/// Connections under way at the same time: enough that the server never waits for one.
const IN_FLIGHT: usize = 16;
/// A handshake that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(10);
/// Before anything counts.
const WARM_UP: Duration = Duration::from_millis(300);
/// An answer to an upgrade.
const MAX_HEAD_BYTES: usize = 4096;

/// What each connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A full handshake.
    Full,
    /// One that takes up the session before it, by its ticket.
    Resumed,
    /// A full one, and the request that is answered 101.
    Upgraded,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// From the TCP connect to the end of the handshake, or to the 101.
    pub took: Vec<Duration>,
    /// Handshakes that were not of the kind that was asked for: full ones, where no ticket was given or taken.
    pub others: usize,
    /// For how long.
    pub wall: Duration,
    /// What the server's processor spent on it.
    pub server: Duration,
    /// What the loader's did.
    pub loader: Duration,
}

impl Measured {
    /// All of both.
    pub fn add(&mut self, other: Self) {
        self.took.extend(other.took);
        self.others += other.others;
        self.wall += other.wall;
        self.server += other.server;
        self.loader += other.loader;
    }

    /// In a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.count() as f64 / self.wall.as_secs_f64()
    }

    /// The server's processor time for one.
    #[must_use]
    pub fn each(&self) -> Duration {
        self.server.div_f64(self.count().max(1) as f64)
    }

    fn count(&self) -> usize {
        self.took.len() + self.others
    }

    /// Part of the time (0 to 1) that the loader's processor was busy: near 1, it was the loader that was measured.
    #[must_use]
    pub fn loader_busy(&self) -> f64 {
        self.loader.as_secs_f64() / self.wall.as_secs_f64()
    }

    /// Of each.
    #[must_use]
    pub fn sample(&self) -> Sample {
        self.took.iter().copied().collect()
    }
}

/// Connections of one kind for so long.
///
/// # Errors
/// One failed.
pub async fn measure(target: &Target, kind: Kind, time: Duration) -> Result<Measured> {
    run(target, kind, WARM_UP).await?;
    let usage = || anyhow::Ok((cpu::of_all(target.pid)?, cpu::of(std::process::id())?));
    let ((server, loader), began) = (usage()?, Instant::now());
    let (took, others) = run(target, kind, time).await?;
    let (wall, after) = (began.elapsed(), usage()?);
    let (server, loader) = (after.0.saturating_sub(server), after.1.saturating_sub(loader));
    Ok(Measured { took, others, wall, server, loader })
}

/// What each of that kind took, and how many were of another.
async fn run(target: &Target, kind: Kind, time: Duration) -> Result<(Vec<Duration>, usize)> {
    let end = Instant::now() + time;
    let mut loops = JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let client = Client::new(target, kind)?;
        loops.spawn(async move {
            let (mut took, mut others) = (Vec::new(), 0);
            if kind == Kind::Resumed {
                // The one that gives the first ticket.
                client.connection().await?;
            }
            let expected = if kind == Kind::Resumed { HandshakeKind::Resumed } else { HandshakeKind::Full };
            while Instant::now() < end {
                match client.connection().await? {
                    (elapsed, kind) if kind == expected => took.push(elapsed),
                    _ => others += 1,
                }
            }
            anyhow::Ok((took, others))
        });
    }
    let (mut all, mut all_others) = (Vec::new(), 0);
    while let Some(one) = loops.join_next().await {
        let (took, others) = one?.with_context(|| target.name)?;
        all.extend(took);
        all_others += others;
    }
    Ok((all, all_others))
}

/// One loop's, with the tickets that it was given.
struct Client {
    address: std::net::SocketAddr,
    name: ServerName<'static>,
    tls: TlsConnector,
    upgrade: Option<String>,
}

impl Client {
    fn new(target: &Target, kind: Kind) -> Result<Self> {
        let upgrade = match kind {
            Kind::Upgraded => Some(target.upgrade.clone().context("it takes no sessions")?),
            Kind::Full | Kind::Resumed => None,
        };
        Ok(Self {
            address: target.address,
            name: ServerName::try_from(NAME)?,
            tls: TlsConnector::from(Arc::new(loader_tls::config(target.leaf, kind == Kind::Resumed)?)),
            upgrade,
        })
    }

    async fn connection(&self) -> Result<(Duration, HandshakeKind)> {
        tokio::time::timeout(LIMIT, self.patiently()).await.context("not done in time")?
    }

    async fn patiently(&self) -> Result<(Duration, HandshakeKind)> {
        let began = Instant::now();
        let tcp = TcpStream::connect(self.address).await.context("connect")?;
        tcp.set_nodelay(true)?;
        let mut stream = self.tls.connect(self.name.clone(), tcp).await.context("TLS")?;
        if let Some(request) = &self.upgrade {
            stream.write_all(request.as_bytes()).await?;
            switched(&mut stream).await?;
        }
        let took = began.elapsed();
        let kind = stream.get_ref().1.handshake_kind().context("a handshake of no kind")?;
        goodbye(&mut stream).await.context("the end")?;
        Ok((took, kind))
    }
}

/// Reads the answer to an upgrade, and what came with it.
async fn switched(stream: &mut TlsStream<TcpStream>) -> Result<()> {
    let mut head = Vec::with_capacity(MAX_HEAD_BYTES);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        ensure!(head.len() < MAX_HEAD_BYTES, "an answer without end");
        ensure!(stream.read_buf(&mut head).await? > 0, "no answer");
    }
    ensure!(head.starts_with(b"HTTP/1.1 101 "), "not upgraded: {}", String::from_utf8_lossy(&head));
    Ok(())
}

/// Says goodbye and reads to the end, tickets first: what is closed with unread bytes is reset. How the server ends it
/// is its own affair.
async fn goodbye(stream: &mut TlsStream<TcpStream>) -> Result<()> {
    stream.get_mut().1.send_close_notify();
    stream.flush().await?;
    let mut buffer = [0; 1024];
    while let Ok(read) = stream.read(&mut buffer).await {
        if read == 0 {
            break;
        }
    }
    Ok(())
}
