//! What comes from whoever started this process: sockets that are open already, and an ear for how it goes.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use sealwire_proto::socket::{ListenError, Listener};
use sealwire_systemd::{Notifier, NotifyError, SocketError, Sockets};
use tokio::net::TcpListener;

use super::StartError;

/// `FileDescriptorName=` of the listener for http-01.
pub(super) const HTTP01: &str = "http01";
/// The same for tls-alpn-01.
pub(super) const TLS_ALPN01: &str = "tls-alpn01";
/// The same for the socket that nodes dial.
pub(super) const DELIVERY: &str = "delivery";
/// The same for the socket of the command line.
pub(super) const ADMIN: &str = "admin";

/// The service manager's part.
#[derive(Debug, Default)]
pub struct Outside {
    pub(super) sockets: Sockets,
    pub(super) notifier: Notifier,
}

impl Outside {
    /// What the environment says. Call once, before there are other threads.
    ///
    /// # Errors
    /// [`StartError`]: sockets were handed over and it is not clear what for, or the manager cannot be told anything.
    pub fn from_env() -> Result<Self, StartError> {
        let sockets = Sockets::from_env(&[HTTP01, TLS_ALPN01], &[DELIVERY, ADMIN])?;
        Ok(Self { sockets, notifier: Notifier::from_env()? })
    }

    /// The Unix socket that was handed over under this name, or else one of our own.
    pub(super) fn unix(&self, name: &str, key: &'static str, path: &Path) -> Result<Listener, StartError> {
        let listener = match self.sockets.unix(name)? {
            Some(given) => Listener::given(given, path),
            None => Listener::bind(path),
        };
        listener.map_err(|source: ListenError| StartError::Socket { key, source })
    }

    /// The TCP socket that was handed over under this name, or else one of our own.
    pub(super) async fn tcp(
        &self,
        name: &str,
        key: &'static str,
        address: SocketAddr,
    ) -> Result<TcpListener, StartError> {
        let Some(given) = self.sockets.tcp(name)? else { return super::start::listen(key, address).await };
        let listen = |source: io::Error| StartError::Listen { key, address, source, hint: "" };
        given.set_nonblocking(true).map_err(listen)?;
        TcpListener::from_std(given).map_err(listen)
    }

    /// Says so if a socket was handed over that nobody will accept from.
    pub(super) fn unused(&self, name: &str, why: &str) {
        if self.sockets.tcp(name).is_ok_and(|socket| socket.is_some()) {
            tracing::warn!(
                socket = name,
                why,
                "handed over for nothing: whoever connects waits in vain; disable its socket unit"
            );
        }
    }
}

impl From<SocketError> for StartError {
    fn from(error: SocketError) -> Self {
        Self::Activation(error.to_string())
    }
}

impl From<NotifyError> for StartError {
    fn from(error: NotifyError) -> Self {
        Self::Notify(error.to_string())
    }
}
