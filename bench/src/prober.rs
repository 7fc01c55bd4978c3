//! Full handshakes, one after the other: each is verified against the root, none is resumed, and each connection
//! ends in good order, so that what the server counts as failed has failed. All servers are offered the same, one
//! suite and one group, so that none of them is slow only because it chose the stronger of two.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use sealwire_proto::anchors::Anchors;
use sealwire_proto::validate::sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A handshake that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(10);
/// For the server to close after us.
const GOODBYE: Duration = Duration::from_secs(1);
/// After a failure, so that a dead server does not fill the memory with failures.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

/// SHA-256 of a leaf's DER.
pub type Leaf = [u8; 32];

/// One handshake.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When its TCP connection began.
    pub started: Instant,
    /// When it was done.
    pub ended: Instant,
    /// The leaf, or what went wrong.
    pub leaf: Result<Leaf, String>,
}

impl Seen {
    /// How long it took.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.ended - self.started
    }
}

/// Makes handshakes with one server.
#[derive(Clone)]
pub struct Prober {
    address: SocketAddr,
    name: ServerName<'static>,
    tls: TlsConnector,
}

impl Prober {
    /// A prober that asks for `name` and trusts these roots.
    ///
    /// # Errors
    /// The name is none, or rustls does not take a root.
    pub fn new(address: SocketAddr, name: &str, anchors: &Anchors) -> Result<Self> {
        let name = ServerName::try_from(name.to_owned()).with_context(|| format!("server name {name:?}"))?;
        let mut roots = RootCertStore::empty();
        for certificate in anchors.certificates() {
            roots.add(certificate.clone())?;
        }
        let mut tls = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // A resumed handshake presents no certificate.
        tls.resumption = Resumption::disabled();
        Ok(Self { address, name, tls: TlsConnector::from(Arc::new(tls)) })
    }

    /// What one handshake agrees on: suite and group.
    ///
    /// # Errors
    /// It failed.
    pub async fn negotiated(&self) -> Result<String> {
        let (mut stream, _) = tokio::time::timeout(LIMIT, self.connect()).await.context("no handshake")??;
        let (_, connection) = stream.get_ref();
        let suite = connection.negotiated_cipher_suite().context("no suite")?.suite();
        let group = connection.negotiated_key_exchange_group().context("no group")?.name();
        let text = format!("{suite:?} {group:?}");
        let _ = tokio::time::timeout(GOODBYE, goodbye(&mut stream)).await;
        Ok(text)
    }

    /// One handshake.
    pub async fn handshake(&self) -> Seen {
        let started = Instant::now();
        let outcome = tokio::time::timeout(LIMIT, self.connect()).await;
        let ended = Instant::now();
        let leaf = match outcome {
            Ok(Ok((mut stream, leaf))) => {
                // How a server ends a connection is not what is measured.
                let _ = tokio::time::timeout(GOODBYE, goodbye(&mut stream)).await;
                Ok(leaf)
            }
            Ok(Err(error)) => Err(format!("{error:#}")),
            Err(_) => Err(format!("not done within {LIMIT:?}")),
        };
        Seen { started, ended, leaf }
    }

    async fn connect(&self) -> Result<(TlsStream<TcpStream>, Leaf)> {
        let tcp = TcpStream::connect(self.address).await.context("connect")?;
        tcp.set_nodelay(true)?;
        let stream = self.tls.connect(self.name.clone(), tcp).await.context("TLS")?;
        let leaf = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let leaf = sha256(leaf.context("no certificate was presented")?);
        Ok((stream, leaf))
    }
}

/// What every server here speaks.
pub(crate) fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![kx_group::X25519],
        ..default_provider()
    }
}

/// Says goodbye and reads to the end: a connection closed with unread bytes (tickets) is reset, and the server
/// that ends it first keeps the port in TIME_WAIT, of which it has enough.
async fn goodbye(stream: &mut TlsStream<TcpStream>) -> std::io::Result<()> {
    stream.get_mut().1.send_close_notify();
    stream.flush().await?;
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Loops of handshakes, each without a pause, until [`Handshakes::stop`].
#[derive(Debug)]
pub struct Handshakes {
    stopping: Arc<AtomicBool>,
    loops: JoinSet<()>,
}

impl Handshakes {
    /// Starts so many loops; each handshake is told to the receiver.
    #[must_use]
    pub fn start(prober: &Prober, loops: usize) -> (Self, UnboundedReceiver<Seen>) {
        let (sender, seen) = unbounded_channel();
        let stopping = Arc::<AtomicBool>::default();
        let mut running = JoinSet::new();
        for _ in 0..loops {
            running.spawn(repeat(prober.clone(), Arc::clone(&stopping), sender.clone()));
        }
        (Self { stopping, loops: running }, seen)
    }

    /// Ends each loop with the handshake that it is at; the receiver ends after the last one.
    pub async fn stop(self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.loops.join_all().await;
    }
}

async fn repeat(prober: Prober, stopping: Arc<AtomicBool>, sender: UnboundedSender<Seen>) {
    while !stopping.load(Ordering::Relaxed) {
        let seen = prober.handshake().await;
        let failed = seen.leaf.is_err();
        if sender.send(seen).is_err() {
            return;
        }
        if failed {
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }
}
