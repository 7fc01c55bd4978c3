//! PROXY headers and the plain listener: who may speak for others, and what happens to everybody else.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::ClientConfig;
use sealwire_proto::probe::PROXY_LOCAL;
use sealwire_tests::process::Process;
use sealwire_tests::session::tls;
use sealwire_tests::wire::{self, ask, code, connect_from};
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Proxies are at 127.7.7.0/24; all other addresses of this machine are anybody's.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 7, 7, 1));
const ANYBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 6, 6, 6));
const TRUSTED: &str = "[proxy]\ntrusted = [\"127.7.7.0/24\"]\n";

async fn start(world: &World, listen: &str, extra: &str) -> (Process, Process) {
    world.configure_agent(&AgentSettings::default());
    world.configure_node("node-1", 0, &world.delivery_socket(), &format!("{TRUSTED}{extra}"));
    let path = world.path("node-1.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, text.replace("[listen]\n", &format!("[listen]\n{listen}"))).unwrap();
    let started = (world.start_agent(), world.start_node("node-1"));
    world.proven().await;
    started
}

/// Sends a header, then TLS and an upgrade.
async fn behind(
    source: IpAddr,
    address: SocketAddr,
    header: &[u8],
    config: &Arc<ClientConfig>,
) -> anyhow::Result<u16> {
    let mut tcp = connect_from(source, address).await?;
    tcp.write_all(header).await?;
    let mut stream = wire::tls(tcp, "node.test", Arc::clone(config)).await?;
    Ok(code(&ask(&mut stream, &wire::upgrade("node.test", "Sec-WebSocket-Protocol: mqtt\r\n")).await?))
}

/// A header of version 2 that tells of a client at 198.51.100.`last`.
fn v2(last: u8) -> Vec<u8> {
    let mut header = PROXY_LOCAL.to_vec();
    header[12] = 0x21;
    header[13] = 0x11;
    header[15] = 12;
    header.extend([198, 51, 100, last, 127, 0, 0, 1, 4, 210, 32, 251]);
    header
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_tell_whose_connection_it_is_and_nobody_else_does() {
    let world = World::new();
    // That the certificate is proven shows that node and agent send a header themselves.
    let (_agent, node) = start(&world, "proxy_protocol = \"required\"\n", "").await;
    let config = tls(&world.roots().await.0).unwrap();
    let address = world.node_address();

    // An unknown subprotocol is refused after all else was read, and the refusal names the client.
    assert_eq!(behind(PROXY, address, &v2(1), &config).await.unwrap(), 403);
    let line = node.line("198.51.100.1", PATIENCE);
    assert!(!line.contains("127.7.7.1 "), "{line}");
    let v1 = b"PROXY TCP4 198.51.100.2 127.0.0.1 1234 8443\r\n";
    assert_eq!(behind(PROXY, address, v1, &config).await.unwrap(), 403);
    let _named = node.line("198.51.100.2", PATIENCE);
    // The proxy speaks for itself, as for a health check.
    assert_eq!(behind(PROXY, address, &PROXY_LOCAL, &config).await.unwrap(), 403);
    assert_eq!(behind(PROXY, address, b"PROXY UNKNOWN\r\n", &config).await.unwrap(), 403);
    let _named = node.line("127.7.7.1", PATIENCE);

    // This machine may prove, and speak for nobody.
    assert_eq!(behind(ANYBODY, address, &PROXY_LOCAL, &config).await.unwrap(), 403);
    let faults: [(IpAddr, &[u8], &str); 4] = [
        (ANYBODY, &v2(3), "untrusted"),
        (PROXY, b"", "missing"),
        (PROXY, b"PROXY TCP4 198.51.100.4\r\n", "malformed"),
        (PROXY, b"PROXY", "timeout"),
    ];
    for (source, header, reason) in faults {
        if reason == "timeout" {
            let mut tcp = connect_from(source, address).await.unwrap();
            tcp.write_all(header).await.unwrap();
            let mut rest = Vec::new();
            let _ = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut rest)).await.unwrap();
            assert!(rest.is_empty(), "{rest:?}");
        } else {
            assert!(behind(source, address, header, &config).await.is_err(), "{reason}");
        }
        let line = node.line(&format!("reason=\"{reason}\""), PATIENCE);
        assert!(line.contains(&source.to_string()), "{line}");
    }
    assert_eq!(node.count("198.51.100.3"), 0, "what is not believed is not repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_that_is_told_has_limits_and_the_proxy_has_none() {
    let world = World::new();
    let limits = "[limits]\nhandshakes_per_ip = 2\naccepts_per_second_per_ip = 0\n";
    let (_agent, _node) = start(&world, "proxy_protocol = \"required\"\n", limits).await;
    let config = tls(&world.roots().await.0).unwrap();
    let mut held = Vec::new();
    for last in [1, 1, 2, 2, 3] {
        let mut tcp = connect_from(PROXY, world.node_address()).await.unwrap();
        tcp.write_all(&v2(last)).await.unwrap();
        held.push(wire::tls(tcp, "node.test", Arc::clone(&config)).await.unwrap());
    }
    assert!(
        behind(PROXY, world.node_address(), &v2(1), &config).await.is_err(),
        "a third of the same client"
    );
    assert_eq!(behind(PROXY, world.node_address(), &v2(4), &config).await.unwrap(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plain_listener_lets_in_proxies_and_believes_what_they_forward() {
    let world = World::new();
    let plain = SocketAddr::from((world.address, 8080));
    let (_agent, node) = start(&world, "", &format!("[plain]\naddress = \"{plain}\"\n")).await;
    // The reset may come before our own side has seen that it is connected.
    if let Ok(mut refused) = connect_from(ANYBODY, plain).await {
        let _ = refused.write_all(wire::upgrade("node.test", "").as_bytes()).await;
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, refused.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.is_empty(), "closed before a byte: {:?}", String::from_utf8_lossy(&rest));
    }
    let _audited = node.line("plain_refused", PATIENCE);

    let answer = async |headers: &str| {
        let mut tcp = connect_from(PROXY, plain).await.unwrap();
        ask(&mut tcp, &wire::upgrade("node.test", headers)).await.unwrap()
    };
    let over_tls = "X-Forwarded-Proto: https\r\nX-Forwarded-For: 198.51.100.9\r\n";
    assert_eq!(code(&answer(over_tls).await), 101);
    assert_ne!(code(&answer("X-Forwarded-For: 198.51.100.9\r\n").await), 101, "TLS is required");
    assert_eq!(code(&answer(&format!("{over_tls}Sec-WebSocket-Protocol: mqtt\r\n")).await), 403);
    let _named = node.line("198.51.100.9", PATIENCE);
}
