//! Clients of many networks, in a network namespace of their own: there IPv6 clients have addresses in several /64, which
//! loopback has not.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::Arc;

use sealwire_tests::session::tls;
use sealwire_tests::tools;
use sealwire_tests::wire::{self, ask, code, connect_from};
use sealwire_tests::world::{AgentSettings, World};

/// For documentation (RFC 3849, RFC 5737): nothing outside has them.
const CLIENTS: [&str; 7] = [
    "2001:db8:0:1::1",
    "2001:db8:0:1::2",
    "2001:db8:0:1:ffff::3",
    "2001:db8:0:2::1",
    "192.0.2.1",
    "192.0.2.2",
    "198.51.100.1",
];
const NODE_V6: &str = "2001:db8:ffff::1";
const NODE_V4: &str = "203.0.113.1";

/// Runs the other test of this file where addresses can be made up.
#[test]
fn limits_are_for_a_slash_64_and_for_each_address_of_ipv4() {
    let (Some(unshare), Some(_)) = (tools::find("unshare"), tools::find("ip")) else { return };
    let own = std::env::current_exe().unwrap();
    let mut command = Command::new(unshare);
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        command.arg("--map-root-user");
    }
    command.arg("--net").arg(own).args(["--exact", "within", "--ignored", "--nocapture"]);
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}\n{err}");
}

fn ip(arguments: &[&str]) {
    let status = Command::new(tools::find("ip").unwrap()).args(arguments).status().unwrap();
    assert!(status.success(), "ip {arguments:?}");
}

/// Its own process is in a namespace of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the other test, in a network namespace"]
async fn within() {
    ip(&["link", "set", "lo", "up"]);
    for address in CLIENTS.into_iter().chain([NODE_V6, NODE_V4]) {
        let length = if address.contains(':') { 128 } else { 32 };
        ip(&["address", "add", &format!("{address}/{length}"), "dev", "lo", "nodad"]
            [..if length == 128 { 6 } else { 5 }]);
    }
    let world = World::new();
    world.configure_agent(&AgentSettings::default());
    let limits = "[limits]\nsessions_per_ip = 2\naccepts_per_second_per_ip = 0\n";
    world.configure_node("node-1", 0, &world.delivery_socket(), limits);
    let path = world.path("node-1.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let own = format!("[listen]\naddress = \"{}\"", world.node_address());
    assert!(text.contains(&own), "{text}");
    std::fs::write(&path, text.replace(&own, "[listen]\naddress = \"[::]:8443\"")).unwrap();
    let (_agent, node) = (world.start_agent(), world.start_node("node-1"));
    world.proven().await;

    let tls = tls(&world.roots().await.0).unwrap();
    let open = |from: &str| {
        let source: IpAddr = from.parse().unwrap();
        let own: IpAddr = if source.is_ipv6() { NODE_V6 } else { NODE_V4 }.parse().unwrap();
        let tls = Arc::clone(&tls);
        async move {
            let tcp = connect_from(source, SocketAddr::new(own, 8443)).await.unwrap();
            let mut stream = wire::tls(tcp, "node.test", tls).await.unwrap();
            let answer = ask(&mut stream, &wire::upgrade("node.test", "")).await.unwrap();
            (code(&answer), stream)
        }
    };
    let mut sessions = Vec::new();
    for (from, expected) in [
        (CLIENTS[0], 101),
        (CLIENTS[1], 101),
        // The third of one /64, whichever its address; the next network has its own places.
        (CLIENTS[2], 429),
        (CLIENTS[0], 429),
        (CLIENTS[3], 101),
        // IPv4 neighbours are strangers to each other.
        (CLIENTS[4], 101),
        (CLIENTS[4], 101),
        (CLIENTS[4], 429),
        (CLIENTS[5], 101),
        (CLIENTS[6], 101),
    ] {
        let (code, stream) = open(from).await;
        assert_eq!(code, expected, "{from}: {}", node.log());
        if code == 101 {
            sessions.push(stream);
        }
    }
    assert_eq!(sessions.len(), 7);
    assert!(node.log().contains("address=2001:db8:0:1:ffff::3"), "who was refused: {}", node.log());
}
