//! Puts the node together and takes it apart again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use sealwire_proto::anchors::AnchorError;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::Audit;
use crate::certs::receive::Receiver;
use crate::certs::validate::Validator;
use crate::certs::{self, CertReader, CertWriter, prove};
use crate::config::Config;
use crate::counters::Counters;
use crate::guard::Guard;
use crate::hub::Hub;
use crate::listener::Bound;
use crate::readiness::Readiness;
use crate::telemetry::Telemetry;
use crate::tenant::Tenant;
use crate::tickets::Tickets;
use crate::{admin, listener, tls};

/// What every connection shares.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) reader: CertReader,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) guard: Arc<Guard>,
    /// Those whom no other tenant claims.
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) audit: Audit,
    pub(crate) telemetry: Arc<Telemetry>,
    /// Cancelled when the node begins to stop.
    pub(crate) stopping: CancellationToken,
}

impl Node {
    /// A node without certificates that handshakes will reach at `listener`, and the end that takes certificates.
    fn new(
        config: Config,
        telemetry: Arc<Telemetry>,
        listener: SocketAddr,
    ) -> Result<(Arc<Self>, CertWriter), rustls::Error> {
        let (writer, reader) = certs::live(config.server_names.clone());
        let tickets = Arc::new(Tickets::new()?);
        let tls = tls::server_config(reader.clone(), Arc::clone(&tickets))?;
        let readiness = Arc::new(Readiness::new(config.server_names.clone()));
        let counters = Arc::<Counters>::default();
        let guard = Guard::new(
            config.breaker.clone(),
            config.server_names.clone(),
            reader.clone(),
            Arc::clone(&readiness),
            Arc::clone(&counters),
            tickets,
            listener,
        );
        let node = Self {
            tenant: Arc::new(Tenant::everybody(&config)),
            audit: Audit::default(),
            telemetry,
            config,
            tls,
            reader,
            readiness,
            counters,
            hub: Arc::default(),
            guard: Arc::new(guard),
            stopping: CancellationToken::new(),
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
    /// rustls does not support the policy.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Runs the node until `shutdown`, then closes sessions in good order. `telemetry` is to be stopped afterwards.
///
/// # Errors
/// [`RunError`], one line that names what to change.
pub async fn run(
    config: Config,
    telemetry: Arc<Telemetry>,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let listen_error = |key, address| move |source| RunError::Listen { key, address, source };
    let bound =
        Bound::bind(config.listen.address).map_err(listen_error("listen.address", config.listen.address))?;
    let admin_listener = TcpListener::bind(config.admin.address)
        .await
        .map_err(listen_error("admin.address", config.admin.address))?;
    let validator = Validator::new(config.server_names.clone(), config.delivery.trust_roots.as_deref())?;
    let (node, writer) = Node::new(config, telemetry, prove::dialable(bound.address))?;

    let (armed, mut is_armed) = watch::channel(false);
    let receiver = Receiver::new(&node, prove::dialable(bound.address), validator, writer, armed);
    let receiving = tokio::spawn(receiver.run());
    let guarding = tokio::spawn(Arc::clone(&node.guard).run());
    let router = admin::router(Arc::clone(&node));
    let administering = tokio::spawn(async move { axum::serve(admin_listener, router).await });
    tracing::info!(
        node = node.config.node_id,
        listen = %bound.address,
        admin = %node.config.admin.address,
        names = node.config.server_names.join(", "),
        version = env!("CARGO_PKG_VERSION"),
        "node running; it listens as soon as it has a certificate"
    );

    let connections = TaskTracker::new();
    let first_certificate = async {
        // The receiver lives as long as this does.
        let _ = is_armed.wait_for(|armed| *armed).await;
    };
    let address = bound.address;
    let result = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        () = first_certificate => match bound.listen() {
            Ok(listener) => {
                tokio::select! {
                    () = listener::serve(listener, Arc::clone(&node), connections.clone()) => {}
                    () = shutdown.cancelled() => {}
                }
                Ok(())
            }
            Err(source) => Err(RunError::Listen { key: "listen.address", address, source }),
        },
    };
    stop(&node, &connections).await;
    receiving.abort();
    guarding.abort();
    administering.abort();
    result
}

/// Readiness fails, sessions are told to go elsewhere, and the rest is cut off after `drain.timeout`.
async fn stop(node: &Node, connections: &TaskTracker) {
    let began = Instant::now();
    node.readiness.drain();
    let sessions = Counters::get(&node.counters.sessions);
    node.stopping.cancel();
    connections.close();
    let limit: Duration = node.config.drain.timeout;
    if tokio::time::timeout(limit, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "connections cut off: they did not end within {limit:?}");
    }
    node.telemetry.histograms().drain(began.elapsed());
    let failures: Vec<_> = node
        .counters
        .handshake_failures()
        .map(|(reason, count)| format!("{}={count}", reason.as_str()))
        .collect();
    tracing::info!(
        sessions,
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
    use crate::client::Client;
    use crate::upgrade::Admission;

    /// A node that nobody listens for, with extra configuration.
    pub(crate) fn node(extra: &str) -> Arc<Node> {
        node_and_writer(extra).0
    }

    /// The same, and what changes its certificates.
    pub(crate) fn node_and_writer(extra: &str) -> (Arc<Node>, CertWriter) {
        let config = config(&["a.example"], extra);
        let telemetry = Arc::new(Telemetry::start(&config).unwrap());
        Node::new(config, telemetry, "127.0.0.1:1".parse().unwrap()).unwrap()
    }

    /// Somebody far away, let in without a token.
    pub(crate) fn admission(node: &Node) -> Admission {
        let (peer, local) = ("192.0.2.1:1".parse().unwrap(), "192.0.2.9:8443".parse().unwrap());
        Admission { client: Client::of_socket(peer, local), tenant: Arc::clone(&node.tenant), grant: None }
    }

    fn config(names: &[&str], extra: &str) -> Config {
        let anonymous = if extra.contains("[token]") { "" } else { "[token]\nanonymous = true\n" };
        let text = format!("server_names = {names:?}\n{extra}\n{anonymous}");
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
        }
    }

    pub(crate) fn listening(extra: &str) -> Listening {
        listening_for(&["a.example"], extra)
    }

    pub(crate) fn listening_for(names: &[&str], extra: &str) -> Listening {
        let bound = Bound::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = bound.address;
        let config = config(names, extra);
        let telemetry = Arc::new(Telemetry::start(&config).unwrap());
        let (node, writer) = Node::new(config, telemetry, address).unwrap();
        let validator = Validator::new(node.config.server_names.clone(), None).unwrap();
        let (armed, _) = watch::channel(false);
        let receiver = Receiver::new(&node, address, validator, writer, armed);
        tokio::spawn(Arc::clone(&node.guard).run());
        tokio::spawn(listener::serve(bound.listen().unwrap(), Arc::clone(&node), TaskTracker::new()));
        Listening { node, receiver, address }
    }
}
