//! How the cluster is reached and what is kept there.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::ConnectOptions;

/// How the cluster is reached and what is kept there. Names, partitions and limits of streams are fixed when the first
/// node makes them.
#[derive(Clone, Debug)]
pub struct Options {
    /// `nats://host:port` or `tls://host:port`, at least one.
    pub servers: Vec<String>,
    /// A `.creds` file of the account; `None`: no credentials.
    pub credentials: Option<PathBuf>,
    /// Roots in PEM; `None`: those of the system.
    pub roots: Option<PathBuf>,
    /// Certificate and key in PEM, for servers that ask for them.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// No connection without TLS.
    pub require_tls: bool,
    /// What subjects begin with.
    pub prefix: String,
    /// Streams that channels are spread over.
    pub partitions: u16,
    /// Servers that have each stream: 1, 3 or 5.
    pub replicas: usize,
    /// Publications of one channel (of a map: of one key), at most.
    pub history: i64,
    /// How long channels that nobody publishes to are kept: the largest `meta_ttl` of all.
    pub meta_ttl: Duration,
    /// How long a publication may wait for the cluster, in all its tries.
    pub timeout: Duration,
    /// `http://host:port` of the servers' monitoring: asked at the start whether they flush each write.
    pub monitors: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            credentials: None,
            roots: None,
            identity: None,
            require_tls: false,
            prefix: "sw".into(),
            partitions: 16,
            replicas: 3,
            history: 1000,
            meta_ttl: Duration::from_secs(30 * 24 * 3600),
            timeout: Duration::from_secs(10),
            monitors: Vec::new(),
        }
    }
}

/// The cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No server answers, or none lets us in.
    #[error("cannot connect to {servers}: {source}")]
    Connect {
        /// Which ones.
        servers: String,
        /// What came back.
        source: async_nats::ConnectError,
    },
    /// The credentials cannot be read.
    #[error("cannot read the credentials {path}: {source}")]
    Credentials {
        /// Which file.
        path: PathBuf,
        /// What came back.
        source: std::io::Error,
    },
    /// A stream can be neither found nor made.
    #[error("stream {stream}: {what}")]
    Stream {
        /// Which one.
        stream: String,
        /// What is the matter.
        what: String,
    },
    /// It cannot be heard what other nodes tell.
    #[error("subject {subject}: {what}")]
    Subscribe {
        /// Which one.
        subject: String,
        /// What is the matter.
        what: String,
    },
    /// A stream is there, and is not what the configuration says.
    #[error("stream {stream}: {what}")]
    Mismatch {
        /// Which one.
        stream: String,
        /// What differs, and what to do.
        what: String,
    },
}

impl ConnectError {
    /// Whether it may be otherwise later, without anybody's doing.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Stream { .. } | Self::Subscribe { .. })
    }
}

impl Options {
    /// As messages name them.
    pub(super) fn named(&self) -> impl fmt::Display {
        self.servers.join(", ")
    }

    pub(super) async fn connect(&self) -> Result<async_nats::Client, ConnectError> {
        self.connect_as(ConnectOptions::new()).await
    }

    /// A connection that does not hear what it says itself.
    pub(super) async fn connect_without_echo(&self) -> Result<async_nats::Client, ConnectError> {
        self.connect_as(ConnectOptions::new().no_echo()).await
    }

    async fn connect_as(&self, options: ConnectOptions) -> Result<async_nats::Client, ConnectError> {
        let mut options = options
            .name("wss-node")
            .connection_timeout(Duration::from_secs(5))
            .request_timeout(Some(Duration::from_secs(3)))
            .require_tls(self.require_tls)
            .reconnect_delay_callback(|attempt| {
                // 50 ms doubling to 2 s, so that a server that comes back is found soon.
                Duration::from_millis(50 << attempt.min(5)).min(Duration::from_secs(2))
            });
        if let Some(path) = &self.credentials {
            let source = |source| ConnectError::Credentials { path: path.clone(), source };
            options = options.credentials_file(path).await.map_err(source)?;
        }
        if let Some(roots) = &self.roots {
            options = options.add_root_certificates(roots.clone());
        }
        if let Some((certificate, key)) = &self.identity {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        let connected = options.connect(&self.servers).await;
        connected.map_err(|source| ConnectError::Connect { servers: self.named().to_string(), source })
    }
}
