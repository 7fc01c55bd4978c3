//! A client that costs little: thousands of them share two cores with the server that they measure.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sealwire_tests::wire;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpSocket;
use tokio_rustls::client::TlsStream;

use super::frames::{self, Frame, Frames, Opcode};
use super::tongue::Tongue;
use crate::prober::provider;
use crate::server::NAME;

/// For a connection to come about, on a machine that is full of them.
const PATIENCE: Duration = Duration::from_secs(60);
/// Read at once: a whole TLS record.
const READ: usize = 16 * 1024 + 256;

/// A server to connect to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// What it speaks.
    pub(super) tongue: Tongue,
    tls: Arc<ClientConfig>,
}

impl Target {
    /// All are offered TLS 1.3 with one suite and one group, and no resumption.
    ///
    /// # Errors
    /// rustls has no TLS 1.3.
    pub(super) fn new(address: SocketAddr, tongue: Tongue) -> Result<Self> {
        let mut tls = ClientConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate))
            .with_no_client_auth();
        tls.resumption = Resumption::disabled();
        Ok(Self { address, tongue, tls: Arc::new(tls) })
    }
}

/// An open WebSocket.
#[derive(Debug)]
pub(super) struct Client {
    stream: Box<TlsStream<tokio::net::TcpStream>>,
    frames: Frames,
    tongue: Tongue,
}

impl Client {
    /// Connects and upgrades. `receive_bytes`: of the socket's buffer, if not the system's choice.
    ///
    /// # Errors
    /// Whatever goes wrong on the way, or too slowly.
    pub(super) async fn upgraded(target: &Target, receive_bytes: Option<u32>) -> Result<Self> {
        let upgraded = async {
            let socket = TcpSocket::new_v4()?;
            if let Some(bytes) = receive_bytes {
                socket.set_recv_buffer_size(bytes)?;
            }
            let tcp = socket.connect(target.address).await.context("connect")?;
            tcp.set_nodelay(true)?;
            let mut stream = Box::new(wire::tls(tcp, NAME, Arc::clone(&target.tls)).await.context("TLS")?);
            let head = wire::ask(&mut stream, &wire::upgrade(NAME, "")).await?;
            ensure!(wire::code(&head) == 101, "no upgrade: {head}");
            anyhow::Ok(Self { stream, frames: Frames::default(), tongue: target.tongue })
        };
        tokio::time::timeout(PATIENCE, upgraded).await.context("no connection in time")?
    }

    /// Connects, and subscribes to a channel if there is one.
    ///
    /// # Errors
    /// The server refuses, or does not answer in time.
    pub(super) async fn open(
        target: &Target,
        channel: Option<&str>,
        receive_bytes: Option<u32>,
    ) -> Result<Self> {
        let mut client = Self::upgraded(target, receive_bytes).await?;
        client.send(client.tongue.hello(channel).as_bytes()).await?;
        let tongue = client.tongue;
        let welcomed = async {
            let mut said = String::new();
            loop {
                client.read(|message| said.push_str(&String::from_utf8_lossy(message))).await?;
                if tongue.is_welcome(&said, channel.is_some()) {
                    return Ok(());
                }
                ensure!(!tongue.is_refusal(said.as_bytes()), "refused: {said}");
                said.push('\n');
            }
        };
        tokio::time::timeout(PATIENCE, welcomed).await.context("no welcome in time")??;
        Ok(client)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// The connection is over.
    pub(super) async fn send(&mut self, message: &[u8]) -> Result<()> {
        let mut bytes = Vec::with_capacity(message.len() + 14);
        frames::write(&mut bytes, self.tongue.opcode(), message);
        self.write(&bytes).await
    }

    /// Writes frames that are ready.
    ///
    /// # Errors
    /// The connection is over.
    pub(super) async fn write(&mut self, frames: &[u8]) -> Result<()> {
        self.stream.write_all(frames).await?;
        Ok(self.stream.flush().await?)
    }

    /// Reads what is there, waiting for something; pings are answered.
    ///
    /// # Errors
    /// The connection is over, with the code of the server's close, or was told something that is no frame.
    pub(super) async fn read(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let (frames, stream, tongue) = (&mut self.frames, &mut self.stream, self.tongue);
        let mut pongs = Vec::new();
        std::future::poll_fn(|cx| {
            // On the stack and within one poll: a buffer for each of ten thousand clients would not stay in the caches.
            let mut space = [const { MaybeUninit::uninit() }; READ];
            let mut buffer = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut **stream).poll_read(cx, &mut buffer))?;
            let received = match buffer.filled() {
                [] => Err(anyhow!("cut")),
                bytes => receive(frames, bytes, tongue, &mut each, &mut pongs),
            };
            Poll::Ready(received)
        })
        .await?;
        if pongs.is_empty() { Ok(()) } else { self.write(&pongs).await }
    }
}

/// Hands on messages, and appends the answers to pings.
fn receive(
    frames: &mut Frames,
    bytes: &[u8],
    tongue: Tongue,
    each: &mut impl FnMut(&[u8]),
    pongs: &mut Vec<u8>,
) -> Result<()> {
    let mut closed = None;
    let taken = frames.take(bytes, |frame| match frame {
        Frame::Message(message) => {
            if let Some(pong) = tongue.pong(message) {
                frames::write(pongs, tongue.opcode(), pong);
            }
            each(message);
        }
        Frame::Ping(payload) => frames::write(pongs, Opcode::Pong, payload),
        Frame::Close(code) => closed = Some(code),
    });
    taken.map_err(|why| anyhow!(why))?;
    if let Some(code) = closed {
        bail!("closed {code:?}");
    }
    Ok(())
}

/// What clients spend on chains is not measured: any certificate will do, if its key has signed the handshake.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
