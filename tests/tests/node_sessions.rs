//! Who is connected to a node, asked over its own admin socket by the commands that operators use, and sessions that
//! are closed from there.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::Command;

use sealwire_tests::eventually;
use sealwire_tests::process::{Process, Ran, own, run};
use sealwire_tests::session::{Session, tls};
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use serde_json::{Value, json};

struct Setting {
    world: World,
    _agent: Process,
    node: Process,
}

impl Setting {
    async fn start() -> Self {
        let world = World::new();
        world.configure_agent(&AgentSettings::default());
        let extra = format!(
            "[limits]\nsessions_per_ip = 0\naccepts_per_second_per_ip = 0\n[audit]\nfile = \"{}\"",
            world.path("audit.jsonl").display()
        );
        world.configure_node("node-1", 0, &world.delivery_socket(), &extra);
        let config = std::fs::read_to_string(world.path("node-1.toml")).unwrap();
        let socket = format!("[admin]\nsocket = \"{}\"\n", world.path("run/node.sock").display());
        world.write("node-1.toml", &config.replace("[admin]\n", &socket));
        let (agent, node) = (world.start_agent(), world.start_node("node-1"));
        world.proven().await;
        Self { world, _agent: agent, node }
    }

    fn socket(&self) -> PathBuf {
        self.world.path("run/node.sock")
    }

    async fn session(&self) -> Session {
        let (anchors, _) = self.world.roots().await;
        Session::open(self.world.node_address(), tls(&anchors).unwrap()).await.unwrap()
    }

    /// A command of the node's own program.
    fn wss_node(&self, arguments: &[&str]) -> Ran {
        let config = self.world.path("node-1.toml");
        let mut command: Command = own("wss-node", arguments);
        tokio::task::block_in_place(|| run(command.arg("--config").arg(config)))
    }

    /// The same question by the agent's program.
    fn sealwire(&self, arguments: &[&str]) -> Ran {
        let mut command = self.world.sealwire(arguments.iter().copied());
        tokio::task::block_in_place(|| run(command.arg("--socket").arg(self.socket())))
    }

    fn listed(&self, arguments: &[&str]) -> Value {
        let ran = self.wss_node(&[&["sessions", "--json"], arguments].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.out).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_shown_and_closed() {
    let setting = Setting::start().await;
    let ran = setting.wss_node(&["sessions"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "no sessions\n"), "{ran:?}");

    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(setting.session().await);
    }
    sessions[0].subscribe("news").await.unwrap();
    sessions[1].publish("news", json!(1)).await.unwrap();
    let push = sessions[0].next().await.unwrap();
    assert_eq!(push["push"]["pub"]["data"], 1);

    let all = setting.listed(&[]);
    assert_eq!((&all["total"], all["sessions"].as_array().unwrap().len()), (&json!(3), 3));
    let first = &all["sessions"][0];
    assert_eq!((&first["state"], &first["subscriptions"]), (&json!("connected"), &json!(1)), "{first}");
    assert_eq!(first["address"], json!("127.0.0.1"));
    assert!(first["cipher_suite"].as_str().unwrap().starts_with("TLS13_"), "{first}");
    assert!(first["synced_ms"].as_i64() >= first["opened_ms"].as_i64(), "{first}");
    assert_eq!(first["messages_in"], 2, "connect and subscribe: {first}");
    assert!(all["sessions"][2]["synced_ms"].is_null(), "no publication was for it");

    // A table for people, and the same from the agent's program, down to the columns.
    let (own, agents) =
        (setting.wss_node(&["sessions", "--limit", "2"]), setting.sealwire(&["node", "sessions"]));
    assert!(own.out.starts_with("SESSION") && own.out.contains("connected"), "{own:?}");
    assert!(own.out.ends_with("1 more; --limit shows them\n"), "{own:?}");
    assert_eq!(agents.out.lines().count(), 4, "{agents:?}");
    let id = first["session"].as_str().unwrap();
    assert_eq!(setting.listed(&["--session", id])["total"], 1);
    assert_eq!(setting.listed(&["--address", "10.0.0.0/8"])["total"], 0);

    // One session, by its id, with a code and a reason of the operator.
    let ran = setting.wss_node(&["disconnect", "--session", id, "--code", "4000", "--reason", "moved"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "1 sessions told to close\n"), "{ran:?}");
    let end = sessions.remove(0).next().await.unwrap_err().to_string();
    assert!(end.contains("4000") && end.contains("moved"), "{end}");
    eventually("it is no longer listed", PATIENCE, || async {
        (setting.listed(&[])["total"] == json!(2)).then_some(())
    })
    .await;
    let why = setting.wss_node(&["why", id]);
    assert!(why.out.contains("disconnected") && why.out.contains("by uid"), "{why:?}");
    let audit = std::fs::read_to_string(setting.world.path("audit.jsonl")).unwrap();
    assert!(audit.contains(id) && audit.contains("4000: moved"), "{audit}");

    // Everybody, but only when that is said.
    let refused = setting.sealwire(&["node", "disconnect"]);
    assert!(refused.code != 0 && refused.err.contains("all sessions"), "{refused:?}");
    let reserved = setting.wss_node(&["disconnect", "--all", "--code", "1006"]);
    assert!(reserved.code != 0 && reserved.err.contains("close code"), "{reserved:?}");
    let ran = setting.sealwire(&["node", "disconnect", "--all"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "2 sessions told to close\n"), "{ran:?}");
    for mut session in sessions {
        // The acknowledgement of the publication may be there still.
        let end = loop {
            if let Err(end) = session.next().await {
                break end.to_string();
            }
        };
        assert!(end.contains("3000"), "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_for_those_who_may_and_gone_with_the_node() {
    let mut setting = Setting::start().await;
    let own_uid = rustix::process::geteuid().as_raw();
    assert!(setting.socket().exists());
    if own_uid == 0 {
        use std::os::unix::fs::PermissionsExt;
        use std::os::unix::process::CommandExt;
        // Everybody may reach the socket file here: it is the peer's user that is refused.
        for (name, mode) in [(".", 0o755), ("run", 0o755), ("run/node.sock", 0o666), ("node-1.toml", 0o644)] {
            let path = setting.world.path(name);
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let binary = setting.world.path("wss-node");
        std::fs::copy(sealwire_tests::process::binary("wss-node"), &binary).unwrap();
        let mut command = Command::new(binary);
        command.args(["sessions", "--config"]).arg(setting.world.path("node-1.toml")).uid(65534).gid(65534);
        let ran = tokio::task::block_in_place(|| run(&mut command));
        assert!(ran.code == 1 && ran.err.contains("admin.allow_uids"), "{ran:?}");
        let _line = setting.node.line("refused a peer", PATIENCE);
    } else {
        assert!(std::env::var_os("CI").is_none(), "CI runs as root");
        eprintln!("*** NOT TESTED: only root can ask as another user ***");
    }

    // A second node does not take the socket from the first.
    let text = std::fs::read_to_string(setting.world.path("node-1.toml")).unwrap();
    let text = text.replace(":8443", ":8543").replace(":9090", ":9190");
    setting.world.write("node-2.toml", &text);
    let second = tokio::task::block_in_place(|| run(&mut setting.world.node_command("node-2")));
    assert!(second.code == 1 && second.err.contains("admin.socket"), "{second:?}");
    assert!(second.err.contains(&format!("pid {}", setting.node.pid())), "{second:?}");

    setting.node.terminate();
    assert!(setting.node.ended(PATIENCE).success(), "{}", setting.node.log());
    assert!(!setting.socket().exists(), "the socket file goes with the node");
    let ran = setting.sealwire(&["node", "sessions"]);
    assert!(ran.err.contains("is the node running?"), "{ran:?}");
    let ran = tokio::task::block_in_place(|| setting.world.run(["node", "sessions"]));
    assert!(ran.code == 2 && ran.err.contains("--socket"), "{ran:?}");
}
