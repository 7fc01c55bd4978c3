//! Puts the agent together: everything that can be wrong with the machine or the configuration is found
//! here, before anything is promised to anybody.

use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use sealwire_proto::anchors::AnchorError;
use sealwire_proto::socket::ListenError;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::disk::Disk;
use super::incidents::Incidents;
use super::issuers::{self, Source};
use super::managed::Managed;
use super::outside::{self, Outside};
use super::pulse::Pulse;
use super::replicas::{Leading, Replicas};
use super::revocations::Revocations;
use super::tally::Tally;
use super::{Agent, LONGEST_SLEEP, calendar, sources};
use crate::admin::Admin;
use crate::alert::rates::Rates;
use crate::alert::{self, AlertError, Alerts};
use crate::clock::{Clock, ClockWatch, SystemClock};
use crate::config::{CertificateConfig, Config};
use crate::delivery::client_roots::{self, ClientRoots, ClientRootsError, LOOK_EVERY};
use crate::delivery::sds::Sds;
use crate::delivery::server::Delivery;
use crate::delivery::slot::Limits;
use crate::delivery::{Desired, Event};
use crate::deploy::{self, Surroundings};
use crate::issuer::IssueError;
use crate::issuer::acme::Gate;
use crate::lifecycle::limits::{self, Charges};
use crate::lifecycle::{IssuerState, Issuers, Policy};
use crate::metrics::Metrics;
use crate::replicas::Started;
use crate::replicas::place::{self, Place};
use crate::revocation::fetch::Http;
use crate::revocation::inquiry::Inquiry;
use crate::steps::Steps;
use crate::store::{Store, StoreError};

/// What nodes serve, as a document of the store.
pub(super) const RECORDS: &str = "deliveries.json";
/// What belongs to the agent as a whole.
const AGENT: &str = "agent.json";
/// Words from nodes and from the command line that wait for the loop.
const QUEUE: usize = 1024;
/// Two requests to an API server that may be away.
const RELEASE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(3);

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// One of the sockets.
    #[error("{key}: {source}")]
    Socket {
        /// The key of the configuration.
        key: &'static str,
        /// What is wrong.
        source: ListenError,
    },
    /// Sockets that were handed over are not what was expected.
    #[error(
        "socket activation: {0}; name the sockets \"http01\", \"tls-alpn01\", \"delivery\" and \"admin\" \
         (FileDescriptorName= of systemd)"
    )]
    Activation(String),
    /// The service manager cannot be told anything.
    #[error("{0}; start the agent without NOTIFY_SOCKET, or as systemd does")]
    Notify(String),
    /// A listener for challenges.
    #[error("{key}: cannot listen on {address}: {source}{hint}")]
    Listen {
        /// The key of the configuration.
        key: &'static str,
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// What answers challenges.
    #[error("{source}")]
    Challenges {
        /// What is wrong.
        source: IssueError,
    },
    /// TLS for challenges.
    #[error("cannot set up TLS for challenges: {source}")]
    Tls {
        /// What rustls said.
        source: rustls::Error,
    },
    /// An issuer.
    #[error("issuer {issuer}: {source}")]
    Issuer {
        /// Its name.
        issuer: String,
        /// What is wrong.
        source: IssueError,
    },
    /// The roots of an issuer.
    #[error("issuer {issuer}: {source}")]
    Anchors {
        /// Its name.
        issuer: String,
        /// What is wrong.
        source: AnchorError,
    },
    /// Roots of clients' certificates.
    #[error("delivery.client_roots: {0}")]
    ClientRoots(#[from] ClientRootsError),
    /// Who is told of incidents.
    #[error(transparent)]
    Alerts(#[from] AlertError),
    /// What asks about revocation.
    #[error("cannot set up questions about revocation: {0}")]
    Revocation(String),
    /// What is shared with other replicas.
    #[error("[kubernetes]: {0}")]
    Replicas(String),
    /// The scheduler of maintenance windows.
    #[error("cannot schedule the maintenance windows: {0}")]
    Calendar(String),
    /// One of the servers ended.
    #[error("the {which} socket failed: {source}")]
    Server {
        /// Which.
        which: &'static str,
        /// What tonic said.
        source: tonic::transport::Error,
    },
}

/// What is remembered of the agent itself.
#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    /// Makes the spread of this agent's renewals differ from another agent's.
    seed: u64,
}

/// Runs the agent until `shutdown`, with what comes from `outside`.
///
/// # Errors
/// [`StartError`], one line that names what to change.
pub async fn run(config: Config, shutdown: CancellationToken, outside: &Outside) -> Result<(), StartError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let tasks = CancellationToken::new();
    let store = Store::open(&config.state_dir)?;
    let (replicas, keeper) = share(&config, &tasks)?.unzip();
    let gate = replicas
        .as_ref()
        .map(|replicas| -> Arc<dyn Gate> { Arc::new(Leading(Arc::clone(&replicas.copies))) });
    let delivery_socket = outside.unix(outside::DELIVERY, "delivery.socket", &config.delivery.socket)?;
    let admin_socket = outside.unix(outside::ADMIN, "admin.socket", &config.admin.socket)?;

    let sources = sources::open(&config, &store, &clock, gate.as_ref(), outside, &tasks).await?;
    let steps = Arc::new(Steps::default());
    let (desired, desired_receiver) = watch::channel(Arc::default());
    let (mut calendar, ticks) = calendar::start(&config).await.map_err(StartError::Calendar)?;
    let mut agent = Agent::new(config, Arc::clone(&clock), store, sources, Arc::clone(&steps), desired)?;
    let spool = agent.store.dir().join(alert::SPOOL);
    let current = agent.incidents.current();
    let alerts = Alerts::start(&agent.config.alerts, &spool, &clock, agent.seed, &current, &tasks)?;
    agent.incidents.tell(alerts);
    agent.replicas = replicas;
    let config = &agent.config;
    let (event_sender, events) = mpsc::channel(QUEUE);
    let (command_sender, commands) = mpsc::channel(QUEUE);

    let limits = Limits {
        ack: config.delivery.ack_timeout,
        proof: config.delivery.proof_timeout,
        proof_by: config.delivery.proof,
        node_looks: true,
    };
    let client_roots = client_roots(config, &tasks)?;
    let certificates = || agent.certificates.values().map(|managed| &*managed.config);
    let delivery = Delivery::new(
        limits,
        desired_receiver.clone(),
        client_roots,
        event_sender.clone(),
        Arc::clone(&steps),
        deploy::names(certificates()),
    );
    let surroundings = Surroundings {
        desired: desired_receiver,
        events: event_sender.clone(),
        steps: Arc::clone(&steps),
        proof_timeout: config.delivery.proof_timeout,
    };
    deploy::start(certificates(), &surroundings, &tasks);
    let refused = move |_| {
        // Counted only; a full queue loses the count, not the refusal.
        let _ = event_sender.try_send(Event::Refused);
    };
    let mut servers = JoinSet::new();
    let incoming = delivery_socket.into_incoming(config.delivery_peers(), refused);
    let serving = Server::builder()
        .http2_keepalive_interval(Some(std::time::Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(std::time::Duration::from_secs(10)))
        .add_service(Sds::new(delivery.clone()).into_service())
        .add_service(delivery.into_service())
        .serve_with_incoming(incoming);
    servers.spawn(async move { ("delivery", serving.await) });
    let incoming = admin_socket.into_incoming(config.admin_peers(), |_| ());
    if let Some(address) = config.admin.metrics {
        let listener = listen("admin.metrics", address).await?;
        tokio::spawn(Metrics::new(command_sender.clone()).serve(listener, tasks.clone()));
    }
    let pulse = Pulse::new(command_sender.clone());
    let admin = Admin::new(command_sender, Arc::clone(&steps)).into_service();
    let serving = Server::builder().add_service(admin).serve_with_incoming(incoming);
    servers.spawn(async move { ("admin", serving.await) });

    tracing::info!(
        state_dir = %config.state_dir.display(),
        delivery = %config.delivery.socket.display(),
        admin = %config.admin.socket.display(),
        certificates = agent.certificates.len(),
        version = env!("CARGO_PKG_VERSION"),
        "agent running"
    );
    let notifier = &outside.notifier;
    notifier.ready(&agent.pulse());
    let result = tokio::select! {
        () = agent.run(events, commands, ticks, shutdown) => Ok(()),
        Some(Ok((which, Err(source)))) = servers.join_next() => Err(StartError::Server { which, source }),
        () = async { sealwire_systemd::watch(notifier, pulse).await; std::future::pending().await } => Ok(()),
    };
    notifier.stopping("stopping");
    tasks.cancel();
    if let Some(keeper) = keeper {
        // The next leader need not wait for the end of our Lease.
        let _ = tokio::time::timeout(RELEASE_TIMEOUT, keeper).await;
    }
    calendar.stop().await;
    // Dropping the servers removes the socket files.
    servers.shutdown().await;
    tracing::info!("agent stopped");
    result
}

impl Agent {
    /// Brings back what the store remembers.
    fn new(
        mut config: Config,
        clock: Arc<dyn Clock>,
        store: Store,
        sources: BTreeMap<String, Source>,
        steps: Arc<Steps>,
        desired: watch::Sender<Desired>,
    ) -> Result<Self, StartError> {
        let mut issuers = known(&config);
        issuers::load_limits(&store, &mut issuers)?;
        let seed = identity(&store)?.seed;
        let certificates = certificates(&mut config, &store, seed)?;
        let inquiry = inquiry(&config, &clock)?;
        let mut records: crate::delivery::record::Records = store.load_json(RECORDS)?.unwrap_or_default();
        records.retain_certificates(|name| certificates.contains_key(name));
        let incidents = Incidents::load(&store, &config.alerts, seed)?;
        let rates = Rates::new(config.alerts.rates.clone());
        let authorities_changed = Arc::new(Notify::new());
        for internal in sources.values().filter_map(|source| source.issuer.as_internal()) {
            internal.notify(Arc::clone(&authorities_changed));
        }
        Ok(Self {
            seed,
            started_at: clock.now(),
            revocations: Revocations::new(&config, inquiry, seed),
            config,
            store,
            clock,
            longest_sleep: LONGEST_SLEEP,
            steps,
            sources,
            issuers,
            issuers_changed: None,
            certificates,
            schedule: BinaryHeap::new(),
            nodes: BTreeMap::new(),
            records,
            shadows: BTreeMap::new(),
            refused_peers: 0,
            panics: 0,
            desired,
            unpublished: true,
            attempts: JoinSet::new(),
            underway: HashMap::new(),
            runs: BinaryHeap::new(),
            incidents,
            rates,
            disk: Disk::default(),
            tally: Tally::default(),
            clock_watch: ClockWatch::default(),
            time_asked: None,
            authorities_changed,
            replicas: None,
        })
    }
}

/// Starts what shares certificates with other replicas, if there are to be any.
fn share(
    config: &Config,
    tasks: &CancellationToken,
) -> Result<Option<(Replicas, JoinHandle<()>)>, StartError> {
    let Some(kubernetes) = &config.kubernetes else { return Ok(None) };
    place::check_in_memory(&config.state_dir).map_err(StartError::Replicas)?;
    let environment = |name: &str| std::env::var(name).ok();
    let place =
        Place::new(config, kubernetes, environment, fastrand::u32(..)).map_err(StartError::Replicas)?;
    let Started { copies, news, keeper } =
        crate::replicas::start(place, tasks).map_err(StartError::Replicas)?;
    Ok(Some((Replicas { copies, news, leader: String::new() }, keeper)))
}

/// Read now, and followed from here on.
fn client_roots(
    config: &Config,
    tasks: &CancellationToken,
) -> Result<watch::Receiver<ClientRoots>, StartError> {
    let Some(path) = &config.delivery.client_roots else { return Ok(watch::channel(Arc::default()).1) };
    let (sender, receiver) = watch::channel(client_roots::read(path)?);
    tokio::spawn(client_roots::follow(path.clone(), LOOK_EVERY, sender, tasks.clone()));
    Ok(receiver)
}

pub(super) async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| {
        let hint = match source.kind() {
            std::io::ErrorKind::PermissionDenied => {
                "; ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=)"
            }
            std::io::ErrorKind::AddrInUse => {
                "; another server has it: stop it, or listen on another port and forward to it"
            }
            _ => "",
        };
        StartError::Listen { key, address, source, hint }
    })
}

/// The agent's own; made on its first start.
fn identity(store: &Store) -> Result<Identity, StoreError> {
    if let Some(identity) = store.load_json(AGENT)? {
        return Ok(identity);
    }
    let identity = Identity { seed: fastrand::u64(..) };
    store.save_json(AGENT, &identity)?;
    Ok(identity)
}

/// Who asks about revocation, unless that is switched off.
fn inquiry(config: &Config, clock: &Arc<dyn Clock>) -> Result<Option<Inquiry>, StartError> {
    if !config.revocation.check {
        return Ok(None);
    }
    let fetch = Arc::new(Http::new().map_err(StartError::Revocation)?);
    Ok(Some(Inquiry::new(fetch, &config.state_dir, config.revocation.limits(), Arc::clone(clock))))
}

/// Takes them out of the configuration: ten thousand of them twice would be much of the agent's memory.
fn certificates(
    config: &mut Config,
    store: &Store,
    seed: u64,
) -> Result<BTreeMap<String, Box<Managed>>, StartError> {
    let mut certificates = BTreeMap::new();
    let profiles: Arc<[String]> = config.acme.keys().cloned().collect();
    for certificate in std::mem::take(&mut config.certificates) {
        let name = certificate.name.clone();
        let own = store.certificate(&name)?;
        let memory = own.memory()?;
        let loaded = own.load(&memory)?;
        let seed = seed ^ seed_of(&name);
        let policy = policy(&certificate);
        let mut managed = Managed::new(certificate, policy, own, memory, seed);
        if let Some(damage) = &loaded.damage {
            tracing::error!(
                certificate = name,
                damage,
                "the stored generation cannot be used; ordering anew"
            );
        }
        managed.current = loaded.generation.map(Arc::new);
        managed.damage = loaded.damage;
        managed.profiles = Arc::clone(&profiles);
        managed.order_pending = managed.pending();
        certificates.insert(name, Box::new(managed));
    }
    Ok(certificates)
}

/// What is known of the issuers from the configuration alone.
fn known(config: &Config) -> Issuers {
    let internal = config.internal.keys().map(|name| (name.clone(), IssuerState::new(limits::Limits::NONE)));
    let acme = config.acme.iter().map(|(name, acme)| {
        // Checked with the configuration.
        let mut state = IssuerState::new(acme.limits.limits(&[]).unwrap_or(limits::Limits::LETS_ENCRYPT));
        state.rehearsal.clone_from(&acme.rehearsal);
        state.renewal_info = true;
        (name.clone(), state)
    });
    internal.chain(acme).collect()
}

fn policy(certificate: &CertificateConfig) -> Policy {
    Policy {
        issuers: certificate.issuers.clone(),
        renew_at: certificate.renew_at,
        // Checked with the configuration.
        windows: certificate.maintenance.as_ref().and_then(|maintenance| maintenance.windows().ok()),
        charges: Charges::of(&certificate.identifiers),
    }
}

/// The same for the same name on every start.
fn seed_of(name: &str) -> u64 {
    let digest = sealwire_proto::validate::sha256(name.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
#[path = "loop_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "revocations_tests.rs"]
mod revocations_tests;
