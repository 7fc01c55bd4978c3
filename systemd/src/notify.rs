//! The notification socket (`sd_notify(3)`): one datagram, lines of `NAME=value`. Not the crate `sd-notify`, which waits
//! without end when the manager does not read.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// A manager that reads nothing must not keep us from our work.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// What `systemctl status` shows on one line; the manager would take more.
const MAX_STATUS_BYTES: usize = 512;

/// The environment says something that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// Neither a path nor an abstract name.
    #[error("NOTIFY_SOCKET is \"{0}\", expected an absolute path or a name that begins with @")]
    Address(String),
    /// The system has no socket to give.
    #[error("cannot make a socket for notifications: {0}")]
    Socket(#[from] io::Error),
}

/// Tells the service manager how this process is; nothing if there is none.
#[derive(Debug, Default)]
pub struct Notifier {
    manager: Option<Manager>,
    /// `WATCHDOG_USEC`: after so long without a sign of life the manager ends this process.
    patience: Option<Duration>,
}

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// The manager that the environment names (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`).
    ///
    /// # Errors
    /// [`NotifyError`]: a manager is named and cannot be told anything.
    pub fn from_env() -> Result<Self, NotifyError> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self::default());
        };
        let variable = |name| std::env::var(name).ok();
        let patience = patience(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id());
        Self::to(&name, patience)
    }

    fn to(name: &OsStr, patience: Option<Duration>) -> Result<Self, NotifyError> {
        let address = match name.as_bytes() {
            [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name),
            [b'/', ..] => SocketAddr::from_pathname(name),
            _ => return Err(NotifyError::Address(name.to_string_lossy().into_owned())),
        };
        let address = address.map_err(|_| NotifyError::Address(name.to_string_lossy().into_owned()))?;
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Self { manager: Some(Manager { socket, address }), patience })
    }

    /// Whether anybody listens.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.manager.is_some()
    }

    /// After so long without [`Notifier::alive`] the manager ends this process.
    #[must_use]
    pub fn patience(&self) -> Option<Duration> {
        self.patience
    }

    /// The start is over. `status` is for people.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// How it goes, for people (`systemctl status`).
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", line(status)));
    }

    /// A sign of life.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// The end has begun.
    pub fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={}", line(status)));
    }

    fn send(&self, text: &str) {
        let Some(Manager { socket, address }) = &self.manager else { return };
        if let Err(error) = socket.send_to_addr(text.as_bytes(), address) {
            // Whoever manages us cannot be told by the way that is broken.
            tracing::warn!(%error, "the service manager (NOTIFY_SOCKET) cannot be told how we are");
        }
    }
}

/// One line, cut to what fits.
fn line(text: &str) -> String {
    let mut line = text.replace(['\n', '\r'], " ");
    line.truncate(line.floor_char_boundary(MAX_STATUS_BYTES));
    line
}

/// The watchdog is ours if it names this process or nobody (`sd_watchdog_enabled(3)`).
fn patience(microseconds: Option<String>, pid: Option<String>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let microseconds = microseconds?.parse().ok().filter(|microseconds| *microseconds > 0)?;
    Some(Duration::from_micros(microseconds))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;

    const WAIT: Duration = Duration::from_millis(50);

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 2048];
        let len = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }

    #[test]
    fn a_manager_at_a_path_or_an_abstract_name_hears_each_word() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("sealwire-notify-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let at_name = UnixDatagram::bind_addr(&abstract_name).unwrap();
        for (socket, address) in [(at_path, path.into_os_string()), (at_name, format!("@{name}").into())] {
            let notifier = Notifier::to(&address, None).unwrap();
            notifier.ready("two\nlines");
            assert_eq!(heard(&socket), "READY=1\nSTATUS=two lines");
            notifier.alive();
            assert_eq!(heard(&socket), "WATCHDOG=1");
            notifier.status(&"ä".repeat(2 * MAX_STATUS_BYTES));
            assert_eq!(heard(&socket).len(), "STATUS=".len() + MAX_STATUS_BYTES);
            notifier.stopping("bye");
            assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=bye");
        }
    }

    #[test]
    fn a_manager_that_is_gone_or_reads_nothing_holds_up_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let deaf = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::to(path.as_os_str(), None).unwrap();
        notifier.manager.as_ref().unwrap().socket.set_write_timeout(Some(WAIT)).unwrap();
        // The kernel queues a few (net.unix.max_dgram_qlen); the one after waits for its timeout, and no longer.
        let waited = (0..10_000).any(|_| {
            let began = Instant::now();
            notifier.alive();
            assert!(began.elapsed() < Duration::from_secs(10));
            began.elapsed() >= WAIT
        });
        assert!(waited, "the queue has no end");
        drop(deaf);
        notifier.alive();
    }

    #[test]
    fn nonsense_in_the_environment_is_told_and_a_foreign_watchdog_is_not_ours() {
        let error = Notifier::to("run/notify".as_ref(), None).unwrap_err().to_string();
        assert!(error.contains("\"run/notify\""), "{error}");
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(patience(some("2000000"), None, 7), Some(Duration::from_secs(2)));
        assert_eq!(patience(some("2000000"), some("7"), 7), Some(Duration::from_secs(2)));
        assert_eq!(patience(some("2000000"), some("8"), 7), None);
        assert_eq!(patience(some("0"), None, 7), None);
        assert_eq!(patience(None, None, 7), None);
        assert!(!Notifier::default().is_heard());
    }
}
