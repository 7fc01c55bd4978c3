//! Unix sockets: listen so that exactly one process owns a path, let in only whom the operator named,
//! and dial with the same deadlines everywhere.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::Stream;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tonic::transport::{Channel, Endpoint};

/// `sun_path` of Linux holds 108 bytes with the closing NUL (unix(7)).
pub const MAX_PATH_BYTES: usize = 107;

/// A dial on one machine either succeeds at once or the peer is not there.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Notices a peer that is stopped (SIGSTOP) or stuck: nothing closes its socket.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Why a socket could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Longer than the kernel takes.
    #[error("socket path {path} has {len} bytes, the kernel takes {MAX_PATH_BYTES}: choose a shorter one")]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        len: usize,
    },
    /// Everyone may write where the socket would stand, so anyone could put another one in its place.
    #[error("directory {dir} of the socket is writable by everyone (mode {mode:04o}): chmod 0750 {dir}")]
    UnsafeDirectory {
        /// The directory.
        dir: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another live process owns the socket.
    #[error("socket {path} is in use by another process{}: stop it, or choose another path", owner(.pid))]
    InUse {
        /// The path.
        path: PathBuf,
        /// Its process id, where known.
        pid: Option<u32>,
    },
    /// Something that is not a socket stands at the path; it is left alone.
    #[error("{path} exists and is not a socket: move it away, or choose another path")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// A socket was handed over that peers would not find.
    #[error(
        "the socket that was handed over stands at {given}, and {path} is configured: make them the same"
    )]
    Elsewhere {
        /// As configured.
        path: PathBuf,
        /// Where it stands.
        given: String,
    },
    /// The system refused.
    #[error("cannot {doing} {path}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn owner(pid: &Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

/// Who is at the other end of a connection, as the kernel says (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id when it connected.
    pub uid: u32,
    /// Effective group id when it connected.
    pub gid: u32,
    /// Process id, where the kernel tells.
    pub pid: Option<i32>,
}

/// Who may connect. A peer passes if its user **or** its group is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPolicy {
    /// Allowed user ids.
    pub uids: Vec<u32>,
    /// Allowed group ids.
    pub gids: Vec<u32>,
}

impl PeerPolicy {
    /// The user this process runs as, and root, who could take what it wants anyway.
    #[must_use]
    pub fn own_user_and_root() -> Self {
        Self { uids: vec![rustix::process::geteuid().as_raw(), 0], gids: Vec::new() }
    }

    /// Whether this peer may connect.
    #[must_use]
    pub fn allows(&self, peer: Peer) -> bool {
        self.uids.contains(&peer.uid) || self.gids.contains(&peer.gid)
    }
}

/// A file that one process at a time may own, with the owner's pid inside for the error message of the
/// next one. The kernel gives the lock back however the owner ends, so it never goes stale.
#[derive(Debug)]
pub struct OwnedLock {
    // Held, never read: the lock lives as long as the descriptor.
    _file: File,
}

impl OwnedLock {
    /// Takes the lock, or says who has it (`Ok(Err(pid))`).
    ///
    /// # Errors
    /// What the system said when the file could not be opened or locked.
    pub fn acquire(path: &Path) -> io::Result<Result<Self, Option<u32>>> {
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                return Ok(Err(text.trim().parse().ok()));
            }
            Err(error) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Ok(Self { _file: file }))
    }
}

/// A Unix socket that this process owns until it is dropped, or that somebody else owns and has handed over.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// `None`: the file is somebody else's.
    lock: Option<OwnedLock>,
}

impl Listener {
    /// Listens on `path` with mode 0660. The directory is made with mode 0750 if it is not there. A
    /// socket file left behind by a process that died is replaced; one with a live owner is not.
    ///
    /// # Errors
    /// See [`ListenError`]; each message names the path and what to do.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        let len = path.as_os_str().len();
        if len > MAX_PATH_BYTES {
            return Err(ListenError::PathTooLong { path: path.to_owned(), len });
        }
        let system = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| ListenError::System { doing, path, source }
        };

        let dir = path.parent().unwrap_or(Path::new("."));
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(dir)
            .map_err(system("make the socket directory", dir))?;
        let mode = std::fs::metadata(dir).map_err(system("look at", dir))?.mode() & 0o7777;
        // With the sticky bit (as in /tmp) others cannot rename or remove what is ours.
        if mode & 0o002 != 0 && mode & 0o1000 == 0 {
            return Err(ListenError::UnsafeDirectory { dir: dir.to_owned(), mode });
        }

        let mut lock_path = path.as_os_str().to_owned();
        lock_path.push(".lock");
        let lock_path = PathBuf::from(lock_path);
        let lock = OwnedLock::acquire(&lock_path)
            .map_err(system("lock", &lock_path))?
            .map_err(|pid| ListenError::InUse { path: path.to_owned(), pid })?;

        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(system("listen on", path))?;
        std::fs::set_permissions(path, Permissions::from_mode(0o660))
            .map_err(system("set the mode of", path))?;
        Ok(Self { listener, path: path.to_owned(), lock: Some(lock) })
    }

    /// A socket that was handed over (`sd_listen_fds(3)`); it must stand at `path`. Directory and mode are those of
    /// whoever made it, who may be let in is ours, and the file stays when we go.
    ///
    /// # Errors
    /// See [`ListenError`]: it stands elsewhere, or the system refused.
    pub fn given(listener: std::os::unix::net::UnixListener, path: &Path) -> Result<Self, ListenError> {
        let system = |source| ListenError::System { doing: "take over", path: path.to_owned(), source };
        let address = listener.local_addr().map_err(system)?;
        if address.as_pathname() != Some(path) {
            let given = match address.as_pathname() {
                Some(other) => other.display().to_string(),
                None => "no path".to_owned(),
            };
            return Err(ListenError::Elsewhere { path: path.to_owned(), given });
        }
        listener.set_nonblocking(true).map_err(system)?;
        let listener = UnixListener::from_std(listener).map_err(system)?;
        Ok(Self { listener, path: path.to_owned(), lock: None })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Connections of allowed peers, for `tonic`'s `serve_with_incoming`. Others are closed at once and
    /// told to `refused`. Never ends and never fails: a full descriptor table passes.
    pub fn into_incoming<F>(
        self,
        policy: PeerPolicy,
        refused: F,
    ) -> impl Stream<Item = io::Result<UnixStream>> + Send
    where
        F: Fn(Peer) + Send + Sync + 'static,
    {
        futures_util::stream::unfold((self, policy, refused), |(this, policy, refused)| async move {
            loop {
                match this.accept(&policy, &refused).await {
                    Ok(Some(stream)) => return Some((Ok(stream), (this, policy, refused))),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(path = %this.path.display(), %error, "cannot accept; trying again");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        })
    }

    async fn accept<F: Fn(Peer) + Sync>(
        &self,
        policy: &PeerPolicy,
        refused: &F,
    ) -> io::Result<Option<UnixStream>> {
        let (stream, _) = self.listener.accept().await?;
        let credentials = stream.peer_cred()?;
        let peer = Peer { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() };
        if policy.allows(peer) {
            return Ok(Some(stream));
        }
        tracing::warn!(
            path = %self.path.display(),
            uid = peer.uid,
            gid = peer.gid,
            pid = peer.pid,
            "refused a peer: neither its uid nor its gid is allowed on this socket"
        );
        refused(peer);
        Ok(None)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // The lock is still held here, so the file can only be ours.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket file that nobody listens on.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    use std::os::unix::fs::FileTypeExt;
    let system = |doing| move |source| ListenError::System { doing, path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system("look at")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ListenError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    // The lock says nothing about a program that does not know it: ask the socket itself.
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(ListenError::InUse { path: path.to_owned(), pid: None }),
        Err(_) => {
            tracing::info!(path = %path.display(), "replacing a socket file that nobody listens on");
            std::fs::remove_file(path).map_err(system("remove the stale socket"))
        }
    }
}

/// What a request says when its connection was closed: by a peer that stopped, or that does not let us in.
pub const CLOSED: &str = "the other side closed the connection";

/// Why a socket could not be dialled.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach {path}: {detail}")]
pub struct DialError {
    /// The socket.
    pub path: PathBuf,
    /// What went wrong and what to do.
    pub detail: String,
}

/// Connects to the socket at `path`.
///
/// # Errors
/// [`DialError`] tells whether nobody listens, access is denied, or the peer does not answer.
pub async fn dial(path: &Path) -> Result<Channel, DialError> {
    dial_to(path, "agent").await
}

/// As [`dial`]; `peer` is who should be there, for the error: "agent" or "node".
///
/// # Errors
/// [`DialError`].
pub async fn dial_to(path: &Path, peer: &str) -> Result<Channel, DialError> {
    let failed = |detail: String| DialError { path: path.to_owned(), detail };
    // Connect once by hand: tonic's own error hides what the system said.
    let first = UnixStream::connect(path).await.map_err(|error| {
        failed(match error.kind() {
            io::ErrorKind::NotFound => format!("no such socket; is the {peer} running?"),
            io::ErrorKind::ConnectionRefused => format!("nobody listens there; is the {peer} running?"),
            io::ErrorKind::PermissionDenied => {
                "permission denied; run as a user or group that may use the socket".to_owned()
            }
            _ => error.to_string(),
        })
    })?;
    let mut first = Some(first);
    let connector = tower::service_fn(move |_| {
        // tonic would dial again by itself behind our back; the caller decides when to.
        let stream = first.take();
        async move { stream.map(TokioIo::new).ok_or_else(|| io::Error::other(CLOSED)) }
    });
    Endpoint::from_static("http://sealwire.invalid")
        .connect_timeout(DIAL_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await
        .map_err(|error| failed(format!("{CLOSED} ({})", chain_of(&error))))
}

/// An error with all its causes on one line.
#[must_use]
pub fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt;

    fn policy() -> PeerPolicy {
        PeerPolicy::own_user_and_root()
    }

    #[tokio::test]
    async fn listens_with_tight_modes_and_cleans_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/a.sock");
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o750);
        drop(listener);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_was_handed_over_must_be_the_configured_one_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let made = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let elsewhere = Listener::given(made.try_clone().unwrap(), &dir.path().join("b.sock"));
        let error = elsewhere.unwrap_err().to_string();
        assert!(error.contains("a.sock, and") && error.contains("b.sock is configured"), "{error}");
        drop(Listener::given(made, &path).unwrap());
        assert!(path.exists());
    }

    #[tokio::test]
    async fn second_listener_is_told_who_owns_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let _first = Listener::bind(&path).unwrap();
        let error = Listener::bind(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
    }

    #[tokio::test]
    async fn stale_socket_file_is_replaced_but_a_plain_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        // A listener that died leaves its file behind: std's does not unlink.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Listener::bind(&path).unwrap());

        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(Listener::bind(&path), Err(ListenError::NotASocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_listener_without_our_lock_is_respected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let _foreign = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(Listener::bind(&path), Err(ListenError::InUse { pid: None, .. })));
    }

    #[tokio::test]
    async fn directory_open_to_everyone_and_overlong_path_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        let error = Listener::bind(&open.join("a.sock")).unwrap_err().to_string();
        assert!(error.contains("chmod 0750"), "{error}");

        let long = dir.path().join("x".repeat(120));
        assert!(matches!(Listener::bind(&long), Err(ListenError::PathTooLong { .. })));
    }

    #[tokio::test]
    async fn refused_peer_is_told_and_the_next_one_is_served() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let own = rustix::process::geteuid().as_raw();
        let nobody = PeerPolicy { uids: vec![own + 1], gids: vec![] };
        let (told, mut refusals) = tokio::sync::mpsc::unbounded_channel();
        let incoming = Listener::bind(&path).unwrap().into_incoming(nobody, move |peer| {
            told.send(peer).unwrap();
        });
        let server = tokio::spawn(async move {
            tokio::pin!(incoming);
            incoming.next().await
        });
        let mut client = UnixStream::connect(&path).await.unwrap();
        assert_eq!(refusals.recv().await.unwrap().uid, own);
        let mut byte = [0];
        assert_eq!(tokio::io::AsyncReadExt::read(&mut client, &mut byte).await.unwrap(), 0);
        server.abort();
    }

    #[test]
    fn policy_takes_user_or_group() {
        let policy = PeerPolicy { uids: vec![7], gids: vec![9] };
        let peer = |uid, gid| Peer { uid, gid, pid: None };
        assert!(policy.allows(peer(7, 1)));
        assert!(policy.allows(peer(1, 9)));
        assert!(!policy.allows(peer(9, 7)));
    }

    #[tokio::test]
    async fn dialling_nobody_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let error = dial(&dir.path().join("none.sock")).await.unwrap_err().to_string();
        assert!(error.contains("is the agent running?"), "{error}");
        let _ = policy();
    }
}
