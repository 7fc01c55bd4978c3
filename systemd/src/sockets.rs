//! Sockets that come from outside, as systemd hands them over (`sd_listen_fds(3)`): they stay open while one process
//! goes and the next one comes, so nobody is refused in between.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

/// What was handed over is not what was expected.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The names do not tell what the sockets are for.
    #[error("{0}")]
    Names(String),
    /// It is another kind of socket, or the system does not let us have it.
    #[error("socket \"{name}\": {source}")]
    Kind {
        /// Which.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Sockets that were handed over, by what they are for.
#[derive(Debug, Default)]
pub struct Sockets {
    tcp: BTreeMap<String, TcpListener>,
    unix: BTreeMap<String, UnixListener>,
}

impl Sockets {
    /// Takes what was handed over. Call once, before there are other threads: the environment is cleared of it. `tcp` and
    /// `unix` are the names (`FileDescriptorName=`) that are known here; a single socket without a name is the first
    /// of `tcp`.
    ///
    /// # Errors
    /// [`SocketError`]: something was handed over, and it is not clear what for.
    pub fn from_env(tcp: &[&str], unix: &[&str]) -> Result<Self, SocketError> {
        let mut given = ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let known: Vec<_> = tcp.iter().chain(unix).copied().collect();
        let names = uses(given.len(), &names, &known).map_err(SocketError::Names)?;
        let mut sockets = Self::default();
        for (position, name) in names.into_iter().enumerate() {
            let failed = |source| SocketError::Kind { name: name.clone(), source };
            if unix.contains(&name.as_str()) {
                let socket = given.take_unix_listener(position).map_err(failed)?;
                sockets.unix.extend(socket.map(|socket| (name, socket)));
            } else {
                let socket = given.take_tcp_listener(position).map_err(failed)?;
                sockets.tcp.extend(socket.map(|socket| (name, socket)));
            }
        }
        Ok(sockets)
    }

    /// The TCP socket of this name, if there is one. Each call gives the same one.
    ///
    /// # Errors
    /// [`SocketError::Kind`]: no descriptor is left.
    pub fn tcp(&self, name: &str) -> Result<Option<TcpListener>, SocketError> {
        self.tcp.get(name).map(TcpListener::try_clone).transpose().map_err(failed(name))
    }

    /// The Unix socket of this name, if there is one. Each call gives the same one.
    ///
    /// # Errors
    /// [`SocketError::Kind`]: no descriptor is left.
    pub fn unix(&self, name: &str) -> Result<Option<UnixListener>, SocketError> {
        self.unix.get(name).map(UnixListener::try_clone).transpose().map_err(failed(name))
    }
}

fn failed(name: &str) -> impl FnOnce(io::Error) -> SocketError {
    let name = name.to_owned();
    |source| SocketError::Kind { name, source }
}

/// What so many sockets are for, by their names.
fn uses(count: usize, names: &str, known: &[&str]) -> Result<Vec<String>, String> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if count == 1 && names.is_empty() {
        return Ok(known.iter().take(1).map(|&name| name.to_owned()).collect());
    }
    let uses: Vec<_> = names.split(':').map(str::to_owned).collect();
    if let Some(unknown) = uses.iter().find(|name| !known.contains(&name.as_str())) {
        let known = known.join(", ");
        return Err(format!("\"{unknown}\" is no name of a listener here; known: {known}"));
    }
    let twice = known.iter().any(|one| uses.iter().filter(|other| other == one).count() > 1);
    if uses.len() != count || twice {
        return Err(format!("{count} sockets, of which \"{names}\" are the names: each needs its own"));
    }
    Ok(uses)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_known_by_their_names() {
        let known = ["listen", "plain"];
        assert!(uses(0, "", &known).unwrap().is_empty());
        assert_eq!(uses(1, "", &known).unwrap(), ["listen"]);
        assert_eq!(uses(2, "plain:listen", &known).unwrap(), ["plain", "listen"]);
        for (count, names) in [(2, ""), (2, "listen"), (2, "listen:listen"), (1, "wss-node.socket")] {
            assert!(uses(count, names, &known).is_err(), "{count} {names}");
        }
    }

    #[test]
    fn a_socket_can_be_had_again_by_whoever_tries_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sockets = Sockets { tcp: [("http01".to_owned(), listener)].into(), unix: BTreeMap::new() };
        for _ in 0..2 {
            assert_eq!(sockets.tcp("http01").unwrap().unwrap().local_addr().unwrap(), address);
        }
        assert!(sockets.tcp("listen").unwrap().is_none() && sockets.unix("http01").unwrap().is_none());
    }
}
