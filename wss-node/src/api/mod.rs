//! The server API: what applications ask of the node, by HTTP with JSON and by gRPC. Shaped like Centrifugo's, so that
//! its users need another address only; docs/server-api.md has the methods and what differs.
//!
//! ```text
//! connection ─▶ (TLS, certificate) ─▶ key ─▶ room ─▶ JSON | gRPC ─▶ method ─▶ channels, registry
//! ```

mod batch;
mod expect;
mod fault;
mod gate;
mod grpc;
mod http;
mod keys;
mod map;
mod methods;
mod overview;
mod payload;
mod publish;
mod read;
mod refused;
mod sessions;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::{Router, middleware};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use self::fault::{Fault, Kind};
use self::keys::Keys;
pub(crate) use self::methods::METHODS;
pub(crate) use self::refused::Refused;
use self::v1::server_api_server::ServerApiServer;
use crate::audit::Entry;
use crate::channels::Channel;
use crate::config::ApiConfig;
use crate::http_server::{self, Peer};
use crate::service::{Node, RunError};

/// The messages of package `sealwire.server.v1`, and clients for it.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("sealwire.server.v1");
}

/// The header in which Centrifugo's clients ask for errors by the status of the transport (`transport`).
const ERROR_MODE: &str = "x-centrifugo-error-mode";

/// What comes of a call, as metrics name it: `ok`, or the kind of the fault.
pub(crate) const OUTCOMES: [&str; Kind::ALL.len() + 1] = {
    let mut names = ["ok"; Kind::ALL.len() + 1];
    let mut at = 0;
    while at < Kind::ALL.len() {
        names[at + 1] = Kind::ALL[at].as_str();
        at += 1;
    }
    names
};

/// Who asks.
#[derive(Clone, Debug, Default)]
struct Caller {
    /// For the record: the name of a certificate, or the address.
    name: String,
    /// Answers go to it as JSON.
    reads_json: bool,
}

impl Caller {
    fn of(peer: &Peer, reads_json: bool) -> Self {
        let address = peer.address.ip().to_canonical();
        let name = match &peer.certificate {
            Some(certificate) => format!("{certificate} at {address}"),
            None => address.to_string(),
        };
        Self { name, reads_json }
    }
}

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Api {
    node: Arc<Node>,
    config: ApiConfig,
    /// `None`: a certificate is enough.
    keys: Option<Arc<Keys>>,
    room: Semaphore,
    began: Instant,
}

/// An API whose files are read and whose port is taken.
pub(crate) struct Opened {
    api: Arc<Api>,
    /// `None`: it answers on the admin address.
    own: Option<(TcpListener, Arc<ServerConfig>)>,
}

impl Opened {
    /// Answers until it is `closed`: on its own listener, by `tasks`, or as part of what the admin address answers.
    pub(crate) fn start(self, admin: Router, tasks: &TaskTracker, closed: &CancellationToken) -> Router {
        let Self { api, own } = self;
        if let Some(keys) = &api.keys {
            tasks.spawn(closed.clone().run_until_cancelled_owned(Arc::clone(keys).follow()));
        }
        let router = api.router();
        let Some((listener, config)) = own else {
            if api.config.insecure {
                tracing::warn!("api.insecure: keys of applications cross the network in clear");
            }
            return admin.merge(router);
        };
        let gate = tls::Gate { api, config };
        tasks.spawn(http_server::serve(listener, gate, router, closed.clone()));
        admin
    }

    /// Where it answers.
    pub(crate) fn address(&self) -> SocketAddr {
        self.api.config.address.unwrap_or(self.api.node.config.admin.address)
    }
}

/// Reads its files, so that `wss-node config check` tells what is wrong with them.
///
/// # Errors
/// The key of the configuration, and what is wrong.
pub(crate) fn check_files(config: &ApiConfig) -> Result<(), sealwire_config::Fault> {
    let fault = |key| move |error| sealwire_config::Fault::new(&["api", key], error);
    if let Some(path) = &config.keys_file {
        Keys::load(path).map_err(fault("keys_file"))?;
    }
    if let Some(path) = &config.client_roots {
        tls::roots(path).map_err(fault("client_roots"))?;
    }
    Ok(())
}

impl Api {
    /// As configured; `None`: there is none.
    ///
    /// # Errors
    /// Its files cannot be used, or its address is taken.
    pub(crate) async fn open(node: &Arc<Node>) -> Result<Option<Opened>, RunError> {
        let Some(config) = node.config.api.clone() else { return Ok(None) };
        let fault = |key| move |error| RunError::Api(format!("{key}: {error}"));
        let keys = config.keys_file.as_deref().map(Keys::load).transpose().map_err(fault("keys_file"))?;
        let own = match config.address {
            None => None,
            Some(address) => {
                let roots = config.client_roots.as_deref();
                let tls = tls::config(node.reader.clone(), roots).map_err(fault("client_roots"))?;
                let listener = TcpListener::bind(address).await;
                let taken = |source| RunError::Listen { key: "api.address", address, source };
                Some((listener.map_err(taken)?, tls))
            }
        };
        let api = Self {
            node: Arc::clone(node),
            keys: keys.map(Arc::new),
            room: Semaphore::new(config.requests),
            config,
            began: Instant::now(),
        };
        Ok(Some(Opened { api: Arc::new(api), own }))
    }

    /// Its paths.
    fn router(self: &Arc<Self>) -> Router {
        let grpc = ServerApiServer::new(grpc::Grpc(Arc::clone(self)))
            .max_decoding_message_size(self.config.body_bytes);
        let centrifugos = grpc.clone().map_request(grpc::readdressed::<axum::body::Body>);
        http::router(Arc::clone(self))
            .route_service(&format!("{}{{method}}", grpc::SERVICE), grpc)
            .route_service(&format!("{}{{method}}", grpc::CENTRIFUGO), centrifugos)
            .route_layer(middleware::from_fn_with_state(Arc::clone(self), gate::pass))
    }

    /// A channel by its full name, tenants' prefixes included.
    fn channel(&self, name: &str) -> Result<Channel, Fault> {
        if name.is_empty() {
            return Err(Fault::bad("channel is missing"));
        }
        let config = &self.node.config;
        let prefixes = config.tenant.iter().map(|tenant| tenant.channel_prefix.len());
        if name.len() > config.session.channel_name_bytes + prefixes.max().unwrap_or_default() {
            let most = config.session.channel_name_bytes;
            return Err(Fault::bad(format!("channel: longer than session.channel_name_bytes, {most}")));
        }
        self.node.channels.find(name).ok_or_else(|| Fault::unknown_channel(name))
    }

    /// Counts what came of a method, and hands it on.
    fn counted<T>(&self, method: &str, called: Result<T, Fault>) -> Result<T, Fault> {
        self.count(method, &called);
        called
    }

    fn count<T>(&self, method: &str, called: &Result<T, Fault>) {
        let outcome = called.as_ref().map_or_else(|fault| fault.kind.as_str(), |_| OUTCOMES[0]);
        self.node.counters.api.called(method, outcome);
    }

    fn refused(&self, why: Refused) {
        self.node.counters.api.refused(why);
    }

    /// Records that somebody was not let in, once in a while for each address.
    fn turned_away(&self, peer: SocketAddr, detail: String) {
        let address = peer.ip().to_canonical();
        if self.node.limits.may_tell(address, Instant::now()) {
            self.node.audit.record(&Entry {
                what: "api_refused",
                address: Some(address),
                session: None,
                user: None,
                tenant: None,
                detail,
            });
        }
    }
}

/// As messages have it.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
