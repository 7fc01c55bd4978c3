//! Envoy with one worker.

use std::process::Command;

use anyhow::Result;
use serde_json::{Value, json};

use super::{SERVER_CORE, Target};
use crate::cpu;
use crate::server::{Place, Server, find};

pub(super) async fn start() -> Result<Option<Target>> {
    let Some(program) = find("envoy/envoy/_bin/envoy", "envoy") else { return Ok(None) };
    let place = Place::new()?;
    let material = place.authority.issue()?;
    place.world.write("chain.pem", &material.chain_pem);
    place.world.write("key.pem", &material.key_pem);
    let config = place.world.write("envoy.json", &config(&place).to_string());
    let mut command = Command::new(program);
    command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "-c"]);
    command.arg(config);
    let server = Server::start("envoy", &mut cpu::pinned(&command, SERVER_CORE), &place.prober).await?;
    Ok(Some(Target::running("Envoy, one worker", place, material.leaf, server).await?))
}

/// A listener that answers every request itself.
fn config(place: &Place) -> Value {
    let typed = |name: &str, mut config: Value| {
        config["@type"] = format!("type.googleapis.com/envoy.extensions.{name}").into();
        config
    };
    let file = |name: &str| json!({ "filename": place.world.path(name) });
    let tls = json!({ "common_tls_context": {
        "tls_params": { "tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3" },
        "tls_certificates": [{ "certificate_chain": file("chain.pem"), "private_key": file("key.pem") }],
    }});
    let routes = json!([{ "match": { "prefix": "/" }, "direct_response": { "status": 200 } }]);
    let http = json!({
        "stat_prefix": "web",
        "http_filters": [{ "name": "router", "typed_config": typed("filters.http.router.v3.Router", json!({})) }],
        "route_config": { "virtual_hosts": [{ "name": "web", "domains": ["*"], "routes": routes }] },
    });
    let manager = "filters.network.http_connection_manager.v3.HttpConnectionManager";
    let address = place.world.node_address();
    json!({
        "static_resources": {
            "listeners": [{
                "name": "web",
                "address": { "socket_address": { "address": address.ip(), "port_value": address.port() } },
                "tcp_backlog_size": 4096,
                "filter_chains": [{
                    "transport_socket": {
                        "name": "tls",
                        "typed_config": typed("transport_sockets.tls.v3.DownstreamTlsContext", tls),
                    },
                    "filters": [{ "name": "http", "typed_config": typed(manager, http) }],
                }],
            }],
        },
    })
}
