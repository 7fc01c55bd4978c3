//! One connection through the proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::pump::{Course, pump};
use super::weather::{Sky, Way, Weather};

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides see the end of what the other says (FIN).
    Cut,
    /// Both sides get an error (RST).
    Reset,
}

/// A connection, open or not.
#[derive(Clone, Debug)]
pub struct Line {
    /// Counted from 0 in the order of arrival.
    pub number: u64,
    /// The client.
    pub peer: SocketAddr,
    own: Arc<watch::Sender<Option<Weather>>>,
    ends: Arc<watch::Sender<Option<End>>>,
    passed: Arc<Passed>,
}

#[derive(Debug, Default)]
struct Passed {
    to_client: AtomicU64,
    to_server: AtomicU64,
    swallowed: AtomicU64,
}

impl Line {
    pub(super) fn new(
        number: u64,
        peer: SocketAddr,
    ) -> (Self, watch::Receiver<Option<Weather>>, watch::Receiver<Option<End>>) {
        let (own, of_own) = watch::channel(None);
        let (ends, of_ends) = watch::channel(None);
        let line = Self { number, peer, own: own.into(), ends: ends.into(), passed: Arc::default() };
        (line, of_own, of_ends)
    }

    /// From now on, whatever is done to the others; `None`: as the others again.
    pub fn weather(&self, weather: Option<Weather>) {
        self.own.send_replace(weather);
    }

    /// Ends it.
    pub fn end(&self, how: End) {
        self.ends.send_replace(Some(how));
    }

    /// Bytes that went to the client and to the node.
    #[must_use]
    pub fn passed(&self) -> (u64, u64) {
        (self.passed.to_client.load(Ordering::Relaxed), self.passed.to_server.load(Ordering::Relaxed))
    }

    /// Bytes that went nowhere.
    #[must_use]
    pub fn swallowed(&self) -> u64 {
        self.passed.swallowed.load(Ordering::Relaxed)
    }

    /// Until both directions have ended, one is broken, or it is told to end.
    pub(super) async fn carry(
        &self,
        mut client: TcpStream,
        mut server: TcpStream,
        sky: Sky,
        mut ends: watch::Receiver<Option<End>>,
    ) {
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let how = {
            let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
            let Passed { to_client: there, to_server: back, swallowed } = &*self.passed;
            let up = Course { way: Way::ToServer, sky: sky.clone(), passed: back, swallowed };
            let down = Course { way: Way::ToClient, sky, passed: there, swallowed };
            let pumps = async {
                tokio::try_join!(pump(from_client, to_server, up), pump(from_server, to_client, down))
            };
            tokio::select! {
                done = pumps => done.is_err().then_some(End::Reset),
                told = ends.wait_for(Option::is_some) => told.ok().and_then(|told| *told),
            }
        };
        // Errors say that the other end is gone already.
        match how {
            Some(End::Reset) => {
                let _ = (client.set_zero_linger(), server.set_zero_linger());
            }
            Some(End::Cut) => {
                let _ = (client.shutdown().await, server.shutdown().await);
            }
            None => {}
        }
    }
}
