//! What operators get wrong: one clear line each, with the exit code that tells configuration (2) from the
//! rest (1), and nothing lost.
#![allow(missing_docs, clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use sealwire_tests::eventually;
use sealwire_tests::process::{Process, Ran, run};
use sealwire_tests::world::{AgentSettings, PATIENCE, World};

/// One line on standard error, and nothing on standard output.
fn one_line(ran: &Ran, code: i32, parts: &[&str]) {
    assert_eq!(ran.code, code, "{ran:?}");
    let lines: Vec<_> = ran.err.lines().filter(|line| !line.contains(" INFO ")).collect();
    assert_eq!(lines.len(), 1, "{ran:?}");
    for part in parts {
        assert!(lines[0].contains(part), "{part:?} is not in {:?}", lines[0]);
    }
}

fn node_run(world: &World) -> Ran {
    run(&mut world.node_command("node-1"))
}

#[test]
fn configurations_that_are_wrong() {
    let world = World::new();
    for arguments in [["run"].as_slice(), &["config", "check"]] {
        one_line(&world.run(arguments.iter().copied()), 2, &["agent.toml", "No such file", "config example"]);
    }
    world.write("agent.toml", "state_dir = \"/x\"\n[delivery\n");
    one_line(&world.run(["run"]), 2, &["agent.toml:2: not valid TOML"]);
    world.write("agent.toml", "state_dir = \"/x\"\n[delivery]\nsockett = \"/x\"\n");
    one_line(
        &world.run(["config", "check"]),
        2,
        &["agent.toml:3: delivery.sockett: unknown key", "`socket`"],
    );
    world.write("agent.toml", "state_dir = 7\n");
    one_line(&world.run(["status"]), 2, &["agent.toml:1: state_dir", "expected"]);

    world.write("node-1.toml", "server_names = [\"node.test\"]\n[listen]\nadress = \"1.2.3.4:1\"\n");
    one_line(&node_run(&world), 2, &["node-1.toml:3:", "adress", "unknown key"]);
    world.write("node-1.toml", "server_names = [\n");
    one_line(&node_run(&world), 2, &["node-1.toml:", "TOML"]);
    world.write("node-1.toml", "node_id = \"n\"\n");
    one_line(&node_run(&world), 2, &["server_names"]);

    let example = world.run(["config", "example"]).out;
    world.write("agent.toml", &example);
    let ran = world.run(["config", "check"]);
    assert_eq!((ran.code, ran.out.contains("sound; 2 certificate(s), 2 issuer(s)")), (0, true), "{ran:?}");
}

#[test]
fn machines_that_are_wrong() {
    let world = World::new();
    world.configure_agent(&AgentSettings::default());

    // The state directory: a file in its place, then open to everyone.
    world.write("state", "a file");
    one_line(&world.run(["run"]), 1, &["state"]);
    std::fs::remove_file(world.path("state")).unwrap();
    std::fs::create_dir(world.path("state")).unwrap();
    std::fs::set_permissions(world.path("state"), std::fs::Permissions::from_mode(0o755)).unwrap();
    one_line(&world.run(["run"]), 1, &["chmod 0700", "state"]);
    std::fs::remove_dir(world.path("state")).unwrap();

    // Nobody there to talk to.
    one_line(&world.run(["status"]), 1, &["admin.sock", "is the agent running?"]);

    // The HTTP-01 port is taken.
    let taken = std::net::TcpListener::bind((world.address, 5002)).unwrap();
    let issuers = "[acme.ca]\ndirectory = \"https://ca.invalid/dir\"\nterms_of_service_agreed = true\n";
    world.configure_agent(&AgentSettings { issuers: issuers.to_owned(), ..AgentSettings::default() });
    one_line(&world.run(["run"]), 1, &["http01.listen", "5002", "Address already in use"]);
    drop(taken);

    // The node's ports are taken.
    for (port, key) in [(8443, "listen.address"), (9090, "admin.address")] {
        let _taken = std::net::TcpListener::bind((world.address, port)).unwrap();
        world.configure_node("node-1", 0, &world.delivery_socket(), "");
        one_line(&node_run(&world), 1, &[key, &port.to_string()]);
    }
}

/// Root may read everything: only another user can be kept out.
#[test]
fn an_unreadable_state_directory() {
    let world = World::new();
    world.configure_agent(&AgentSettings::default());
    if !rustix::process::geteuid().is_root() {
        eprintln!("*** TEST NOT RUN: only root can start the agent as another user ***");
        assert!(std::env::var_os("CI").is_none(), "CI runs as root");
        return;
    }
    std::fs::set_permissions(world.path("."), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(world.path("state")).unwrap();
    std::fs::set_permissions(world.path("state"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let binary = world.path("sealwire");
    std::fs::copy(sealwire_tests::process::binary("sealwire"), &binary).unwrap();
    let mut command = Command::new(binary);
    command.args(["run", "--config"]).arg(world.path("agent.toml")).uid(65534).gid(65534);
    one_line(&run(&mut command), 1, &["state", "Permission denied"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_is_refused() {
    let world = World::new();
    let (agent, _node) = world.start().await;
    let ran = tokio::task::block_in_place(|| world.run(["run"]));
    one_line(&ran, 1, &["in use by another agent", &format!("pid {}", agent.pid())]);
    // And the first one goes on.
    assert_eq!(world.proven().await.orders, 1);

    // With a state directory of its own it is the socket that is taken.
    let text = std::fs::read_to_string(world.path("agent.toml")).unwrap();
    world.write("agent.toml", &text.replace("/state\"", "/state2\""));
    let ran = tokio::task::block_in_place(|| world.run(["run"]));
    one_line(&ran, 1, &["delivery.socket", "in use by another process", &format!("pid {}", agent.pid())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_file_left_behind_is_replaced() {
    let world = World::new();
    let (mut agent, _node) = world.start().await;
    agent.kill();
    assert!(world.delivery_socket().exists(), "SIGKILL leaves it behind");
    let agent = world.start_agent();
    let _said = agent.line("replacing a socket file", PATIENCE);
    world.proven().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_another_user_is_refused_and_logged() {
    let world = World::new();
    let own = rustix::process::geteuid().as_raw();
    let delivery = format!("allow_uids = [{}]", own + 1);
    world.configure_agent(&AgentSettings { delivery, ..AgentSettings::default() });
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let (agent, node) = (world.start_agent(), world.start_node("node-1"));
    let line = agent.line("refused a peer", PATIENCE);
    assert!(line.contains(&format!("uid={own}")) && line.contains(&format!("pid={}", node.pid())), "{line}");
    let status = eventually("the refusal is counted", PATIENCE, || async {
        world.status().await.filter(|status| status.refused_peers > 0)
    })
    .await;
    assert!(status.nodes.is_empty());
    let _hint = node.line("allow_uids", PATIENCE);
    let ran = tokio::task::block_in_place(|| world.run(["status"]));
    assert!(ran.out.contains("refused by delivery.allow_uids"), "{}", ran.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_an_allowed_group_is_served_and_others_may_not_give_orders() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("*** TEST NOT RUN: only root can start the node as another user ***");
        assert!(std::env::var_os("CI").is_none(), "CI runs as root");
        return;
    }
    let world = World::new();
    let delivery = "allow_gids = [65533]".to_owned();
    world.configure_agent(&AgentSettings { delivery, ..AgentSettings::default() });
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let _agent = world.start_agent();
    eventually("the agent is up", PATIENCE, || world.status()).await;
    // As a chart would: one group may enter the directory and use the socket.
    let open = |path: &str, mode| {
        let path = world.path(path);
        std::os::unix::fs::chown(&path, None, Some(65533)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(".", 0o750);
    open("run", 0o750);
    open("run/delivery.sock", 0o660);
    open("run/admin.sock", 0o660);
    open("node-1.toml", 0o640);
    open("agent.toml", 0o640);
    for binary in ["wss-node", "sealwire"] {
        std::fs::copy(sealwire_tests::process::binary(binary), world.path(binary)).unwrap();
    }
    let mut node = Command::new(world.path("wss-node"));
    node.args(["run", "--config"]).arg(world.path("node-1.toml")).uid(65533).gid(65533);
    let _node = Process::start("node-1", &mut node);
    world.proven().await;

    let mut status = Command::new(world.path("sealwire"));
    status.args(["status", "--config"]).arg(world.path("agent.toml")).uid(65533).gid(65533);
    let ran = tokio::task::block_in_place(|| run(&mut status));
    one_line(&ran, 1, &["admin.allow_uids"]);
}
