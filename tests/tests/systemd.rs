//! What a service manager hears of agent and node, and what they take from it: readiness, signs of life, credentials and
//! sockets, by a stand-in for its end of `NOTIFY_SOCKET` and `LISTEN_FDS`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use sealwire_tests::process::{Process, binary};
use sealwire_tests::tools;
use sealwire_tests::world::{AgentSettings, PATIENCE, World};

/// Long enough for a busy machine, and signs of life come four times as often.
const WATCHDOG: Duration = Duration::from_secs(8);

/// The manager's end.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn new(world: &World) -> Self {
        let socket = UnixDatagram::bind(world.path("notify")).unwrap();
        Self { socket }
    }

    /// Lets `command` know of us.
    fn manage<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("NOTIFY_SOCKET", self.socket.local_addr().unwrap().as_pathname().unwrap());
        command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
    }

    /// The next datagram, if one comes in time.
    fn next(&self, limit: Duration) -> Option<String> {
        let mut bytes = [0; 4096];
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let len = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..len]).into_owned())
    }

    /// Waits for a datagram that contains `text`.
    fn hears(&self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        while let Some(said) =
            self.next(end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)))
        {
            if said.contains(text) {
                return said;
            }
            heard.push(said);
        }
        panic!("not heard within {PATIENCE:?}: {text}; heard: {heard:?}");
    }

    /// Takes all that was said so far.
    fn forget(&self) {
        while self.next(Duration::from_millis(1)).is_some() {}
    }
}

#[test]
fn the_agent_tells_that_it_is_ready_alive_and_stopping() {
    let world = World::new();
    world.configure_agent(&AgentSettings::default());
    let manager = Manager::new(&world);
    let mut agent = Process::start("agent", manager.manage(&mut world.sealwire(["run"])));
    let ready = manager.hears("READY=1");
    assert!(ready.contains("STATUS=1 certificate(s), 0 node(s) paired"), "{ready}");
    // Ready means that it can be asked.
    assert_eq!(world.run(["status"]).code, 0);
    for _ in 0..3 {
        manager.hears("WATCHDOG=1");
    }
    agent.terminate();
    manager.hears("STOPPING=1");
    assert!(agent.ended(PATIENCE).success(), "{}", agent.log());
}

#[test]
fn an_agent_whose_loop_is_stuck_gives_no_sign_of_life_until_it_turns_again() {
    let world = World::new();
    world.configure_agent(&AgentSettings::default());
    let manager = Manager::new(&world);
    let _agent = Process::start("agent", manager.manage(&mut world.sealwire(["run"])));
    manager.hears("READY=1");
    manager.hears("WATCHDOG=1");
    // Whoever reads a pipe that nobody writes to waits: here the loop, when it is asked for the history.
    let history = world.path("state/certificates/web/history.json");
    let end = Instant::now() + PATIENCE;
    while !world.run(["history", "web"]).out.contains("stored") {
        assert!(Instant::now() < end, "no certificate");
        std::thread::sleep(Duration::from_millis(50));
    }
    let kept = std::fs::read(&history).unwrap();
    std::fs::remove_file(&history).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &history, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let asking = Process::start("history", &mut world.sealwire(["history", "web"]));
    // It is stuck once the end for writing can be opened: somebody reads.
    let mut pipe = std::fs::OpenOptions::new().write(true).open(&history).unwrap();
    manager.forget();
    let end = Instant::now() + WATCHDOG;
    while let Some(said) =
        manager.next(end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)))
    {
        assert!(!said.contains("WATCHDOG=1"), "a sign of life of an agent that is stuck: {said}");
    }
    pipe.write_all(&kept).unwrap();
    drop(pipe);
    std::fs::remove_file(&history).unwrap();
    manager.hears("WATCHDOG=1");
    drop(asking);
}

#[test]
fn the_node_tells_what_it_waits_for_and_when_it_serves() {
    let world = World::new();
    world.configure_agent(&AgentSettings::default());
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    let manager = Manager::new(&world);
    let mut node = Process::start("node", manager.manage(&mut world.node_command("node-1")));
    manager.hears("READY=1");
    manager.hears("WATCHDOG=1");
    manager.hears("no certificate is proven for node.test");
    let _agent = world.start_agent();
    manager.hears("STATUS=ready, 0 session(s)");
    manager.hears("WATCHDOG=1");
    node.terminate();
    manager.hears("STOPPING=1");
    assert!(node.ended(PATIENCE).success(), "{}", node.log());
}

#[test]
fn an_address_of_the_manager_that_makes_no_sense_is_told_at_the_start() {
    let world = World::new();
    world.configure_agent(&AgentSettings::default());
    world.configure_node("node-1", 0, &world.delivery_socket(), "");
    for (name, mut command) in [("agent", world.sealwire(["run"])), ("node", world.node_command("node-1"))] {
        let mut process = Process::start(name, command.env("NOTIFY_SOCKET", "run/notify"));
        assert_eq!(process.ended(PATIENCE).code(), Some(1));
        assert!(process.log().contains("NOTIFY_SOCKET is \"run/notify\""), "{}", process.log());
    }
}

#[test]
fn credentials_are_read_as_systemd_hands_them_over_and_not_when_all_may_read() {
    let world = World::new();
    let place = world.path("credentials");
    std::fs::create_dir(&place).unwrap();
    let secret = place.join("secrets_hook");
    std::fs::write(&secret, "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n").unwrap();
    let mut settings = AgentSettings::default();
    settings.issuers.push_str(&format!(
        "[alerts.webhook.chat]\nurl = \"http://127.0.0.1:1/\"\nsecret_file = \"{}\"\n",
        secret.display()
    ));
    world.configure_agent(&settings);
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    mode(&secret, 0o444);
    let agent = Process::start("agent", &mut world.sealwire(["run"]));
    let line = agent.line("may be read by others (mode 0444)", PATIENCE);
    assert!(line.contains("secrets_hook"), "{line}");
    drop(agent);
    // A directory and a file that nobody can write to, readable for the group (systemd.exec(5), LoadCredential=).
    mode(&secret, 0o440);
    mode(&place, 0o550);
    let agent = Process::start("agent", &mut world.sealwire(["run"]));
    // Receivers are looked at when the agent begins, before the first certificate is stored.
    let _stored = agent.line("STORED", PATIENCE);
    assert_eq!(agent.count("may be read by others"), 0, "{}", agent.log());
    mode(&place, 0o755);
}

/// Hands a socket to processes of the agent, one after the other.
fn activated(python: &Path, world: &World, address: &str, name: &str) -> Process {
    let mut systemd = Command::new(python);
    systemd.arg(tools::repository().join("tests/tools/activate")).arg(address).arg(binary("sealwire"));
    systemd.args(["run", "--config"]).arg(world.path("agent.toml")).env("NAME", name);
    let mut systemd = Process::start("activation", &mut systemd);
    systemd.say("start");
    systemd
}

#[test]
fn port_80_that_is_handed_over_answers_and_holds_those_who_come_between_two_agents() {
    let Some(python) = tools::find("python3") else { return };
    let world = World::new();
    // Nobody asks this CA for anything: the port is open as soon as the agent runs.
    let acme = "[acme.away]\ndirectory = \"https://127.0.0.1:1/dir\"\nterms_of_service_agreed = true\n";
    let issuers = acme.to_owned();
    let identifiers = vec!["node.test".to_owned()];
    let certificate = "challenges = [\"http-01\"]\n".to_owned();
    world.configure_agent(&AgentSettings { issuers, identifiers, certificate, ..AgentSettings::default() });
    let address = format!("{}:80", world.address);
    let mut systemd = activated(&python, &world, &address, "http01");
    let _running = systemd.line("agent running", PATIENCE);
    let connect = || {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let path = "/.well-known/acme-challenge/none";
        write!(stream, "GET {path} HTTP/1.1\r\nHost: node.test\r\nConnection: close\r\n\r\n").unwrap();
        stream
    };
    let answer = |mut stream: TcpStream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    assert!(answer(connect()).starts_with("HTTP/1.1 404"));
    let own = std::net::SocketAddr::from((world.address, 5002));
    assert!(TcpStream::connect(own).is_err(), "http01.listen is not opened besides");
    systemd.say("stop");
    let _stopped = systemd.line("stopped with 0", PATIENCE);
    let waiting = connect();
    systemd.say("start");
    assert!(answer(waiting).starts_with("HTTP/1.1 404"));
}

#[test]
fn a_socket_of_the_agent_that_is_handed_over_is_used_and_stays() {
    let Some(python) = tools::find("python3") else { return };
    let world = World::new();
    world.configure_agent(&AgentSettings::default());
    let run = world.path("run");
    std::fs::create_dir(&run).unwrap();
    std::fs::set_permissions(&run, PermissionsExt::from_mode(0o750)).unwrap();
    let socket = run.join("admin.sock");
    let mut systemd = activated(&python, &world, socket.to_str().unwrap(), "admin");
    let _running = systemd.line("agent running", PATIENCE);
    assert_eq!(world.run(["status"]).code, 0);
    assert!(!run.join("admin.sock.lock").exists(), "it was taken over, not made anew");
    systemd.say("stop");
    let _stopped = systemd.line("stopped with 0", PATIENCE);
    assert!(socket.exists(), "the socket is not the agent's to remove");
}

#[test]
fn sockets_of_the_agent_that_make_no_sense_are_refused_with_the_fix() {
    let Some(python) = tools::find("python3") else { return };
    let world = World::new();
    world.configure_agent(&AgentSettings::default());
    let tcp = format!("{}:5080", world.address);
    let systemd = activated(&python, &world, &tcp, "web");
    let line = systemd.line("socket activation: ", PATIENCE);
    assert!(line.contains("\"web\"") && line.contains("FileDescriptorName="), "{line}");
    drop(systemd);
    let systemd = activated(&python, &world, &tcp, "admin");
    let _line = systemd.line("socket activation: socket \"admin\"", PATIENCE);
    drop(systemd);
    let elsewhere = world.path("elsewhere.sock");
    let systemd = activated(&python, &world, elsewhere.to_str().unwrap(), "delivery");
    let line = systemd.line("delivery.socket: ", PATIENCE);
    assert!(line.contains("elsewhere.sock") && line.contains("make them the same"), "{line}");
    drop(systemd);
    // Without [acme] nobody answers there.
    let systemd = activated(&python, &world, &tcp, "http01");
    let _line = systemd.line("handed over for nothing", PATIENCE);
}
