//! Centrifugo speaks the protocol that our node speaks. It keeps as much history as ours does without being asked.

use std::process::Command;

use anyhow::Result;
use serde_json::json;

use super::{QUIET, Server};
use crate::fanout::client::Target;
use crate::fanout::tongue::Tongue;
use crate::server::{self, Place, find};

pub(super) const INSTALL: &str =
    "GOBIN=$PWD/target/tools/peers go install github.com/centrifugal/centrifugo/v6@v6.9.1";

pub(super) async fn start() -> Result<Option<Server>> {
    let Some(program) = find("peers/centrifugo", "centrifugo") else { return Ok(None) };
    let place = Place::new()?;
    let [address, port, chain, key] = place.arguments()?;
    let config = json!({
        "http_server": {
            "address": address,
            "port": port,
            "tls": { "enabled": true, "cert_pem": chain, "key_pem": key },
        },
        "client": {
            "allow_anonymous_connect_without_token": true,
            "ping_interval": QUIET,
        },
        "channel": {
            "without_namespace": {
                "allow_subscribe_for_anonymous": true,
                "allow_subscribe_for_client": true,
                "allow_publish_for_anonymous": true,
                "allow_publish_for_client": true,
                "history_size": 100,
                "history_ttl": "5m",
                "force_recovery": true,
            },
        },
        "log": { "level": "warn" },
        "usage_stats": { "disabled": true },
    });
    let config = place.world.write("centrifugo.json", &config.to_string());
    let mut command = Command::new(program);
    command.arg("-c").arg(config);
    let server = server::Server::start("centrifugo", &mut command, &place.prober).await?;
    let target = Target::new(place.world.node_address(), Tongue::Centrifuge)?;
    Ok(Some(Server::other(place, server, target)))
}
