//! Requests by hand: what a test says on the wire to a node, and what it gets.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A WebSocket upgrade, with more header lines (each with its CRLF).
#[must_use]
pub fn upgrade(host: &str, headers: &str) -> String {
    format!(
        "GET /connection/websocket HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// Connects from an address of this machine.
///
/// # Errors
/// The connection is refused or reset.
pub async fn connect_from(source: IpAddr, address: SocketAddr) -> Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind(SocketAddr::new(source, 0))?;
    Ok(socket.connect(address).await?)
}

/// TLS on a connection that may have begun with something else.
///
/// # Errors
/// The handshake fails.
pub async fn tls(tcp: TcpStream, name: &str, config: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned())?;
    Ok(TlsConnector::from(config).connect(name, tcp).await?)
}

/// Says something, and reads the head of the answer.
///
/// # Errors
/// The connection ends before that.
pub async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &str) -> Result<String> {
    stream.write_all(request.as_bytes()).await?;
    // TLS keeps what it could not write at once, as when the task has used up its turn.
    stream.flush().await?;
    head(stream).await
}

/// Reads the head of an answer.
///
/// # Errors
/// The connection ends before that.
pub async fn head<S: AsyncRead + Unpin>(stream: &mut S) -> Result<String> {
    let mut head = Vec::new();
    let read = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        std::io::Result::Ok(())
    };
    let read = tokio::time::timeout(PATIENCE, read).await.context("no answer")?;
    read.with_context(|| format!("the answer ended after {:?}", String::from_utf8_lossy(&head)))?;
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The status code of an answer.
#[must_use]
pub fn code(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
}

/// What a node's admin address says: the status code and the body.
///
/// # Errors
/// It cannot be asked.
pub async fn admin(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.context("no answer")??;
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    Ok((code(head), body.to_owned()))
}

/// The counters of `/status`.
///
/// # Errors
/// It cannot be asked.
pub async fn counters(address: SocketAddr) -> Result<Value> {
    let (_, body) = admin(address, "/status").await?;
    Ok(serde_json::from_str::<Value>(&body)?["counters"].take())
}
