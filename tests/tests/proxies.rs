//! The configurations of docs/proxies under real nginx and HAProxy: only addresses and paths are put in. The client's
//! address is known behind them, forged headers are not believed, sticky clients stay, and the official client comes back
//! after a node was down.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use sealwire_tests::authority::Authority;
use sealwire_tests::process::Process;
use sealwire_tests::session::tls;
use sealwire_tests::wire::{self, ask, code, connect_from};
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use sealwire_tests::{eventually, tools};
use serde_json::Value;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 6, 6, 6));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proxy {
    Nginx,
    Haproxy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    /// Ends at the proxy.
    Terminated,
    /// Goes through.
    Passed,
}

/// A proxy before two nodes, of which the first runs.
struct Behind {
    world: World,
    nodes: Vec<Process>,
    _agent: Process,
    _proxy: Process,
    root: PathBuf,
    tls: Arc<ClientConfig>,
}

/// `None`: the proxy is not installed.
async fn start(proxy: Proxy, how: Tls) -> Option<Behind> {
    let program = match proxy {
        Proxy::Nginx => tools::find("nginx")?,
        Proxy::Haproxy => tools::find("haproxy")?,
    };
    let world = World::new();
    world.configure_agent(&AgentSettings::default());
    for (id, offset) in [("node-1", 0), ("node-2", 1)] {
        let trusted = "[proxy]\ntrusted = [\"127.0.0.1/32\"]\nsticky_cookie = \"sealwire\"\n";
        let plain = match how {
            Tls::Terminated => format!("[plain]\naddress = \"{}:{}\"\n", world.address, 8080 + offset),
            Tls::Passed => String::new(),
        };
        world.configure_node(id, offset, &world.delivery_socket(), &format!("{trusted}{plain}"));
        if how == Tls::Passed {
            let path = world.path(&format!("{id}.toml"));
            let text = std::fs::read_to_string(&path).unwrap();
            let required = "[listen]\nproxy_protocol = \"required\"\n";
            std::fs::write(path, text.replace("[listen]\n", required)).unwrap();
        }
    }
    let (agent, node) = (world.start_agent(), world.start_node("node-1"));
    world.proven().await;
    let (anchors, root) = match how {
        Tls::Passed => world.roots().await,
        // The proxy's own certificate.
        Tls::Terminated => {
            let authority = Authority::new("of the proxy");
            let (chain, key) = authority.server(&world);
            world.write("chain.pem", &chain);
            world.write("key.pem", &key);
            world.write("www.pem", &format!("{chain}{key}"));
            (authority.anchors(), world.write("proxy-root.pem", &authority.pem()))
        }
    };
    let running = Process::start("proxy", &mut command(proxy, how, program, &world));
    let behind = Behind {
        tls: tls(&anchors).unwrap(),
        world,
        nodes: vec![node],
        _agent: agent,
        _proxy: running,
        root,
    };
    eventually("the proxy passes clients on", PATIENCE, || async {
        (behind.answer("").await.ok()?.0 == 101).then_some(())
    })
    .await;
    Some(behind)
}

/// The documented configuration, with our addresses and paths in it.
fn command(proxy: Proxy, how: Tls, program: PathBuf, world: &World) -> Command {
    let (directory, file) = match (proxy, how) {
        (Proxy::Nginx, Tls::Terminated) => ("nginx", "terminate.conf"),
        (Proxy::Nginx, Tls::Passed) => ("nginx", "passthrough.conf"),
        (Proxy::Haproxy, Tls::Terminated) => ("haproxy", "terminate.cfg"),
        (Proxy::Haproxy, Tls::Passed) => ("haproxy", "passthrough.cfg"),
    };
    let path = tools::repository().join("docs/proxies").join(directory).join(file);
    let mut text = std::fs::read_to_string(&path).unwrap();
    let (own, dir) = (world.address, world.path("."));
    let dir = dir.display();
    let public = public(world);
    let mut put = |from: &str, to: String, needed: bool| {
        assert!(!needed || text.contains(from), "{} has no {from:?}", path.display());
        text = text.replace(from, &to);
    };
    let port = if how == Tls::Terminated { 8080 } else { 8443 };
    put(&format!("10.0.0.5:{port}"), format!("{own}:{port}"), true);
    put(&format!("10.0.0.6:{port}"), format!("{own}:{}", port + 1), true);
    put("listen 443", format!("listen {public}"), proxy == Proxy::Nginx);
    put("bind :443", format!("bind {public}"), proxy == Proxy::Haproxy);
    put("/etc/nginx/tls", dir.to_string(), proxy == Proxy::Nginx && how == Tls::Terminated);
    put("/etc/haproxy/tls", dir.to_string(), proxy == Proxy::Haproxy && how == Tls::Terminated);
    put(
        "www.example.com",
        "node.test".to_owned(),
        !(proxy == Proxy::Nginx && how == Tls::Passed) && file != "terminate.cfg",
    );
    let mut command = Command::new(program);
    match proxy {
        Proxy::Nginx => {
            let block = if how == Tls::Terminated { "http" } else { "stream" };
            // Where Debian's package puts what is a module there.
            let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
            let load = if how == Tls::Passed { format!("load_module {module};\n") } else { String::new() };
            let temporary = "client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3;\n\
                             uwsgi_temp_path t4; scgi_temp_path t5; access_log off;\n";
            let temporary = if how == Tls::Terminated { temporary } else { "" };
            let around = format!(
                "{load}daemon off;\npid nginx.pid;\nerror_log stderr info;\n\
                 events {{ worker_connections 1024; }}\n{block} {{\n{temporary}{text}\n}}\n"
            );
            let file = world.write("nginx.conf", &around);
            command.arg("-p").arg(world.path(".")).arg("-e").arg("stderr").arg("-c").arg(file);
        }
        Proxy::Haproxy => {
            let file = world.write("haproxy.cfg", &text);
            command.arg("-db").arg("-f").arg(file);
        }
    }
    command
}

fn public(world: &World) -> SocketAddr {
    (world.address, 9443).into()
}

impl Behind {
    /// The status of an upgrade through the proxy, and the node that the cookie names.
    async fn answer(&self, headers: &str) -> anyhow::Result<(u16, Option<String>)> {
        let tcp = connect_from(CLIENT, public(&self.world)).await?;
        let mut stream = wire::tls(tcp, "node.test", Arc::clone(&self.tls)).await?;
        let head = ask(&mut stream, &wire::upgrade("node.test", headers)).await?;
        let cookie = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let value = value.strip_prefix("sealwire=")?;
            let node = value.split(';').next()?.to_owned();
            name.eq_ignore_ascii_case("set-cookie").then_some(node)
        });
        Ok((code(&head), cookie))
    }

    /// The client's address is known, and what it writes about itself is not believed.
    async fn the_client_is_known(&self) {
        let forged = "X-Forwarded-For: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\nX-Real-IP: 203.0.113.9\r\n\
                      Sec-WebSocket-Protocol: mqtt\r\n";
        assert_eq!(self.answer(forged).await.unwrap().0, 403);
        let _named = self.nodes[0].line("127.6.6.6", PATIENCE);
        assert_eq!(self.nodes[0].count("203.0.113.9"), 0, "{}", self.nodes[0].log());
    }

    /// Two nodes, and a client that stays on the one it had first.
    async fn clients_stay(&mut self) {
        self.nodes.push(self.world.start_node("node-2"));
        let mut first = None;
        // Both get clients.
        let mut seen = std::collections::BTreeSet::new();
        eventually("both nodes get clients", PATIENCE, || {
            let answer = self.answer("");
            let (seen, first) = (&mut seen, &mut first);
            let answer = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(answer));
            if let Ok((101, Some(node))) = answer {
                first.get_or_insert_with(|| node.clone());
                seen.insert(node);
            }
            let done = (seen.len() == 2).then_some(());
            async move { done }
        })
        .await;
        for node in &seen {
            for _ in 0..10 {
                let (code, answered) = self.answer(&format!("Cookie: sealwire={node}\r\n")).await.unwrap();
                assert_eq!((code, answered.as_ref()), (101, Some(node)));
            }
        }
        // The one that it was on goes: the other takes it.
        self.nodes[1].terminate();
        assert!(self.nodes[1].ended(PATIENCE).success());
        eventually("the other node", PATIENCE, || async {
            let (code, node) = self.answer("Cookie: sealwire=node-2\r\n").await.ok()?;
            (code == 101 && node.as_deref() == Some("node-1")).then_some(())
        })
        .await;
    }

    /// The official client goes on after the only node was down for a while.
    async fn the_official_client_comes_back(&mut self) {
        let (Some(node), Some(_)) = (tools::find("node"), tools::find("js/node_modules/centrifuge")) else {
            return;
        };
        let mut client = Command::new(node);
        client.arg(tools::dir().join("js/session.mjs"));
        client.args(["--url", &format!("wss://{}/connection/websocket", public(&self.world))]);
        client.args(["--channel", "news", "--publish", "20", "--expect", "20", "--sessions", "3", "--hold"]);
        client.args(["--deadline", "60"]).arg("--ca").arg(&self.root);
        let mut client = Process::start("centrifuge-js", &mut client);
        let received: Value = serde_json::from_str(&client.line("\"received\"", PATIENCE)).unwrap();
        assert_eq!((&received["gaps"], &received["publications"]), (&0.into(), &20.into()), "{received}");
        self.nodes[0].kill();
        let lost = client.line("\"disconnected\"", PATIENCE);
        assert!(!lost.contains("\"final\":true"), "{lost}");
        eventually("the proxy says that nobody is there", PATIENCE, || async {
            match self.answer("").await {
                Ok((code, _)) => matches!(code, 502..=504).then_some(()),
                // TLS that goes through ends with it.
                Err(_) => Some(()),
            }
        })
        .await;
        self.nodes[0] = self.world.start_node("node-1");
        // Their back-off decides when.
        let sessions = || async {
            let counters = wire::counters((self.world.address, 9090).into()).await.ok()?;
            (counters["sessions"].as_u64()? >= 3).then_some(())
        };
        eventually("all sessions are back", PATIENCE, sessions).await;
        // The client hears of its own subscription a moment later.
        tokio::time::sleep(Duration::from_millis(500)).await;
        client.close_input();
        let end: Value = serde_json::from_str(&client.line("\"end\"", PATIENCE)).unwrap();
        assert_eq!((&end["sessions_open"], &end["gaps"]), (&3.into(), &0.into()), "{end}");
        assert!(end["disconnects"].as_u64().unwrap() >= 3, "{end}");
    }
}

async fn terminated(proxy: Proxy) {
    let Some(mut behind) = start(proxy, Tls::Terminated).await else { return };
    behind.the_client_is_known().await;
    behind.the_official_client_comes_back().await;
    behind.clients_stay().await;
}

async fn passed(proxy: Proxy) {
    let Some(mut behind) = start(proxy, Tls::Passed).await else { return };
    behind.the_client_is_known().await;
    behind.the_official_client_comes_back().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_ends_tls() {
    terminated(Proxy::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_passes_tls() {
    passed(Proxy::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_ends_tls() {
    terminated(Proxy::Haproxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_passes_tls() {
    passed(Proxy::Haproxy).await;
}
