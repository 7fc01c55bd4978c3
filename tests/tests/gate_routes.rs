//! Whose request it is and where it leads: what proxies may say, tenants, and the health that load balancers ask for.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::SocketAddr;

use sealwire_tests::asking::upgrade;
use sealwire_tests::eventually;
use sealwire_tests::gate::{Gate, PATH, PROXY, STRANGER, check};
use sealwire_tests::world::PATIENCE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

#[tokio::test(flavor = "multi_thread")]
async fn proxies_are_believed_and_nobody_else() {
    let extra = "[limits]\nsessions_per_ip = 1\naccepts_per_second_per_ip = 0\n\
        [proxy]\ntrusted = [\"127.250.0.1/32\"]\nsticky_cookie = \"route\"\n";
    let gate = Gate::open(&["node.test"], extra).await;
    let (proxy, stranger) = (gate.asker.from(PROXY), gate.asker.from(STRANGER));
    let told = |address: &str| format!("X-Forwarded-For: 203.0.113.9, {address}");

    // Each client behind the proxy has limits of its own, and what a client wrote to the left counts for nothing.
    let first = proxy.upgrade(PATH, &[&told("198.51.100.1")]).await.unwrap();
    check(&first, 101, "", &[("set-cookie", "route=node-1; Path=/; Secure; HttpOnly; SameSite=None")]);
    let second = proxy.upgrade(PATH, &[&told("198.51.100.2")]).await.unwrap();
    assert_eq!(second.status, 101, "{second:?}");
    let over = proxy.upgrade(PATH, &[&told("198.51.100.1")]).await.unwrap();
    check(&over, 429, "too many connections\n", &[("retry-after", "10")]);
    let line = gate.node.line("what=\"limit_reached\"", PATIENCE);
    assert!(line.contains("address=198.51.100.1 peer=127.250.0.1:"), "{line}");
    drop(first);
    eventually("the place is free again", PATIENCE, || async {
        let answer = proxy.upgrade(PATH, &[&told("198.51.100.1")]).await.unwrap();
        (answer.status == 101).then_some(())
    })
    .await;

    // A stranger's headers are its own affair: it stays one client, and rubbish is not even read.
    let held = stranger.upgrade(PATH, &[&told("198.51.100.7")]).await.unwrap();
    assert_eq!(held.status, 101);
    for forged in
        ["X-Forwarded-For: 198.51.100.8", "X-Forwarded-For: rubbish", "Forwarded: for=\"198.51.100.8"]
    {
        let answer = stranger.upgrade(PATH, &[forged]).await.unwrap();
        check(&answer, 429, "too many connections\n", &[]);
        let _said = gate.node.line("address=127.250.0.2 peer=127.250.0.2:", PATIENCE);
    }

    let text = "the proxy told the client's address in a way that cannot be read\n";
    for rubbish in ["X-Forwarded-For: rubbish", "X-Forwarded-For: 198.51.100.256", "X-Forwarded-For: ::1::"] {
        check(&proxy.upgrade(PATH, &[rubbish]).await.unwrap(), 400, text, &[]);
    }
    let _said = gate.node.line("header x-forwarded-for of 127.250.0.1", PATIENCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_have_their_own_rules_and_no_way_to_each_other() {
    let extra = "[[tenant]]\nname = \"acme\"\nhosts = [\"acme.test\", \"*.acme.test\"]\nsessions = 1\n\
        [tenant.gate]\norigins = [\"https://app.acme.test\"]\n\
        [[tenant]]\nname = \"other\"\nhosts = [\"other.test\"]\npath = \"/other\"\n";
    let gate = Gate::open(&["node.test", "acme.test", "x.acme.test", "other.test"], extra).await;
    let (node, acme, other) = (&gate.asker, gate.asker.named("acme.test"), gate.asker.named("other.test"));

    let (own, app) = ("Origin: https://acme.test", "Origin: https://app.acme.test");
    check(&acme.upgrade(PATH, &[own]).await.unwrap(), 403, "this origin is not allowed\n", &[]);
    let held = acme.upgrade(PATH, &[app]).await.unwrap();
    assert_eq!(held.status, 101);
    let over = gate.asker.named("x.acme.test").upgrade(PATH, &[app]).await.unwrap();
    check(&over, 429, "too many connections\n", &[("retry-after", "10")]);
    let line = gate.node.line("what=\"limit_reached\"", PATIENCE);
    assert!(line.contains("tenant=\"acme\"") && line.contains("tenant_sessions"), "{line}");
    assert_eq!(node.upgrade(PATH, &[]).await.unwrap().status, 101, "everybody's");
    assert_eq!(other.upgrade("/other", &[]).await.unwrap().status, 101);
    assert_eq!(other.upgrade(PATH, &[]).await.unwrap().status, 404);
    assert_eq!(node.upgrade("/other", &[]).await.unwrap().status, 404);

    // The handshake decides: a certificate that covers all of them opens no side door.
    let text = "the TLS handshake was for another host: connect anew\n";
    for (asker, host, path) in
        [(node, "acme.test", PATH), (&acme, "node.test", PATH), (&acme, "other.test", "/other")]
    {
        let answer = asker.ask(&upgrade(path, host, &[app])).await.unwrap();
        check(&answer, 421, text, &[]);
    }
    let line = gate.node.line("what=\"misdirected\"", PATIENCE);
    assert!(line.contains("acme.test") && line.contains("node.test"), "{line}");
    // Another name of the same tenant is no other host.
    let same = acme.ask(&upgrade(PATH, "X.ACME.test:8443", &[own])).await.unwrap();
    assert_eq!(same.status, 403, "{same:?}");
}

/// A proxy that passes TLS on: the handshake is the client's, and so is every header.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_header_the_client_is_bound_by_its_own_handshake_and_not_believed() {
    let extra = "[limits]\nsessions_per_ip = 1\naccepts_per_second_per_ip = 0\n\
        [proxy]\ntrusted = [\"127.250.0.1/32\"]\n[[tenant]]\nname = \"acme\"\nhosts = [\"acme.test\"]\n";
    let required = [("WSS_NODE_LISTEN__PROXY_PROTOCOL", "required")];
    let gate = Gate::open_with(&["node.test", "acme.test"], extra, &required).await;
    let client = gate.asker.from(PROXY).told("198.51.100.1");
    let side_door = client.ask(&upgrade(PATH, "acme.test", &[])).await.unwrap();
    check(&side_door, 421, "the TLS handshake was for another host: connect anew\n", &[]);
    let _said = gate.node.line("address=198.51.100.1 peer=127.250.0.1:", PATIENCE);

    let held = client.upgrade(PATH, &[]).await.unwrap();
    assert_eq!(held.status, 101);
    let forged = client.upgrade(PATH, &["X-Forwarded-For: 198.51.100.9"]).await.unwrap();
    check(&forged, 429, "too many connections\n", &[]);
    let other = client.told("198.51.100.2").named("acme.test").upgrade(PATH, &[]).await.unwrap();
    assert_eq!(other.status, 101, "{other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn load_balancers_ask_how_the_node_is() {
    let extra = "[gate]\norigins = [\"https://app.test\"]\nallow_missing_origin = false\n\
        [plain]\naddress = \"ADDRESS:8080\"\n[proxy]\ntrusted = [\"127.250.0.1/32\"]\n";
    let gate = Gate::open(&["node.test"], extra).await;
    for path in ["/healthz", "/readyz"] {
        for version in ["1.0", "1.1"] {
            let answer = gate.asker.ask(&format!("GET {path} HTTP/{version}\nHost: whatever")).await.unwrap();
            check(&answer, 200, "ok\n", &[("cache-control", "no-store")]);
            assert_eq!(answer.header("set-cookie"), None);
        }
        check(&gate.asker.ask(&format!("HEAD {path} HTTP/1.1")).await.unwrap(), 200, "", &[]);
        let answer =
            gate.asker.ask(&format!("POST {path} HTTP/1.1\nHost: x\nContent-Length: 0")).await.unwrap();
        check(&answer, 405, "", &[("allow", "GET, HEAD")]);
    }

    // On the plain listener too, where everything else must have come to the proxy over TLS.
    let plain = SocketAddr::from((gate.world.address, 8080));
    let health = ask_plain(plain, PROXY, "GET /readyz HTTP/1.0").await;
    assert!(health.starts_with("HTTP/1.0 200 ") && health.ends_with("\r\n\r\nok\n"), "{health}");
    let app = "Origin: https://app.test";
    for lines in
        [[app].as_slice(), &[app, "X-Forwarded-Proto: http"], &[app, "X-Forwarded-Proto: https, http"]]
    {
        let answer = ask_plain(plain, PROXY, &upgrade(PATH, "node.test", lines)).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("TLS is required\n"), "{answer}");
    }
    let lines = [app, "X-Forwarded-Proto: wss"];
    let answer = ask_plain(plain, PROXY, &upgrade(PATH, "node.test", &lines)).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
}

/// An answer on the plain listener; of a 101 only the head.
async fn ask_plain(address: SocketAddr, source: [u8; 4], request: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((source, 0))).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = format!("{}\r\n\r\n", request.lines().collect::<Vec<_>>().join("\r\n"));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = async {
        while stream.read_buf(&mut answer).await.unwrap() > 0 {
            if answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"\r\n\r\n") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap();
    String::from_utf8(answer).unwrap()
}
