//! A new process takes over from the old one while clients connect all the time: none is refused or reset.
#![allow(missing_docs, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use sealwire_tests::process::{Process, binary};
use sealwire_tests::session::tls;
use sealwire_tests::wire::{self, ask, code};
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use sealwire_tests::{eventually, tools};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Clients that connect, upgrade and leave, one after the other.
struct Clients {
    stop: Arc<AtomicBool>,
    upgraded: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

impl Clients {
    fn start(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        let (stop, upgraded) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let tasks = (0..8).map(|_| {
            let (config, stop, upgraded) = (Arc::clone(config), Arc::clone(&stop), Arc::clone(&upgraded));
            tokio::spawn(async move {
                let mut faults = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    match once(address, &config).await {
                        Ok(101) => drop(upgraded.fetch_add(1, Ordering::Relaxed)),
                        // The old one has begun to stop, and says so.
                        Ok(503) => {}
                        Ok(other) => faults.push(format!("HTTP {other}")),
                        Err(error) => faults.push(format!("{error:#}")),
                    }
                }
                faults
            })
        });
        Self { tasks: tasks.collect(), stop, upgraded }
    }

    async fn some_more_get_in(&self) {
        let before = self.upgraded.load(Ordering::Relaxed);
        eventually("clients get in", PATIENCE, || async {
            (self.upgraded.load(Ordering::Relaxed) > before + 20).then_some(())
        })
        .await;
    }

    async fn faults(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut faults = Vec::new();
        for task in self.tasks {
            faults.extend(task.await.unwrap());
        }
        faults
    }
}

async fn once(address: SocketAddr, config: &Arc<ClientConfig>) -> anyhow::Result<u16> {
    let tcp = TcpStream::connect(address).await?;
    let mut stream = wire::tls(tcp, "node.test", Arc::clone(config)).await?;
    Ok(code(&ask(&mut stream, &wire::upgrade("node.test", "")).await?))
}

/// A second node on the same port, with an admin address of its own.
fn configure(world: &World, id: &str, admin: u16, listen: &str) {
    world.configure_node(id, 0, &world.delivery_socket(), "");
    let path = world.path(&format!("{id}.toml"));
    let text = std::fs::read_to_string(&path).unwrap().replace(":9090", &format!(":{admin}"));
    std::fs::write(path, text.replace("[listen]\n", &format!("[listen]\n{listen}"))).unwrap();
}

async fn ready(world: &World, admin: u16) {
    eventually("ready", PATIENCE, || async {
        let (code, _) = wire::admin((world.address, admin).into(), "/readyz").await.ok()?;
        (code == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_share_a_port_and_one_leaves() {
    let world = World::new();
    world.configure_agent(&AgentSettings::default());
    configure(&world, "node-1", 9090, "reuse_port = true\n");
    configure(&world, "node-2", 9091, "reuse_port = true\n");
    let (_agent, mut old) = (world.start_agent(), world.start_node("node-1"));
    world.proven().await;
    let config = tls(&world.roots().await.0).unwrap();
    let clients = Clients::start(world.node_address(), &config);
    clients.some_more_get_in().await;
    let new = world.start_node("node-2");
    ready(&world, 9091).await;
    clients.some_more_get_in().await;
    old.terminate();
    assert!(old.ended(PATIENCE).success(), "{}", old.log());
    clients.some_more_get_in().await;
    assert_eq!(clients.faults().await, Vec::<String>::new());
    drop(new);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_socket_that_is_handed_over_outlives_each_process() {
    let Some(python) = tools::find("python3") else { return };
    let world = World::new();
    world.configure_agent(&AgentSettings::default());
    configure(&world, "node-1", 9090, "");
    let _agent = world.start_agent();
    let mut systemd = Command::new(python);
    systemd.arg(tools::repository().join("tests/tools/activate"));
    systemd.arg(world.node_address().to_string()).arg(binary("wss-node"));
    systemd.args(["run", "--config"]).arg(world.path("node-1.toml"));
    let mut systemd = Process::start("activation", &mut systemd);
    systemd.say("start");
    world.proven().await;
    let config = tls(&world.roots().await.0).unwrap();
    let clients = Clients::start(world.node_address(), &config);
    clients.some_more_get_in().await;
    // Clients wait in the queue of the socket meanwhile.
    systemd.say("stop");
    let _stopped = systemd.line("stopped with 0", PATIENCE);
    tokio::time::sleep(Duration::from_millis(300)).await;
    systemd.say("start");
    ready(&world, 9090).await;
    clients.some_more_get_in().await;
    assert_eq!(clients.faults().await, Vec::<String>::new());
    systemd.say("stop");
    eventually("the second one stops as well", PATIENCE, || async {
        (systemd.count("stopped with 0") == 2).then_some(())
    })
    .await;
}

#[test]
fn sockets_without_a_name_that_is_known_are_refused() {
    let Some(python) = tools::find("python3") else { return };
    let world = World::new();
    configure(&world, "node-1", 9090, "");
    let mut systemd = Command::new(python);
    systemd.arg(tools::repository().join("tests/tools/activate")).arg(world.node_address().to_string());
    systemd.arg(binary("wss-node")).args(["run", "--config"]).arg(world.path("node-1.toml"));
    systemd.env("NAME", "wss-node.socket");
    let mut systemd = Process::start("activation", &mut systemd);
    systemd.say("start");
    let line = systemd.line("socket activation: ", PATIENCE);
    assert!(line.contains("\"wss-node.socket\"") && line.contains("FileDescriptorName="), "{line}");
}
