//! A small Centrifuge session for load: it connects, subscribes, publishes and reads. The official clients
//! say whether the protocol is right; this one opens hundreds of sessions in one process.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use sealwire_proto::anchors::Anchors;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

/// An open session.
#[derive(Debug)]
pub struct Session {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    /// Replies and pushes that came in one frame with an earlier one.
    waiting: Vec<Value>,
    next_id: u64,
}

/// A TLS configuration that trusts these roots.
///
/// # Errors
/// A root that rustls does not take.
pub fn tls(anchors: &Anchors) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in anchors.certificates() {
        roots.add(certificate.clone())?;
    }
    Ok(Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()))
}

impl Session {
    /// Connects with TLS verified against the address, upgrades, and says `connect`.
    ///
    /// # Errors
    /// Whatever goes wrong on the way.
    pub async fn open(address: SocketAddr, tls: Arc<ClientConfig>) -> Result<Self> {
        let mut session = Self::upgraded(address, tls, "/connection/websocket").await?;
        session.call("connect", json!({})).await?;
        Ok(session)
    }

    /// Connects and upgrades, and says nothing yet.
    ///
    /// # Errors
    /// Whatever goes wrong on the way.
    pub async fn upgraded(address: SocketAddr, tls: Arc<ClientConfig>, path: &str) -> Result<Self> {
        let tcp = TcpStream::connect(address).await.context("connect")?;
        tcp.set_nodelay(true)?;
        let name = ServerName::IpAddress(address.ip().into());
        let stream = TlsConnector::from(tls).connect(name, tcp).await.context("TLS")?;
        let url = format!("wss://{address}{path}");
        let (socket, _) =
            ClientBuilder::new().uri(&url)?.connect_on(stream).await.context("WebSocket upgrade")?;
        Ok(Self { socket, waiting: Vec::new(), next_id: 1 })
    }

    /// Subscribes to a channel.
    ///
    /// # Errors
    /// The node refuses, or the session breaks.
    pub async fn subscribe(&mut self, channel: &str) -> Result<()> {
        self.call("subscribe", json!({ "channel": channel })).await.map(|_| ())
    }

    /// Sends a publication without waiting for its acknowledgement, which [`Session::next`] returns; gives
    /// back its command id.
    ///
    /// # Errors
    /// The session breaks.
    pub async fn publish(&mut self, channel: &str, data: Value) -> Result<u64> {
        self.send("publish", json!({ "channel": channel, "data": data })).await
    }

    async fn send(&mut self, method: &str, params: Value) -> Result<u64> {
        let id = self.next_id;
        self.next_id += 1;
        let command = json!({ "id": id, method: params });
        self.socket.send(Message::text(command.to_string())).await?;
        Ok(id)
    }

    /// Sends a command and waits for its reply; pushes that come before it are passed over.
    ///
    /// # Errors
    /// The node refuses, or the session breaks.
    pub async fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        let id = self.send(method, params).await?;
        loop {
            let reply = self.next().await?;
            if reply["id"] == id {
                if let Some(error) = reply.get("error") {
                    bail!("{method}: {error}");
                }
                return Ok(reply);
            }
        }
    }

    /// The next reply or push; pings are answered on the way.
    ///
    /// # Errors
    /// The session is closed, with the node's code and reason, or broken.
    pub async fn next(&mut self) -> Result<Value> {
        loop {
            if let Some(value) = self.waiting.pop() {
                if value.as_object().is_some_and(serde_json::Map::is_empty) {
                    self.socket.send(Message::text("{}")).await?;
                    continue;
                }
                return Ok(value);
            }
            let message = self.socket.next().await.context("the connection was cut")??;
            if let Some((code, reason)) = message.as_close() {
                bail!("closed {code:?} {reason}");
            }
            let text = message.as_text().unwrap_or_default();
            let values: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
            self.waiting = values?;
            self.waiting.reverse();
        }
    }

    /// Ends the session in good order.
    pub async fn close(mut self) {
        // The other side may be gone already.
        let _ = self.socket.close().await;
    }
}
