//! HTTP requests to a node, written by hand: from a chosen address, for a chosen name in the TLS handshake, with chosen
//! bytes; and the exact answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Who asks, and where.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Where the node listens.
    pub address: SocketAddr,
    /// What is trusted.
    pub tls: Arc<ClientConfig>,
    /// The name of the handshake.
    pub server_name: String,
    /// The address to connect from.
    pub source: Ipv4Addr,
    /// Sent before the handshake: a PROXY header.
    pub preface: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Header fields in the order they came, names in lower case.
    pub headers: Vec<(String, String)>,
    /// All of it; empty after a 101.
    pub body: String,
    /// What the connection has become, with what was read beyond the head.
    upgraded: Option<(TlsStream<TcpStream>, Vec<u8>)>,
}

impl Answer {
    /// The value of a header field that came once.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(found, _)| found == name);
        let value = values.next()?;
        values.next().is_none().then_some(value.1.as_str())
    }

    /// After a 101: all that the node sends until it ends the connection.
    ///
    /// # Errors
    /// It was no 101, or the node does not end it.
    pub async fn until_closed(self) -> Result<Vec<u8>> {
        let (mut stream, mut bytes) = self.upgraded.context("not upgraded")?;
        tokio::time::timeout(LIMIT, stream.read_to_end(&mut bytes)).await.context("the node goes on")??;
        Ok(bytes)
    }
}

impl Asker {
    /// The same from another address.
    #[must_use]
    pub fn from(&self, source: [u8; 4]) -> Self {
        Self { source: source.into(), ..self.clone() }
    }

    /// The same with another name in the handshake.
    #[must_use]
    pub fn named(&self, server_name: &str) -> Self {
        Self { server_name: server_name.to_owned(), ..self.clone() }
    }

    /// The same behind a proxy that tells this client in a PROXY header.
    #[must_use]
    pub fn told(&self, client: &str) -> Self {
        let preface = format!("PROXY TCP4 {client} {} 40000 8443\r\n", self.address.ip());
        Self { preface, ..self.clone() }
    }

    /// Sends a request as it stands, with `\r\n` for every end of a line and after the last.
    ///
    /// # Errors
    /// Whatever goes wrong on the way.
    pub async fn ask(&self, request: &str) -> Result<Answer> {
        tokio::time::timeout(LIMIT, self.answer(request)).await.context("no answer in time")?
    }

    /// A WebSocket upgrade with these lines among its headers.
    ///
    /// # Errors
    /// As [`Asker::ask`].
    pub async fn upgrade(&self, path: &str, lines: &[&str]) -> Result<Answer> {
        self.ask(&upgrade(path, &self.server_name, lines)).await
    }

    async fn answer(&self, request: &str) -> Result<Answer> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.source, 0).into())?;
        let mut tcp = socket.connect(self.address).await.context("connect")?;
        tcp.write_all(self.preface.as_bytes()).await?;
        let name = ServerName::try_from(self.server_name.clone())?;
        let mut stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await.context("TLS")?;
        let request = format!("{}\r\n\r\n", request.lines().collect::<Vec<_>>().join("\r\n"));
        stream.write_all(request.as_bytes()).await?;
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            ensure!(stream.read_buf(&mut bytes).await? > 0, "cut within the head: {bytes:?}");
        };
        let rest = bytes.split_off(end + 4);
        let head = String::from_utf8(bytes)?;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?.parse()?;
        let fields = lines.filter_map(|line| line.split_once(':'));
        let headers =
            fields.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        if status == 101 {
            return Ok(Answer { status, headers, body: String::new(), upgraded: Some((stream, rest)) });
        }
        let mut body = rest;
        stream.read_to_end(&mut body).await?;
        Ok(Answer { status, headers, body: String::from_utf8(body)?, upgraded: None })
    }
}

/// The text of a WebSocket upgrade with these lines among its headers.
#[must_use]
pub fn upgrade(path: &str, host: &str, lines: &[&str]) -> String {
    let mut request = format!(
        "GET {path} HTTP/1.1\nHost: {host}\nUpgrade: websocket\nConnection: Upgrade\n\
         Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
    );
    for line in lines {
        request.push_str(line);
        request.push('\n');
    }
    request
}
