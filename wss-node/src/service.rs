//! Puts the node together and takes it apart again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustls::ServerConfig;
use sealwire_proto::anchors::AnchorError;
use sealwire_proto::socket::ListenError;
use sealwire_systemd::{Notifier, NotifyError, SocketError, Sockets};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Api;
use crate::audit::{Audit, AuditFileError};
use crate::auth::AuthError;
use crate::certs::prove::OwnListener;
use crate::certs::receive::Receiver;
use crate::certs::validate::Validator;
use crate::certs::{self, CertReader, CertWriter};
use crate::channels::{BrokerError, Channels};
use crate::client_auth::ClientCertificates;
use crate::config::Config;
use crate::counters::Counters;
use crate::doors::{Doors, SOCKETS};
use crate::drain::Drain;
use crate::guard::Guard;
use crate::http_server::{self, Plain};
use crate::limits::Limits;
use crate::pulse::Pulse;
use crate::readiness::Readiness;
use crate::registry::Registry;
use crate::telemetry::Telemetry;
use crate::tenant::Tenants;
use crate::tickets::Tickets;
use crate::{admin, control, drain, limits, tls};

/// What every connection shares.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) reader: CertReader,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) channels: Arc<Channels>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) tenants: Tenants,
    pub(crate) audit: Arc<Audit>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) clients: Arc<ClientCertificates>,
    pub(crate) drain: Drain,
    /// Cancelled when another process may take over the listeners: at the first signal.
    pub(crate) handing_over: CancellationToken,
    /// Cancelled when sessions begin to be closed, after `drain.delay`.
    pub(crate) stopping: CancellationToken,
    /// Cancelled when nobody is let in any more.
    pub(crate) closed: CancellationToken,
}

impl Node {
    /// A node without certificates that handshakes will reach at `listener`, and the end that takes certificates.
    pub(crate) fn new(
        config: Config,
        telemetry: Arc<Telemetry>,
        listener: OwnListener,
    ) -> Result<(Arc<Self>, CertWriter), RunError> {
        let (writer, reader) = certs::live(config.server_names.clone());
        let reader = reader.for_unknown(config.listen.unknown_sni);
        let tickets = Arc::new(Tickets::new()?);
        let provider = Arc::new(tls::provider());
        let clients = ClientCertificates::new(&config.listen, provider, Arc::clone(&tickets));
        let clients = Arc::new(clients.map_err(|error| RunError::ClientRoots(error.to_string()))?);
        let tls = tls::server_config(reader.clone(), Arc::clone(&tickets), &clients)?;
        let readiness = Arc::new(Readiness::new(config.server_names.clone()));
        let counters = Arc::<Counters>::default();
        let audit = Arc::new(Audit::new(&config.audit, Arc::clone(&counters))?);
        let guard = Guard::new(
            &config,
            reader.clone(),
            Arc::clone(&readiness),
            Arc::clone(&counters),
            Arc::clone(&audit),
            tickets,
            listener,
        );
        let channels = Channels::new(&config, &counters, Arc::new(jiff::Timestamp::now));
        let node = Self {
            channels,
            tenants: Tenants::new(&config)?,
            audit,
            telemetry,
            limits: Limits::new(&config, Arc::clone(&counters)),
            config,
            tls,
            reader,
            readiness,
            counters,
            registry: Arc::default(),
            guard: Arc::new(guard),
            clients,
            drain: Drain::default(),
            handing_over: CancellationToken::new(),
            stopping: CancellationToken::new(),
            closed: CancellationToken::new(),
        };
        let node = Arc::new(node);
        node.telemetry.observe(&node);
        Ok((node, writer))
    }
}

/// Why the node did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address is taken or not ours.
    #[error("{key}: cannot listen on {address}: {source}; choose another address, or stop what has it")]
    Listen {
        /// The key of the configuration.
        key: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configured roots.
    #[error("delivery.trust_roots: {0}")]
    Anchors(#[from] AnchorError),
    /// Sockets that were handed over are not what was expected.
    #[error(
        "socket activation: {0}; name the sockets \"listen\" and \"plain\" (FileDescriptorName= of systemd)"
    )]
    Activation(String),
    /// The service manager cannot be told anything.
    #[error("{0}; start the node without NOTIFY_SOCKET, or as systemd does")]
    Notify(#[from] NotifyError),
    /// Roots of clients' certificates.
    #[error("listen.client_roots: {0}")]
    ClientRoots(String),
    /// rustls does not support the policy.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The server API cannot be offered as configured.
    #[error("api.{0}")]
    Api(String),
    /// The admin socket.
    #[error("admin.socket: {0}")]
    Control(#[from] ListenError),
    /// No thread to take certificates on.
    #[error(
        "cannot start the thread that takes certificates: {0}; raise the limits of processes and open files"
    )]
    Thread(std::io::Error),
    /// The audit file.
    #[error(transparent)]
    Audit(#[from] AuditFileError),
    /// Where channels live.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Tokens cannot be checked as configured.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

impl From<SocketError> for RunError {
    fn from(error: SocketError) -> Self {
        Self::Activation(error.to_string())
    }
}

/// What comes from whoever started this process: sockets that are open already, and an ear for how it goes.
#[derive(Debug)]
pub struct Outside {
    sockets: Sockets,
    notifier: Notifier,
}

impl Outside {
    /// What the environment says. Call once, before there are other threads.
    ///
    /// # Errors
    /// [`RunError`]: sockets were handed over and it is not clear what for, or the manager cannot be told anything.
    pub fn from_env() -> Result<Self, RunError> {
        Ok(Self { sockets: Sockets::from_env(&SOCKETS, &[])?, notifier: Notifier::from_env()? })
    }
}

/// Runs the node until `shutdown`, then closes sessions in good order. `telemetry` is to be stopped afterwards.
///
/// # Errors
/// [`RunError`], one line that names what to change.
pub async fn run(
    config: Config,
    telemetry: Arc<Telemetry>,
    shutdown: CancellationToken,
    outside: Outside,
) -> Result<(), RunError> {
    let descriptors = limits::descriptors::raise();
    let Outside { sockets, notifier } = outside;
    let doors = Doors::bind(&config, &sockets)?;
    let admin_listener = TcpListener::bind(config.admin.address)
        .await
        .map_err(|source| RunError::Listen { key: "admin.address", address: config.admin.address, source })?;
    let control_listener = control::bind(&config.admin)?;
    let validator = Validator::new(config.server_names.clone(), config.delivery.trust_roots.as_deref())?;
    let listener = doors.own_listener(&config);
    let (node, writer) = Node::new(config, telemetry, listener)?;
    let api = Api::open(&node).await?;

    let (armed, mut is_armed) = watch::channel(false);
    let receiver = Receiver::new(&node, listener, validator, writer, armed);
    let (receiving, pairing) = certs::thread::start(receiver).map_err(RunError::Thread)?;
    let guarding = tokio::spawn(Arc::clone(&node.guard).run());
    let auditing = tokio::spawn(Arc::clone(&node.audit).run());
    for verifier in node.tenants.verifiers() {
        verifier.start(&node.counters, &node.closed);
    }
    // Those who ask are answered until there is nothing left to ask about.
    let (asking, asked_out) = (TaskTracker::new(), CancellationToken::new());
    let api_address = api.as_ref().map(|api| tracing::field::display(api.address()));
    let router = admin::router(Arc::clone(&node));
    let router = match api {
        Some(api) => api.start(router, &asking, &asked_out),
        None => router,
    };
    asking.spawn(http_server::serve(admin_listener, Plain, router, asked_out.clone()));
    let controlling = control_listener
        .map(|listener| tokio::spawn(control::serve(listener, Arc::clone(&node), node.closed.clone())));
    tracing::info!(
        node = node.config.node_id,
        listen = %doors.tls.address,
        plain = doors.plain.as_ref().map(|plain| tracing::field::display(plain.address)),
        admin = %node.config.admin.address,
        api = api_address,
        names = node.config.server_names.join(", "),
        descriptors,
        version = env!("CARGO_PKG_VERSION"),
        "node running; it listens as soon as it has a certificate"
    );

    let notifier = Arc::new(notifier);
    notifier.ready("running; it listens as soon as it has a certificate");
    let pulse = Pulse::new(Arc::clone(&node), pairing);
    let watched = Arc::clone(&notifier);
    let watching = tokio::spawn(async move { sealwire_systemd::watch(&watched, pulse).await });

    let (accepting, connections) = (TaskTracker::new(), TaskTracker::new());
    let mut channels = JoinSet::new();
    let first_certificate = async {
        // A cluster that cannot be reached is waited for.
        node.channels.open(&node.config).await?;
        channels = node.channels.start();
        // The receiver lives as long as this does.
        let _ = is_armed.wait_for(|armed| *armed).await;
        doors.open(&node, &accepting, &connections)
    };
    let opened = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        opened = first_certificate => opened,
    };
    if opened.is_ok() {
        shutdown.cancelled().await;
    }
    notifier.stopping("stopping: sessions are told to come back");
    stop(&node, &accepting, &connections).await;
    watching.abort();
    drop(receiving);
    guarding.abort();
    asked_out.cancel();
    asking.close();
    asking.wait().await;
    if let Some(controlling) = controlling {
        // It ends by itself, and removes its socket file.
        let _ = controlling.await;
    }
    drop(channels);
    auditing.abort();
    node.audit.flush().await;
    opened
}

/// Readiness fails at once, sessions are told to go elsewhere one after the other, and the rest is cut off.
async fn stop(node: &Node, accepting: &TaskTracker, connections: &TaskTracker) {
    let began = Instant::now();
    node.readiness.drain();
    node.handing_over.cancel();
    tokio::time::sleep(node.config.drain.delay).await;
    let summary = drain::sessions(node).await;
    node.closed.cancel();
    accepting.close();
    // A listener that is handed over takes a second.
    accepting.wait().await;
    connections.close();
    // Those that are no sessions, and the goodbyes of those that were.
    if tokio::time::timeout(summary.left, connections.wait()).await.is_err() {
        tracing::warn!("{} connections cut off: they did not end in time", connections.len());
    }
    node.telemetry.histograms().drain(began.elapsed());
    let failures: Vec<_> = node
        .counters
        .handshake_failures()
        .map(|(reason, count)| format!("{}={count}", reason.as_str()))
        .collect();
    tracing::info!(
        sessions = summary.sessions,
        moved = summary.moved,
        cut_off = summary.cut_off,
        per_second = summary.rate,
        publications = Counters::get(&node.counters.publications),
        deliveries = Counters::get(&node.counters.deliveries),
        handshake_failures = failures.join(" "),
        breaker_opened = Counters::get(&node.counters.breaker_opened),
        turned_away = Counters::get(&node.counters.turned_away),
        "node stopped"
    );
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use crate::broker::answer::Append;
    use crate::broker::publication::NewPublication;
    use crate::client::Client;
    use crate::config::ProxyProtocol;
    use crate::listener::{Bound, Door, HandOver, serve};
    use crate::upgrade::Admission;
    use crate::wire::Framing;

    /// A node that nobody listens for, with extra configuration.
    pub(crate) fn node(extra: &str) -> Arc<Node> {
        node_and_writer(extra).0
    }

    /// The same, and what changes its certificates.
    pub(crate) fn node_and_writer(extra: &str) -> (Arc<Node>, CertWriter) {
        let config = config(&["a.example"], extra);
        let telemetry = Arc::new(Telemetry::start(&config).unwrap());
        Node::new(config, telemetry, own("127.0.0.1:1".parse().unwrap())).unwrap()
    }

    /// Somebody far away, let in without a token.
    pub(crate) fn admission(node: &Node) -> Admission {
        let (peer, local) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.9:8443".parse().unwrap());
        let client = Client::of_socket(peer, local);
        let tenant = Arc::clone(node.tenants.everybody());
        let place = node.limits.session(client.address, &tenant).unwrap();
        Admission { client, tenant, grant: None, framing: Framing::Json, place }
    }

    /// Publishes to a channel, as the application would.
    pub(crate) async fn publish(node: &Node, channel: &str, data: impl Into<bytes::Bytes>) {
        let new = NewPublication { data: data.into(), ..NewPublication::default() };
        let channel = node.channels.find(channel).unwrap();
        let append = node.channels.publish(&channel, new).await;
        assert!(matches!(append, Append::Appended(_)), "{append:?}");
    }

    fn own(address: SocketAddr) -> OwnListener {
        OwnListener { address, proxied: false }
    }

    fn config(names: &[&str], extra: &str) -> Config {
        let anonymous = if extra.contains("[token]") { "" } else { "[token]\nanonymous = true\n" };
        // Nothing but what is published.
        let plain = "[namespaces.default]\nhistory = 0\nrecovery = false\npublisher = false\n";
        let plain = if extra.contains("[namespaces.") { "" } else { plain };
        let text = format!("server_names = {names:?}\n{extra}\n{anonymous}{plain}");
        Config::from_text("n.toml".as_ref(), &text).unwrap()
    }

    /// A node that listens on a port of its own until it is dropped, and what takes its certificates.
    pub(crate) struct Listening {
        pub(crate) node: Arc<Node>,
        pub(crate) receiver: Receiver,
        pub(crate) address: SocketAddr,
    }

    impl Drop for Listening {
        fn drop(&mut self) {
            self.node.stopping.cancel();
            self.node.closed.cancel();
        }
    }

    pub(crate) fn listening(extra: &str) -> Listening {
        listening_for(&["a.example"], extra)
    }

    pub(crate) fn listening_for(names: &[&str], extra: &str) -> Listening {
        let bound = Bound::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let address = bound.address;
        let config = config(names, extra);
        let telemetry = Arc::new(Telemetry::start(&config).unwrap());
        let (node, writer) = Node::new(config, telemetry, own(address)).unwrap();
        let validator = Validator::new(node.config.server_names.clone(), None).unwrap();
        let (armed, _) = watch::channel(false);
        let receiver = Receiver::new(&node, own(address), validator, writer, armed);
        tokio::spawn(Arc::clone(&node.guard).run());
        let door = Door { tls: true, proxy_protocol: ProxyProtocol::Off };
        let (listener, connections) = (bound.listen().unwrap(), TaskTracker::new());
        tokio::spawn(serve(listener, door, HandOver::Nobody, Arc::clone(&node), connections));
        Listening { node, receiver, address }
    }
}
