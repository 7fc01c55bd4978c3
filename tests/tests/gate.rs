//! The gate of the node as clients meet it: every status with its exact answer, who is believed about whom, what a page
//! may know, and what the audit file keeps.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sealwire_tests::asking::{Answer, Asker, upgrade};
use sealwire_tests::eventually;
use sealwire_tests::process::Process;
use sealwire_tests::session::tls;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

const PATH: &str = "/connection/websocket";
/// Trusted as a proxy where a test says so, and somebody who is not.
const PROXY: [u8; 4] = [127, 250, 0, 1];
const STRANGER: [u8; 4] = [127, 250, 0, 2];

struct Gate {
    world: World,
    node: Process,
    _agent: Process,
    asker: Asker,
}

/// A node that serves some names and is configured with `extra`, where `ADDRESS` is its own.
async fn gate(names: &[&str], extra: &str) -> Gate {
    let world = World::new();
    let extra = extra.replace("ADDRESS", &world.address.to_string());
    let names: Vec<_> = names.iter().map(ToString::to_string).chain([world.address.to_string()]).collect();
    world.configure_agent(&AgentSettings { identifiers: names.clone(), ..AgentSettings::default() });
    let limits = if extra.contains("[limits]") { "" } else { "[limits]\naccepts_per_second_per_ip = 0\n" };
    world.configure_node("node-1", 0, &world.delivery_socket(), &format!("{limits}{extra}"));
    let agent = world.start_agent();
    let mut command: Command = world.node_command("node-1");
    command.env("WSS_NODE_SERVER_NAMES", format!("{names:?}"));
    let node = Process::start("node-1", &mut command);
    world.proven().await;
    let (anchors, _) = world.roots().await;
    let asker = Asker {
        address: world.node_address(),
        tls: tls(&anchors).unwrap(),
        server_name: names[0].clone(),
        source: STRANGER.into(),
    };
    Gate { world, node, _agent: agent, asker }
}

/// Status, what is said, and some header fields.
fn check(answer: &Answer, status: u16, body: &str, headers: &[(&str, &str)]) {
    assert_eq!((answer.status, answer.body.as_str()), (status, body), "{answer:?}");
    for (name, value) in headers {
        assert_eq!(answer.header(name), Some(*value), "{name}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_status_and_says_why() {
    let extra = "[gate]\norigins = [\"https://app.test\", \"https://*.shop.test\"]\n\
        [[tenant]]\nname = \"browsers\"\npath = \"/browsers\"\n[tenant.gate]\nallow_missing_origin = false\n\
        require_subprotocol = true\n";
    let gate = gate(&["node.test"], extra).await;
    let good = "Origin: https://app.test";
    let without = |name: &str| {
        let all = upgrade(PATH, "node.test", &[good]);
        all.lines().filter(|line| !line.starts_with(name)).map(|line| format!("{line}\n")).collect::<String>()
    };
    let instead = |from: &str, to: &str| upgrade(PATH, "node.test", &[good]).replace(from, to);

    let accepted = gate.asker.upgrade(PATH, &[good]).await.unwrap();
    check(
        &accepted,
        101,
        "",
        &[
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
        ],
    );
    assert_eq!(accepted.header("sec-websocket-protocol"), None);
    assert_eq!(accepted.header("set-cookie"), None);

    let expected = "expected a WebSocket upgrade: Upgrade: websocket, Connection: Upgrade\n";
    let key = "Sec-WebSocket-Key must be the base64 of 16 bytes\n";
    let elsewhere = "nothing is here; the WebSocket endpoint has another path\n";
    let origin = "this origin is not allowed\n";
    let cases: [(String, u16, &str, &[(&str, &str)]); 19] = [
        (instead(PATH, "/elsewhere"), 404, elsewhere, &[]),
        (instead("GET", "POST"), 405, "a WebSocket begins with GET\n", &[("allow", "GET")]),
        (instead("HTTP/1.1", "HTTP/1.0"), 505, "a WebSocket upgrade needs HTTP/1.1\n", &[]),
        (without("Host"), 400, "Host is missing\n", &[]),
        (instead("Host: node.test", "Host: a b"), 400, "Host cannot be read\n", &[]),
        (instead("Host: node.test", "Host: node.test\nHost: x"), 400, "several Host fields\n", &[]),
        (without("Upgrade"), 400, expected, &[]),
        (instead("Connection: Upgrade", "Connection: close"), 400, expected, &[]),
        (without("Sec-WebSocket-Key"), 400, key, &[]),
        (instead("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400, key, &[]),
        (
            instead("Version: 13", "Version: 8"),
            426,
            "only version 13 of the WebSocket protocol\n",
            &[("sec-websocket-version", "13")],
        ),
        (instead(good, "Origin: https://evil.test"), 403, origin, &[]),
        (instead(good, "Origin: null"), 403, origin, &[]),
        (instead(good, "Origin: http://app.test"), 403, origin, &[]),
        (instead(good, "Origin: https://eviLshop.test"), 403, origin, &[]),
        (instead(good, &format!("{good}\nSec-WebSocket-Origin: https://x.shop.test")), 403, origin, &[]),
        (instead(good, &format!("{good}\n{good}")), 400, "several Origin fields\n", &[]),
        (
            instead(good, &format!("{good}\nSec-WebSocket-Protocol: mqtt")),
            403,
            "none of the offered subprotocols is spoken here\n",
            &[],
        ),
        (
            instead(good, &format!("{good}\nSec-WebSocket-Protocol: centrifuge-protobuf")),
            403,
            "centrifuge-protobuf is not in this version: offer centrifuge-json\n",
            &[],
        ),
    ];
    for (request, status, body, headers) in &cases {
        let answer = gate.asker.ask(request).await.unwrap();
        check(&answer, *status, body, headers);
        assert_eq!(answer.header("connection"), Some("close"), "{request}");
    }

    for lines in [
        ["Origin: https://a.b.shop.test", "Sec-WebSocket-Protocol: mqtt, centrifuge-json"].as_slice(),
        &["Sec-WebSocket-Origin: https://app.test:443", "Sec-WebSocket-Protocol: centrifuge-json"],
        &["Sec-WebSocket-Protocol: centrifuge-protobuf, centrifuge-json"],
    ] {
        let answer = gate.asker.upgrade(PATH, lines).await.unwrap();
        check(&answer, 101, "", &[("sec-websocket-protocol", "centrifuge-json")]);
    }

    let browsers = gate.asker.upgrade("/browsers", &[]).await.unwrap();
    check(&browsers, 403, "Origin is missing\n", &[]);
    // Without origins of its own the tenant lets in pages of the very host.
    let own = gate.asker.upgrade("/browsers", &["Origin: https://node.test"]).await.unwrap();
    check(&own, 403, "a subprotocol is required: offer centrifuge-json\n", &[]);
    let lines = ["Origin: https://node.test", "Sec-WebSocket-Protocol: centrifuge-json"];
    check(&gate.asker.upgrade("/browsers", &lines).await.unwrap(), 101, "", &[]);
    check(&gate.asker.upgrade("/browsers", &[good]).await.unwrap(), 403, origin, &[]);

    // Nothing of a query is logged, whoever writes it.
    let answer = gate.asker.upgrade("/elsewhere?token=sEcReT", &[]).await.unwrap();
    assert_eq!(answer.status, 404);
    let line = gate.node.line("/elsewhere", PATIENCE);
    assert!(line.contains("what=\"not_found\"") && line.contains("address=127.250.0.2"), "{line}");
    assert_eq!(gate.node.count("sEcReT"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_are_believed_and_nobody_else() {
    let extra = "[limits]\nsessions_per_ip = 1\naccepts_per_second_per_ip = 0\n\
        [proxy]\ntrusted = [\"127.250.0.1/32\"]\nsticky_cookie = \"route\"\n";
    let gate = gate(&["node.test"], extra).await;
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
    let gate = gate(&["node.test", "acme.test", "x.acme.test", "other.test"], extra).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_page_learns_why_by_a_close_code_or_by_asking_and_other_pages_nothing() {
    let extra = "[[tenant]]\nname = \"close\"\npath = \"/close\"\nsessions = 1\n\
        [tenant.gate]\nreject = \"close\"\nallow_missing_origin = false\norigins = [\"https://app.test\"]\n\
        close_origin = 4503\n";
    let gate = gate(&["node.test"], extra).await;
    let app = "Origin: https://app.test";

    // No browser sends no Origin; whoever does may be told.
    let answer = gate.asker.upgrade("/close", &[]).await.unwrap();
    assert_eq!(answer.status, 101);
    assert_eq!(answer.until_closed().await.unwrap(), b"\x88\x10\x11\x97origin_missing");
    // A page of another site gets no more than before.
    let evil = "Origin: https://evil.test";
    check(&gate.asker.upgrade("/close", &[evil]).await.unwrap(), 403, "this origin is not allowed\n", &[]);
    let mqtt = [app, "Sec-WebSocket-Protocol: mqtt"];
    assert_eq!(gate.asker.upgrade("/close", &mqtt).await.unwrap().status, 403);

    let asking = |path: &str, lines: &[&str]| {
        let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
        format!("GET /connect/check{path} HTTP/1.1\nHost: node.test\n{lines}")
    };
    let ask = |path: &str, lines: &[&str]| {
        let request = asking(path, lines);
        let asker = gate.asker.clone();
        async move { asker.ask(&request).await.unwrap() }
    };
    let told = |answer: &Answer| serde_json::from_str::<Value>(&answer.body).unwrap();
    let cors = [
        ("access-control-allow-origin", "https://app.test"),
        ("vary", "Origin, Sec-Fetch-Site"),
        ("cache-control", "no-store"),
        ("content-type", "application/json"),
    ];
    for path in ["?path=/close", "?x=1&path=%2Fclose"] {
        let answer = ask(path, &[app]).await;
        check(&answer, 200, "{\"ok\":true,\"reason\":null,\"retry_after\":null}\n", &cors);
    }
    let held = gate.asker.upgrade("/close", &[app]).await.unwrap();
    assert_eq!(held.status, 101);
    let full = ask("?path=/close", &[app]).await;
    check(&full, 200, "{\"ok\":false,\"reason\":\"limit_reached\",\"retry_after\":10}\n", &cors);
    let answer = gate.asker.upgrade("/close", &[app]).await.unwrap();
    assert_eq!(answer.until_closed().await.unwrap(), b"\x88\x0f\x0f\xa8limit_reached");

    // Whoever may not ask is told neither whether nor why.
    for lines in [[evil].as_slice(), &["Origin: null"], &[]] {
        let answer = ask("?path=/close", lines).await;
        check(&answer, 403, "", &[("vary", "Origin, Sec-Fetch-Site")]);
        assert_eq!(answer.header("access-control-allow-origin"), None, "{lines:?}");
    }
    check(&ask("?path=/none", &[app]).await, 404, "", &[]);

    // Of everybody's endpoint: no origins are listed, so the host's own pages may ask, which send none.
    let answer = ask("", &["Sec-Fetch-Site: same-origin"]).await;
    assert_eq!((answer.status, &told(&answer)["ok"]), (200, &json!(true)));
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(ask("", &[app]).await.status, 403);

    let preflight = asking("?path=/close", &[app, "Access-Control-Request-Method: GET"]);
    let answer = gate.asker.ask(&preflight.replace("GET /", "OPTIONS /")).await.unwrap();
    check(
        &answer,
        204,
        "",
        &[
            ("access-control-allow-origin", "https://app.test"),
            ("access-control-allow-methods", "GET"),
            ("access-control-allow-headers", "authorization"),
            ("access-control-max-age", "600"),
        ],
    );
    let post = gate.asker.ask(&asking("", &[]).replace("GET /", "POST /")).await.unwrap();
    check(&post, 405, "", &[("allow", "GET, OPTIONS")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn load_balancers_ask_how_the_node_is() {
    let extra = "[gate]\norigins = [\"https://app.test\"]\nallow_missing_origin = false\n\
        [plain]\naddress = \"ADDRESS:8080\"\n[proxy]\ntrusted = [\"127.250.0.1/32\"]\n";
    let gate = gate(&["node.test"], extra).await;
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

/// What the audit file holds.
fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_file_is_turned_over_and_a_flood_is_told_in_sum() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let extra =
        format!("[gate]\norigins = [\"https://app.test\"]\n[audit]\nfile = {path:?}\nlines_per_second = 5\n");
    let gate = gate(&["node.test"], &extra).await;
    let evil = "Origin: https://evil.test";
    assert_eq!(gate.asker.upgrade(PATH, &[evil]).await.unwrap().status, 403);
    let line = eventually("a line", PATIENCE, || async { lines(&path).into_iter().next() }).await;
    let expected = json!({
        "time": line["time"],
        "what": "origin_refused",
        "address": "127.250.0.2",
        "peer": line["peer"],
        "detail": format!("GET {PATH}: Origin \"https://evil.test\" is not allowed"),
    });
    assert_eq!(line, expected);
    assert!(line["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert!(line["peer"].as_str().unwrap().starts_with("127.250.0.2:"));
    assert_eq!(gate.node.count("origin_refused"), 0, "in the file and not in the log");

    // logrotate: moved away, then SIGHUP. The node goes on, with a new file.
    let old = dir.path().join("audit.jsonl.1");
    std::fs::rename(&path, &old).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(gate.node.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    eventually("a new file", PATIENCE, || async { path.exists().then_some(()) }).await;
    for _ in 0..30 {
        assert_eq!(gate.asker.upgrade(PATH, &[evil]).await.unwrap().status, 403);
    }
    let sum = eventually("a sum", PATIENCE, || async {
        lines(&path).into_iter().find(|line| line["what"] == "left_out")
    })
    .await;
    assert_eq!(sum["left_out"], "origin_refused");
    assert!(sum["count"].as_u64().unwrap() > 0, "{sum}");
    eventually("all are accounted for", PATIENCE, || async {
        let all = lines(&path);
        let told = all.iter().filter(|line| line["what"] == "origin_refused").count() as u64;
        let left_out: u64 = all.iter().filter_map(|line| line["count"].as_u64()).sum();
        (told + left_out == 30).then_some(())
    })
    .await;
    assert_eq!(lines(&old).len(), 1);
    drop(gate);

    // A file that cannot be made is told before anything listens.
    let world = World::new();
    world.configure_node("node-1", 0, &world.delivery_socket(), "[audit]\nfile = \"/nonexistent/audit\"\n");
    let ran = sealwire_tests::process::run(&mut world.node_command("node-1"));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("audit.file: cannot open /nonexistent/audit: No such file"), "{ran:?}");
}

/// A JWT of HS256 with these claims.
fn jwt(secret: &[u8], claims: &Value) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let text =
        format!("{}.{}", encode(br#"{"alg":"HS256","typ":"JWT"}"#), encode(claims.to_string().as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    format!("{text}.{}", encode(hmac::sign(&key, text.as_bytes()).as_ref()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_in_and_what_is_wrong_with_it_is_told_where_only_its_page_reads_it() {
    let secret = b"0123456789abcdef0123456789abcdef";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hs256");
    std::fs::write(&path, secret).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let extra = format!(
        "[token]\nat = \"upgrade\"\nquery = \"token\"\nhs256_secret = {path:?}\n\
         [[tenant]]\nname = \"close\"\npath = \"/close\"\n[tenant.gate]\nreject = \"close\"\n\
         [[tenant]]\nname = \"down\"\npath = \"/down\"\n\
         [tenant.token]\nat = \"upgrade\"\njwks = \"http://127.0.0.1:1/jwks\"\n"
    );
    let gate = gate(&["node.test"], &extra).await;
    let now = jiff::Timestamp::now().as_second();
    let good = jwt(secret, &json!({"sub": "ann", "exp": now + 600}));
    let expired = jwt(secret, &json!({"sub": "ann", "exp": now - 600}));
    let forged = jwt(b"another-secret-of-thirty-two-bytes", &json!({"sub": "ann", "exp": now + 600}));
    let bearer = |token: &str| format!("Authorization: Bearer {token}");

    check(&gate.asker.upgrade(PATH, &[]).await.unwrap(), 403, "a token is needed\n", &[]);
    assert_eq!(gate.asker.upgrade(PATH, &[&bearer(&good)]).await.unwrap().status, 101);
    assert_eq!(gate.asker.upgrade(&format!("{PATH}?token={good}"), &[]).await.unwrap().status, 101);
    let refused = "the token does not let you in\n";
    for bad in [&expired, &forged, "rubbish"] {
        check(&gate.asker.upgrade(PATH, &[&bearer(bad)]).await.unwrap(), 403, refused, &[]);
        check(&gate.asker.upgrade(&format!("{PATH}?token={bad}"), &[]).await.unwrap(), 403, refused, &[]);
    }
    let twice = gate.asker.upgrade(&format!("{PATH}?token={good}"), &[&bearer(&good)]).await.unwrap();
    check(&twice, 403, refused, &[]);

    let page = "Origin: https://node.test";
    for (token, reason) in [
        (None, json!("token_missing")),
        (Some(&expired), json!("token_expired")),
        (Some(&forged), json!("token_signature")),
        (Some(&good), Value::Null),
    ] {
        let header = token.map(|token| bearer(token)).unwrap_or_default();
        for path in [PATH, "/close"] {
            let request =
                format!("GET /connect/check?path={path} HTTP/1.1\nHost: node.test\n{page}\n{header}");
            let answer = gate.asker.ask(&request).await.unwrap();
            let told: Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(told, json!({"ok": reason.is_null(), "reason": reason, "retry_after": null}));
        }
    }

    let answer = gate.asker.upgrade("/close", &[page]).await.unwrap();
    assert_eq!(answer.until_closed().await.unwrap(), b"\x88\x0f\x0f\xa1token_missing");
    let answer = gate.asker.upgrade("/close", &[page, &bearer(&expired)]).await.unwrap();
    assert_eq!(answer.until_closed().await.unwrap(), b"\x88\x0f\x0f\xa1token_refused");

    let down = gate.asker.upgrade("/down", &[&bearer(&good)]).await.unwrap();
    assert_eq!((down.status, down.body.as_str()), (503, "tokens cannot be checked now\n"), "{down:?}");
    assert!(down.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);

    let line = gate.node.line("what=\"token_refused\"", PATIENCE);
    assert!(line.contains("token expired"), "{line}");
    let _told = gate.node.line("what=\"token_unavailable\"", PATIENCE);
    for token in [&good, &expired, &forged] {
        let signature = token.rsplit('.').next().unwrap();
        assert_eq!(gate.node.count(signature), 0, "no token in the log");
    }
}
