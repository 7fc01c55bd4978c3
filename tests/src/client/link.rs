//! One connection: TLS, WebSocket, and whole replies.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, header};
use prost::Message as _;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};
use wss_node::wire::v1::{Command, Reply};
use wss_node::wire::{Framing, Request, replies};

/// A connection with one framing.
#[derive(Debug)]
pub struct Link {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    framing: Framing,
    waiting: VecDeque<Reply>,
}

/// Why a connection is no more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The node has closed it.
    #[error("closed: {code} {reason}")]
    Closed {
        /// Of the close frame.
        code: u16,
        /// Its reason.
        reason: String,
    },
    /// Anything else.
    #[error("{0:#}")]
    Broken(#[from] anyhow::Error),
}

impl Link {
    /// Connects with TLS verified against the address, and upgrades.
    ///
    /// # Errors
    /// Whatever goes wrong on the way.
    pub async fn open(address: SocketAddr, tls: Arc<ClientConfig>, framing: Framing) -> anyhow::Result<Self> {
        let tcp = TcpStream::connect(address).await.context("connect")?;
        tcp.set_nodelay(true)?;
        let name = ServerName::IpAddress(address.ip().into());
        let stream = TlsConnector::from(tls).connect(name, tcp).await.context("TLS")?;
        let url = format!("wss://{address}/connection/websocket");
        let wanted = HeaderValue::from_static(framing.subprotocol());
        let builder = ClientBuilder::new().uri(&url)?.add_header(header::SEC_WEBSOCKET_PROTOCOL, wanted)?;
        let (socket, response) = builder.connect_on(stream).await.context("WebSocket upgrade")?;
        let chosen = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
        anyhow::ensure!(
            chosen.is_some_and(|chosen| chosen == framing.subprotocol()),
            "asked for {}, got {chosen:?}",
            framing.subprotocol()
        );
        Ok(Self { socket, framing, waiting: VecDeque::new() })
    }

    /// Sends a command.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn send(&mut self, id: u32, request: Request) -> anyhow::Result<()> {
        let command = Command { id, request: Some(request) };
        let frame = match self.framing {
            Framing::Json => serde_json::to_vec(&command)?,
            Framing::Protobuf => command.encode_length_delimited_to_vec(),
        };
        self.frame(frame).await
    }

    /// Sends a frame as it is, of the type that the framing has.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn frame(&mut self, frame: impl Into<bytes::Bytes>) -> anyhow::Result<()> {
        let frame = frame.into();
        let message = match self.framing {
            Framing::Json => Message::text(String::from_utf8(frame.to_vec())?),
            Framing::Protobuf => Message::binary(frame),
        };
        Ok(self.socket.send(message).await?)
    }

    /// Sends a message of the type that the framing has not.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn foreign(&mut self, frame: &'static str) -> anyhow::Result<()> {
        let is_text = self.framing.is_text();
        let message = if is_text { Message::binary(frame.as_bytes()) } else { Message::text(frame) };
        Ok(self.socket.send(message).await?)
    }

    /// The next reply or push. Pings are given back too (nothing is in them): [`Link::pong`] answers.
    ///
    /// Nothing is lost when it is not waited for to the end.
    ///
    /// # Errors
    /// The node closes the connection, or it is broken.
    pub async fn next(&mut self) -> Result<Reply, LinkError> {
        loop {
            if let Some(reply) = self.waiting.pop_front() {
                return Ok(reply);
            }
            let message = self.socket.next().await.context("the connection was cut")?;
            let message = message.context("the connection is broken")?;
            if let Some((code, reason)) = message.as_close() {
                return Err(LinkError::Closed { code: code.into(), reason: reason.to_owned() });
            }
            if !(message.is_text() || message.is_binary()) {
                continue;
            }
            if message.is_text() != self.framing.is_text() {
                return Err(anyhow::anyhow!("a message of the other framing: {message:?}").into());
            }
            let read = replies(self.framing, message.as_payload());
            self.waiting = read.with_context(|| format!("no replies: {message:?}"))?.into();
        }
    }

    /// Answers a ping.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn pong(&mut self) -> anyhow::Result<()> {
        self.frame(self.framing.ping()).await
    }
}
