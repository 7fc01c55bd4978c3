//! A proxy between a client and a node that does to their connections what networks do: it delays, narrows, holds back,
//! swallows, cuts, resets and refuses, for all connections or for one, whenever the test says so.

mod line;
mod pump;
mod weather;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub use line::{End, Line};
pub use weather::{Flow, Weather};

use weather::Sky;

/// Open connections; one more is reset.
const LINES: usize = 4096;
/// Bytes that the kernel may hold of one direction on our side: little, so that a reader that stands still is felt by
/// the writer soon.
const SOCKET_BYTES: u32 = 64 * 1024;
/// To the target, on this machine.
const CONNECT: Duration = Duration::from_secs(10);

/// The proxy, until dropped; its connections are cut then.
#[derive(Debug)]
pub struct FaultProxy {
    /// Where clients connect.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    weather: watch::Sender<Weather>,
    listening: watch::Sender<bool>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<BTreeMap<u64, Line>>,
    accepted: AtomicU64,
    /// Whether the socket of the listener is there.
    is_bound: watch::Sender<bool>,
}

impl Shared {
    fn lines(&self) -> MutexGuard<'_, BTreeMap<u64, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FaultProxy {
    /// Listens on a port of its own in front of `target`; passes everything on until told otherwise.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(address: Ipv4Addr, target: SocketAddr) -> Self {
        let bound = listen((address, 0).into()).unwrap_or_else(|error| panic!("fault proxy: {error}"));
        let address = bound.local_addr().unwrap_or_else(|error| panic!("fault proxy: {error}"));
        let shared = Arc::<Shared>::default();
        let (weather, sky) = watch::channel(Weather::default());
        let (listening, wanted) = watch::channel(true);
        shared.is_bound.send_replace(true);
        let serve = Serve { address, target, shared: Arc::clone(&shared), sky, wanted };
        let task = tokio::spawn(serve.run(bound));
        Self { address, shared, weather, listening, task }
    }

    /// From now on, for every connection that has no weather of its own.
    pub fn weather(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// The open connections, oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.shared.lines().values().cloned().collect()
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Ends every connection; tells how many there were.
    pub fn end(&self, how: End) -> usize {
        let lines = self.lines();
        lines.iter().for_each(|line| line.end(how));
        lines.len()
    }

    /// New connections are refused (there is no listener any more), or taken again. Returns when it is so.
    ///
    /// # Panics
    /// When the address was taken by somebody else in the meantime.
    pub async fn refuse(&self, refuse: bool) {
        self.listening.send_replace(!refuse);
        let mut is_bound = self.shared.is_bound.subscribe();
        let done = tokio::time::timeout(CONNECT, is_bound.wait_for(|is_bound| *is_bound != refuse)).await;
        assert!(matches!(done, Ok(Ok(_))), "the fault proxy cannot listen on {} again", self.address);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    // Connections inherit it.
    socket.set_recv_buffer_size(SOCKET_BYTES)?;
    socket.bind(address)?;
    socket.listen(1024)
}

struct Serve {
    address: SocketAddr,
    target: SocketAddr,
    shared: Arc<Shared>,
    sky: watch::Receiver<Weather>,
    wanted: watch::Receiver<bool>,
}

impl Serve {
    async fn run(self, first: TcpListener) {
        let mut wanted = self.wanted.clone();
        let mut listener = Some(first);
        // Dropped with the task, which ends them all.
        let mut tasks = JoinSet::new();
        loop {
            let Some(bound) = &listener else {
                if wanted.wait_for(|wanted| *wanted).await.is_err() {
                    return;
                }
                match listen(self.address) {
                    Ok(again) => listener = Some(again),
                    // Whoever waits for it says so.
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
                self.shared.is_bound.send_replace(listener.is_some());
                continue;
            };
            tokio::select! {
                refused = wanted.wait_for(|wanted| !*wanted) => {
                    if refused.is_err() {
                        return;
                    }
                    listener = None;
                    self.shared.is_bound.send_replace(false);
                }
                accepted = bound.accept() => if let Ok((client, peer)) = accepted {
                    self.accepted(client, peer, &mut tasks);
                },
                Some(_) = tasks.join_next() => {}
            }
        }
    }

    fn accepted(&self, client: TcpStream, peer: SocketAddr, tasks: &mut JoinSet<()>) {
        let number = self.shared.accepted.fetch_add(1, Ordering::Relaxed);
        if self.shared.lines().len() >= LINES {
            // An error says that the client is gone already.
            let _ = client.set_zero_linger();
            return;
        }
        let (line, own, ends) = Line::new(number, peer);
        self.shared.lines().insert(number, line.clone());
        let sky = Sky { all: self.sky.clone(), own };
        let (shared, target) = (Arc::clone(&self.shared), self.target);
        tasks.spawn(async move {
            if let Ok(server) = connect(target).await {
                line.carry(client, server, sky, ends).await;
            } else {
                // As the target has done with us.
                let _ = client.set_zero_linger();
            }
            shared.lines().remove(&number);
        });
    }
}

async fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SOCKET_BYTES)?;
    let connected = tokio::time::timeout(CONNECT, socket.connect(target)).await;
    connected.map_err(|_| io::ErrorKind::TimedOut)?
}
