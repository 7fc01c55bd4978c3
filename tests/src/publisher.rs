//! A web server for CRLs and OCSP responses that may be slow, broken or too long.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What is at a path.
#[derive(Clone, Debug)]
pub enum Page {
    /// A body with its content type.
    Body(&'static str, Vec<u8>),
    /// A status without a body.
    Status(u16),
    /// The request is read and never answered.
    Stuck,
}

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct Publisher {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    pages: BTreeMap<String, Page>,
    asked: Vec<String>,
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Publisher {
    /// Listens on a port of its own; nothing is published yet.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(address: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((address, 0)).await;
        let listener = listener.unwrap_or_else(|error| panic!("{address}: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("{error}"));
        let shared = Arc::<Mutex<Shared>>::default();
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                // A client that goes away early is no matter.
                tokio::spawn(async move { serve(stream, &shared).await.ok() });
            }
        });
        Self { address, shared, task }
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Puts something at a path, and at all below it that has nothing of its own.
    pub fn publish(&self, path: &str, page: Page) {
        lock(&self.shared).pages.insert(path.to_owned(), page);
    }

    /// How often a path, or something below it, was asked for.
    #[must_use]
    pub fn asked(&self, path: &str) -> usize {
        lock(&self.shared).asked.iter().filter(|asked| asked.starts_with(path)).count()
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut stream: TcpStream, shared: &Mutex<Shared>) -> std::io::Result<()> {
    let mut read = vec![0; 8192];
    let length = stream.read(&mut read).await?;
    let head = String::from_utf8_lossy(&read[..length]).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let page = {
        let mut shared = lock(shared);
        shared.asked.push(path.clone());
        let longest =
            shared.pages.iter().filter(|(at, _)| path.starts_with(*at)).max_by_key(|(at, _)| at.len());
        longest.map_or(Page::Status(404), |(_, page)| page.clone())
    };
    let (status, kind, body) = match page {
        Page::Body(kind, body) => (200, kind, body),
        Page::Status(status) => (status, "text/plain", Vec::new()),
        Page::Stuck => std::future::pending().await,
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}
