//! What the node tells of itself, as others understand it: the OpenTelemetry Collector, and Prometheus.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use sealwire_tests::authority::Authority;
use sealwire_tests::collector::{Collector, Item};
use sealwire_tests::process::{Process, run};
use sealwire_tests::session::{Session, tls};
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use sealwire_tests::{eventually, tools};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_websockets::{ClientBuilder, Message};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Agent and node, the node with this `[telemetry]`.
async fn start(world: &World, telemetry: &str) -> (Process, Process, Arc<ClientConfig>) {
    world.configure_agent(&AgentSettings::default());
    world.configure_node("node-1", 0, &world.delivery_socket(), &format!("[telemetry]\n{telemetry}"));
    let (agent, node) = (world.start_agent(), world.start_node("node-1"));
    world.proven().await;
    let tls = tls(&world.roots().await.0).unwrap();
    (agent, node, tls)
}

fn endpoint(world: &World, protocol: &str) -> String {
    let address = if protocol == "grpc" { Collector::grpc(world) } else { Collector::http(world) };
    format!("endpoint = \"http://{address}\"\nprotocol = \"{protocol}\"\n")
}

/// A session of a client that is traced: publishes once, and closes with 1000.
async fn traced(world: &World, tls: &Arc<ClientConfig>) {
    let address = world.node_address();
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("node.test").unwrap();
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await.unwrap();
    let uri = format!("wss://node.test:{}/connection/websocket?secret=x", address.port());
    let header = http::HeaderName::from_static("traceparent");
    let builder = ClientBuilder::new().uri(&uri).unwrap();
    let builder = builder.add_header(header, PARENT.parse().unwrap()).unwrap();
    let (mut socket, _) = builder.connect_on(stream).await.unwrap();
    let read = async |socket: &mut tokio_websockets::WebSocketStream<_>| {
        futures_util::StreamExt::next(socket).await.unwrap().unwrap()
    };
    for command in
        [json!({"id": 1, "connect": {}}), json!({"id": 2, "publish": {"channel": "news", "data": {"n": 1}}})]
    {
        futures_util::SinkExt::send(&mut socket, Message::text(command.to_string())).await.unwrap();
        assert!(read(&mut socket).await.is_text());
    }
    let close = Message::close(Some(tokio_websockets::CloseCode::NORMAL_CLOSURE), "done");
    futures_util::SinkExt::send(&mut socket, close).await.unwrap();
    while futures_util::StreamExt::next(&mut socket).await.is_some() {}
}

async fn span(collector: &Collector, name: &str) -> Item {
    eventually(&format!("span {name}"), PATIENCE, || async { collector.spans(name).pop() }).await
}

fn assert_attributes(item: &Item, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(item.attributes.get(*key).map(String::as_str), Some(*value), "{key}: {item:#?}");
    }
}

/// Spans, metrics and log records of a traced session, by one of the protocols.
async fn everything_arrives(protocol: &str) {
    let world = World::new();
    let Some(collector) = Collector::start(&world, None) else { return };
    let more = "sample = 0.0\ninterval = \"1s\"\nheaders = { x-tenant = \"a\" }\n";
    let (_agent, _node, tls) = start(&world, &format!("{}{more}", endpoint(&world, protocol))).await;
    // Another session, whose client is in no trace, is not traced, but gets the publication's.
    let mut subscriber = Session::open(world.node_address(), Arc::clone(&tls)).await.unwrap();
    subscriber.subscribe("news").await.unwrap();
    traced(&world, &tls).await;
    let push = subscriber.next().await.unwrap();
    let traceparent = push["push"]["pub"]["tags"]["traceparent"].as_str().unwrap().to_owned();

    let connection = span(&collector, "wss connection").await;
    assert_eq!(connection.field("Trace ID"), TRACE);
    assert_eq!(connection.field("Parent ID"), "00f067aa0ba902b7");
    assert_eq!(connection.field("Kind"), "Server");
    let peer = connection.attributes["network.peer.address"].clone();
    assert_attributes(
        &connection,
        &[
            ("client.address", &peer),
            ("server.address", "Str(node.test)"),
            ("server.port", "Int(8443)"),
            ("tls.protocol.version", "Str(1.3)"),
            ("tls.cipher", "Str(TLS13_AES_256_GCM_SHA384)"),
            ("tls.curve", "Str(X25519MLKEM768)"),
            ("tls.client.server_name", "Str(node.test)"),
            ("tls.resumed", "Bool(false)"),
            ("url.path", "Str(/connection/websocket)"),
            ("http.response.status_code", "Int(101)"),
            ("wss_node.auth", "Str(none)"),
            ("wss_node.close.code", "Int(1000)"),
            ("wss_node.close.side", "Str(client)"),
            ("wss_node.messages.received", "Int(2)"),
        ],
    );
    assert!(connection.attributes["session.id"].starts_with("Str("), "{connection:#?}");
    assert_eq!(connection.events, ["session open", "session closed"]);
    for name in ["tls handshake", "upgrade", "wss publish"] {
        let child = span(&collector, name).await;
        assert_eq!(
            (child.field("Trace ID"), child.field("Parent ID")),
            (TRACE, connection.field("ID")),
            "{name}"
        );
    }
    let publish = span(&collector, "wss publish").await;
    assert_eq!(traceparent, format!("00-{TRACE}-{}-01", publish.field("ID")));
    assert_attributes(&publish, &[("messaging.destination.name", "Str(news)")]);
    assert_eq!(collector.spans("wss connection").len(), 1, "only one was traced");
    assert!(!collector.server.log().contains("secret=x"), "queries may hold tokens");

    eventually("metrics", PATIENCE, || async {
        let metrics = collector.metrics();
        let wanted =
            ["tls.server.handshake.duration", "wss_node.certificate.expiry", "wss_node.sessions.closed"];
        wanted.iter().all(|name| metrics.iter().any(|found| found == name)).then_some(())
    })
    .await;
    let started =
        eventually("log records", PATIENCE, || async { collector.logs("node running").pop() }).await;
    assert_eq!(started.field("SeverityText"), "INFO");
    assert_eq!(collector.resource("service.name").as_deref(), Some("Str(wss-node)"));
    assert_eq!(collector.resource("service.instance.id").as_deref(), Some("Str(node-1)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_by_grpc() {
    everything_arrives("grpc").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_by_http() {
    everything_arrives("http").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_right_before_the_signal_is_there() {
    for protocol in ["grpc", "http"] {
        let world = World::new();
        let Some(collector) = Collector::start(&world, None) else { return };
        let (_agent, mut node, tls) = start(&world, &endpoint(&world, protocol)).await;
        traced(&world, &tls).await;
        if protocol == "grpc" {
            node.terminate()
        } else {
            node.interrupt()
        }
        assert!(node.ended(PATIENCE).success(), "{}", node.log());
        // Sent before the node was gone; that the collector prints it is only a matter of its pace.
        let connection = span(&collector, "wss connection").await;
        assert_attributes(&connection, &[("wss_node.close.code", "Int(1000)")]);
        eventually("the last line", PATIENCE, || async { collector.logs("node stopped").pop() }).await;
        eventually("metrics", PATIENCE, || async {
            collector.metrics().contains(&"wss_node.drain.duration".to_owned()).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_node_did_not_start_is_there() {
    let world = World::new();
    let Some(collector) = Collector::start(&world, None) else { return };
    let taken = tokio::net::TcpListener::bind(world.node_address()).await.unwrap();
    let telemetry = format!("[telemetry]\n{}", endpoint(&world, "grpc"));
    world.configure_node("node-1", 0, &world.delivery_socket(), &telemetry);
    let mut node = world.start_node("node-1");
    assert!(!node.ended(PATIENCE).success());
    drop(taken);
    let record =
        eventually("the reason", PATIENCE, || async { collector.logs("node not running").pop() }).await;
    assert!(record.attributes["error"].contains("listen.address: cannot listen on"), "{record:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_behind_tls_is_known_by_its_roots() {
    for protocol in ["grpc", "http"] {
        let world = World::new();
        let (ca, other) = (Authority::new("collector"), Authority::new("other"));
        let (certificate, key) = ca.server(&world);
        let (certificate, key) =
            (world.write("collector.pem", &certificate), world.write("collector.key", &key));
        let files = Some((certificate.to_str().unwrap(), key.to_str().unwrap()));
        let Some(collector) = Collector::start(&world, files) else { return };
        let secure = |ca: &Authority, file: &str| {
            let roots = world.write(file, &ca.pem());
            let plain = endpoint(&world, protocol).replace("http://", "https://");
            format!("{plain}roots = \"{}\"\ninterval = \"1s\"\n", roots.display())
        };
        let (_agent, node, tls) = start(&world, &secure(&ca, "right.pem")).await;
        traced(&world, &tls).await;
        span(&collector, "wss connection").await;
        assert_eq!(node.count("does not take it"), 0, "{}", node.log());
        drop(node);

        let telemetry = format!("[telemetry]\n{}", secure(&other, "wrong.pem"));
        world.configure_node("node-2", 0, &world.delivery_socket(), &telemetry);
        let stranger = world.start_node("node-2");
        let _ = stranger.line("telemetry: the collector does not take it", PATIENCE);
        assert!(!collector.server.log().contains("Str(node-2)"));
    }
}

/// The body of `/metrics`.
fn metrics(world: &World, port: u16) -> String {
    let url = format!("http://{}:{port}/metrics", world.address);
    let ran = run(Command::new("curl").args(["--silent", "--fail", "--max-time", "20", &url]));
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out
}

fn sample(text: &str, start: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(start))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_or_stuck_is_told_once_and_holds_nothing_up() {
    let world = World::new();
    if tools::find("bin/otelcol").is_none() {
        return;
    }
    // It takes connections and never answers.
    let stuck = tokio::net::TcpListener::bind(Collector::grpc(&world)).await.unwrap();
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(stuck.accept().await.unwrap());
        }
    });
    let more = "sample = 1.0\ninterval = \"1s\"\ntimeout = \"1s\"\n";
    let (_agent, mut node, tls) = start(&world, &format!("{}{more}", endpoint(&world, "grpc"))).await;
    for _ in 0..20 {
        traced(&world, &tls).await;
    }
    let failed = r#"wss_node_telemetry_items_total{outcome="failed",signal="traces"}"#;
    eventually("failures are counted", PATIENCE, || async {
        sample(&metrics(&world, 9090), failed).filter(|count| *count >= 20.0)
    })
    .await;
    let told = "telemetry: the collector does not take it";
    eventually("each signal fails", PATIENCE, || async { (node.count(told) >= 3).then_some(()) }).await;

    // Nobody there at all.
    holding.abort();
    let _ = holding.await;
    traced(&world, &tls).await;
    let collector = Collector::start(&world, None).unwrap();
    let _ = node.line("telemetry: the collector takes it again", PATIENCE);
    eventually("spans again", PATIENCE, || async {
        traced(&world, &tls).await;
        collector.spans("wss connection").pop()
    })
    .await;
    assert_eq!(node.count(told), 3, "once for each signal: {}", node.log());

    // And stuck again while the node stops.
    collector.server.freeze();
    traced(&world, &tls).await;
    let began = Instant::now();
    node.terminate();
    assert!(node.ended(PATIENCE).success());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(node.log().contains("could not be sent within 1s"), "{}", node.log());
    collector.server.go_on();
}

/// Judged by Prometheus' own tool.
fn promtool(text: &str) {
    let Some(promtool) = tools::find("promtool") else { return };
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_finds_no_fault_with_the_node() {
    let world = World::new();
    let (_agent, _node, tls) = start(&world, "").await;
    traced(&world, &tls).await;
    let text = eventually("the end of the session", PATIENCE, || async {
        let text = metrics(&world, 9090);
        let closed = r#"wss_node_sessions_closed_total{code="1000",side="client"}"#;
        sample(&text, closed).filter(|count| *count > 0.0).map(|_| text)
    })
    .await;
    for (start, least) in [
        ("wss_node_ready ", 1.0),
        ("wss_node_certificate_generation{certificate=\"web\"}", 1.0),
        ("wss_node_certificate_expiry_seconds{certificate=\"web\"}", 1.0),
        ("wss_node_publications_total ", 1.0),
        ("process_memory_usage_bytes ", 1e6),
        ("process_open_file_descriptors ", 3.0),
        (
            r#"http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="101"}"#,
            1.0,
        ),
        (
            r#"tls_server_handshake_duration_seconds_count{tls_curve="X25519MLKEM768",tls_resumed="false"}"#,
            1.0,
        ),
    ] {
        assert!(sample(&text, start).is_some_and(|value| value >= least), "{start}\n{text}");
    }
    promtool(&text);
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_finds_no_fault_with_the_agent() {
    let world = World::new();
    world.configure_agent(&AgentSettings::default());
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let mut command = world.sealwire(["run"]);
    let address = format!("{}:9464", world.address);
    let _agent = Process::start("agent", command.env("SEALWIRE_ADMIN__METRICS", address));
    let _node = world.start_node("node-1");
    world.proven().await;
    let text = eventually("the node's report", PATIENCE, || async {
        let text = metrics(&world, 9464);
        sample(&text, r#"sealwire_node_ready{node="node-1"}"#).filter(|ready| *ready > 0.0).map(|_| text)
    })
    .await;
    for (start, least) in [
        (r#"sealwire_certificates{state="proven"}"#, 1.0),
        (r#"sealwire_certificate_expiry_seconds{certificate="web"}"#, 1.0),
        (r#"sealwire_attempts_total{issuer="pki",work="order",outcome="ok"}"#, 1.0),
        (r#"sealwire_steps_total{step="acked"}"#, 1.0),
        (r#"sealwire_steps_total{step="proven"}"#, 1.0),
        ("sealwire_nodes ", 1.0),
        ("process_memory_usage_bytes ", 1e6),
    ] {
        assert!(sample(&text, start).is_some_and(|value| value >= least), "{start}\n{text}");
    }
    promtool(&text);
}
