//! Small HTTP for tests of challenges: a server that hands JSON to a function, and challtestsrv's management
//! interface, which sets DNS records. And what those tests have in common.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;

use sealwire_proto::v1::CertificateStatus;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::eventually;
use crate::pebble::Pebble;
use crate::process::run;
use crate::world::{AgentSettings, PATIENCE, World};

/// A request as a handler sees it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Path of the URL.
    pub path: String,
    /// Lines of the head, names in lower case as sent.
    pub head: Vec<String>,
    /// The JSON body.
    pub body: Value,
    /// The body as it was sent.
    pub bytes: Vec<u8>,
}

impl Request {
    /// Reads one with its body.
    pub(crate) async fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Self> {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
        let mut request = Self { path, head, body: Value::Null, bytes: Vec::new() };
        let length = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        request.body = serde_json::from_slice(&body).unwrap_or_default();
        request.bytes = body;
        Ok(request)
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// A server that ends with this.
#[derive(Debug)]
pub struct Service {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    /// Serves one request after the other; the handler gives the status.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start<F, R>(address: Ipv4Addr, handler: F) -> Self
    where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = u16> + Send,
    {
        let listener = TcpListener::bind((address, 0)).await;
        let listener = listener.unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("{error}"));
        let handler = Arc::new(handler);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let handler = Arc::clone(&handler);
                // A client that goes away early is no matter.
                tokio::spawn(async move { serve(stream, &*handler).await.ok() });
            }
        });
        Self { address, task }
    }
}

async fn serve<F, R>(stream: TcpStream, handler: &F) -> std::io::Result<()>
where
    F: Fn(Request) -> R,
    R: Future<Output = u16>,
{
    let mut stream = BufReader::new(stream);
    let status = handler(Request::read(&mut stream).await?).await;
    let reply = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
    stream.write_all(reply.as_bytes()).await
}

/// The DNS that Pebble asks.
#[derive(Clone, Copy, Debug)]
pub struct Dns {
    management: SocketAddr,
}

impl Dns {
    /// Of the challtestsrv whose management listens at `management`.
    #[must_use]
    pub const fn new(management: SocketAddr) -> Self {
        Self { management }
    }

    /// Adds a TXT value.
    pub async fn set_txt(&self, host: &str, value: &str) {
        self.post("set-txt", &json!({"host": dotted(host), "value": value})).await;
    }

    /// Removes all TXT values.
    pub async fn clear_txt(&self, host: &str) {
        self.post("clear-txt", &json!({"host": dotted(host)})).await;
    }

    /// Makes a name an alias.
    pub async fn set_cname(&self, host: &str, target: &str) {
        self.post("set-cname", &json!({"host": dotted(host), "target": dotted(target)})).await;
    }

    /// Any other change, such as `add-caa`, with its body.
    pub async fn set(&self, path: &str, body: &Value) {
        self.post(path, body).await;
    }

    async fn post(&self, path: &str, body: &Value) {
        let exchange = async {
            let mut stream = TcpStream::connect(self.management).await?;
            let body = body.to_string();
            let request = format!(
                "POST /{path} HTTP/1.1\r\nHost: dns\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(request.as_bytes()).await?;
            let mut reply = String::new();
            stream.read_to_string(&mut reply).await?;
            Ok::<_, std::io::Error>(reply)
        };
        let reply = exchange.await.unwrap_or_else(|error| panic!("challtestsrv: {error}"));
        assert!(reply.starts_with("HTTP/1.1 200"), "challtestsrv /{path}: {reply}");
    }
}

fn dotted(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

/// Adds lines to `[acme.pebble]` and what follows it; nothing is delivered.
#[must_use]
pub fn settings(pebble: &Pebble, acme: &str, identifiers: &[&str]) -> AgentSettings {
    AgentSettings {
        issuers: format!("{}{acme}", pebble.issuer),
        identifiers: identifiers.iter().map(|&name| name.to_owned()).collect(),
        certificate: "nodes = []\n".to_owned(),
        ..AgentSettings::default()
    }
}

/// Waits until there is a certificate.
pub async fn obtained(world: &World) -> CertificateStatus {
    eventually("a certificate", PATIENCE, || async { world.web().await.filter(|web| web.current.is_some()) })
        .await
}

/// The subjectAltName of the certificate "web", as openssl prints it.
#[must_use]
pub fn names(world: &World) -> String {
    let file = world.path("state/live/web/fullchain.pem");
    run(Command::new("openssl").args(["x509", "-noout", "-ext", "subjectAltName", "-in"]).arg(file)).out
}

/// A file that only we may read.
///
/// # Panics
/// When it cannot be written.
#[must_use]
pub fn secret(world: &World, name: &str, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = world.write(name, text);
    let owner_only = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, owner_only).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path.display().to_string()
}
