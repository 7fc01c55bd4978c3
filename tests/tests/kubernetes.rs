//! The chart and the agents at a real API server: admitted where Pod Security is `restricted`, with the rights of the
//! chart's own service account; three agents, one order; and what goes wrong there. `make test-kubernetes`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;

use sealwire_tests::eventually;
use sealwire_tests::kubernetes::Cluster;
use sealwire_tests::pebble::Pebble;
use sealwire_tests::process::{Process, run};
use sealwire_tests::world::{PATIENCE, World};
use serde_json::{Value, json};

const SPACE: &str = "sealwire";
const ACCOUNT: &str = "edge-sealwire";
const CERTIFICATE: &str = "edge-sealwire-certificate-web";
const CORE: &str = "/api/v1/namespaces/sealwire";

/// Values for the chart: three replicas that share what Pebble issues.
fn values(world: &World, drain_seconds: u32) -> String {
    let values = json!({
        "image": {"repository": "images.example/sealwire"},
        "replicas": 3,
        "acceptSeparateChannels": true,
        "agent": {
            "store": {"kubernetes": true},
            "config": {
                "acme": {"pebble": {"directory": "https://ca.example/dir", "terms_of_service_agreed": true}},
                "certificate": [{"name": "web", "identifiers": ["node.test"]}],
            },
        },
        "node": {"config": {"token": {"anonymous": true}}, "drain": {"windowSeconds": drain_seconds}},
    });
    world.write("values.yaml", &values.to_string()).display().to_string()
}

/// A namespace that enforces "restricted", and the chart in it, as docs/deploy-kubernetes.md installs it.
async fn install(world: &World) -> Cluster {
    let cluster = Cluster::start(world).await;
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let _ = cluster.must(
        world,
        "POST",
        "/api/v1/namespaces",
        Some(&json!({"metadata": {"name": SPACE, "labels": labels}})),
    );
    helm(world, &cluster, "install", 20);
    cluster
}

fn helm(world: &World, cluster: &Cluster, command: &str, drain_seconds: u32) {
    let values = values(world, drain_seconds);
    let arguments =
        [command, "edge", "charts/sealwire", "--namespace", SPACE, "--create-namespace", "--values", &values];
    let ran = cluster.helm(world, &arguments);
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// One of three agents with its node, in a world of its own.
struct Replica {
    world: World,
    agent: Option<Process>,
    _node: Process,
}

impl Replica {
    fn start(home: &World, cluster: &Cluster, pebble: &Pebble, number: usize) -> Self {
        let world = World::new();
        let token = world.write("token", &cluster.token(home, SPACE, ACCOUNT));
        let (dir, ca) = (world.path(""), home.path("kube-ca.pem"));
        let (dir, ca, token) = (dir.display(), ca.display(), token.display());
        // Pebble's names lead to the first world: whoever orders, its agent is asked.
        let address = if number == 0 { home.address } else { world.address };
        let text = format!(
            "state_dir = \"{dir}/state\"\n[delivery]\nsocket = \"{dir}/run/delivery.sock\"\n\
             [admin]\nsocket = \"{dir}/run/admin.sock\"\n[http01]\nlisten = \"{address}:5002\"\n\
             [kubernetes]\nname = \"edge-sealwire\"\nnamespace = \"{SPACE}\"\nidentity = \"edge-{number}\"\n\
             server = \"{}\"\nca_file = \"{ca}\"\ntoken_file = \"{token}\"\n\
             lease_duration = \"6s\"\nrenew_timeout = \"4s\"\nretry_interval = \"500ms\"\n\
             {}\n[[certificate]]\nname = \"web\"\nidentifiers = [\"node.test\"]\n",
            cluster.url, pebble.issuer
        );
        world.write("agent.toml", &text);
        let address = world.address;
        let text = format!(
            "node_id = \"node-{number}\"\nserver_names = [\"node.test\"]\n[token]\nanonymous = true\n\
             [delivery]\nsocket = \"{dir}/run/delivery.sock\"\n[listen]\naddress = \"{address}:8443\"\n\
             [admin]\naddress = \"{address}:9090\"\n"
        );
        world.write("node.toml", &text);
        let (agent, node) = (world.start_agent(), world.start_node("node"));
        Self { world, agent: Some(agent), _node: node }
    }

    async fn role(&self) -> String {
        self.world.status().await.map(|status| status.role).unwrap_or_default()
    }

    /// The serial of what is proven to be served, other than `before`.
    async fn serves(&self, before: &str) -> String {
        let what = format!("{} serves another than {before:?}", self.world.address);
        eventually(&what, 2 * PATIENCE, || async {
            let web = self.world.web().await.filter(|web| web.state == "proven")?;
            web.current.map(|current| current.serial).filter(|serial| serial != before)
        })
        .await
    }

    /// What is open about the replicas, as `sealwire incidents` tells it.
    fn troubles(&self) -> String {
        let ran = run(&mut self.world.sealwire(["incidents"]));
        ran.out.lines().filter(|line| line.contains("replicas")).collect::<Vec<_>>().join("\n")
    }

    async fn trouble(&self, words: &str) {
        let text = eventually(words, 2 * PATIENCE, || async {
            let open = self.world.status().await?.incidents;
            open.into_iter().find(|one| one.kind == "replicas" && one.text.contains(words))
        });
        let _ = text.await;
    }

    async fn mended(&self) {
        eventually("no incident about replicas", 2 * PATIENCE, || async {
            self.world.status().await?.incidents.iter().all(|one| one.kind != "replicas").then_some(())
        })
        .await;
    }
}

/// The position of the leader among those that answer.
async fn leader(replicas: &[Replica]) -> usize {
    eventually("one leads", 2 * PATIENCE, || async {
        for (position, replica) in replicas.iter().enumerate() {
            if replica.agent.is_some() && replica.role().await == "leads" {
                return Some(position);
            }
        }
        None
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chart_is_admitted_upgraded_and_gives_no_more_rights_than_it_needs() {
    let world = World::new();
    let cluster = install(&world).await;

    let sets =
        cluster.must(&world, "GET", "/apis/apps/v1/namespaces/sealwire/statefulsets/edge-sealwire", None);
    let pod = |spec: Value, name: &str| {
        let body = json!({"metadata": {"name": name}, "spec": spec});
        cluster.ask(&world, "an-administrator", "POST", &format!("{CORE}/pods"), Some(&body))
    };
    let mut spec = sets["spec"]["template"]["spec"].clone();
    let (status, answer) = pod(spec.clone(), "sound");
    assert_eq!(status, 201, "{answer:#}");
    spec["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = true.into();
    let (status, answer) = pod(spec, "privileged");
    assert_eq!(status, 403, "{answer:#}");
    assert!(answer["message"].as_str().unwrap().contains("PodSecurity"), "{answer:#}");

    let token = cluster.token(&world, SPACE, ACCOUNT);
    let may =
        |method: &str, path: &str, body: Option<&Value>| cluster.ask(&world, &token, method, path, body).0;
    let lease = "/apis/coordination.k8s.io/v1/namespaces/sealwire/leases/edge-sealwire";
    let secret = format!("{CORE}/secrets/{CERTIFICATE}");
    assert_eq!((may("GET", &secret, None), may("GET", lease, None)), (200, 200));
    let _ = cluster.must(
        &world,
        "POST",
        &format!("{CORE}/secrets"),
        Some(&json!({"metadata": {"name": "other"}})),
    );
    for (method, path) in [
        ("GET", format!("{CORE}/secrets")),
        ("GET", format!("{CORE}/secrets/other")),
        ("DELETE", secret.clone()),
        ("DELETE", lease.to_owned()),
        ("GET", "/api/v1/namespaces/default/secrets".to_owned()),
    ] {
        assert_eq!(may(method, &path, None), 403, "{method} {path}");
    }
    let new = json!({"metadata": {"name": "new"}});
    assert_eq!(may("POST", &format!("{CORE}/secrets"), Some(&new)), 403);

    // What an agent wrote outlives an upgrade, and the release.
    let mut filled = cluster.must(&world, "GET", &secret, None);
    filled["data"] = json!({"tls.key": "a2V5"});
    assert_eq!(may("PUT", &secret, Some(&filled)), 200);
    helm(&world, &cluster, "upgrade", 30);
    let ran = cluster.helm(&world, &["uninstall", "edge", "--namespace", SPACE]);
    assert_eq!(ran.code, 0, "{ran:?}");
    helm(&world, &cluster, "install", 20);
    assert_eq!(cluster.must(&world, "GET", &secret, None)["data"]["tls.key"], "a2V5");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_agents_place_one_order_and_all_nodes_serve_it_whoever_dies() {
    let home = World::new();
    let mut cluster = install(&home).await;
    let slow = [
        ("PEBBLE_WFE_NONCEREJECT", "0"),
        ("PEBBLE_VA_NOSLEEP", "0"),
        ("PEBBLE_VA_SLEEPTIME", "3"),
        ("PEBBLE_AUTHZREUSE", "0"),
    ];
    let pebble = Pebble::start(&home, &slow).await.expect("Pebble is installed");
    let mut replicas: Vec<_> =
        (0..3).map(|number| Replica::start(&home, &cluster, &pebble, number)).collect();
    let first = leader(&replicas).await;
    let serial = replicas[0].serves("").await;
    for replica in &replicas {
        assert_eq!(replica.serves("").await, serial);
    }
    assert_eq!(pebble.orders(), 1, "{}", pebble.server.log());

    // A follower sends the operator to the leader.
    let follower = &replicas[(first + 1) % 3];
    let ran = run(&mut follower.world.sealwire(["renew", "--force"]));
    assert!(ran.code != 0 && ran.err.contains(&format!("follows edge-{first}")), "{ran:?}");

    // The leader dies in the middle of an order: the next one takes that order up.
    let mut renewing = replicas[first].world.sealwire(["renew", "--force"]);
    let renewing = Process::start("renew", &mut renewing);
    eventually("the second order", PATIENCE, || async { (pebble.orders() == 2).then_some(()) }).await;
    replicas[first].agent = None;
    drop(renewing);
    let second = leader(&replicas).await;
    assert_ne!(second, first);
    let renewed = replicas[second].serves(&serial).await;
    let third = 3 - first - second;
    assert_eq!(replicas[third].serves(&serial).await, renewed);
    replicas[first].agent = Some(replicas[first].world.start_agent());
    assert_eq!(replicas[first].serves(&serial).await, renewed);
    assert_eq!(pebble.orders(), 2, "{}", pebble.server.log());

    // A Secret is deleted: told, and filled once it is there again.
    let secret = format!("{CORE}/secrets/{CERTIFICATE}");
    let _ = cluster.must(&home, "DELETE", &secret, None);
    replicas[second].trouble("create secret generic edge-sealwire-certificate-web").await;
    helm(&home, &cluster, "upgrade", 30);
    replicas[second].mended().await;
    eventually("it is filled", PATIENCE, || async {
        cluster.must(&home, "GET", &secret, None)["data"]["tls.key"].is_string().then_some(())
    })
    .await;

    // A verb is taken away.
    let role = "/apis/rbac.authorization.k8s.io/v1/namespaces/sealwire/roles/edge-sealwire-agent";
    let sound = cluster.must(&home, "GET", role, None);
    let mut less = sound.clone();
    less["rules"][0]["verbs"] = json!(["get"]);
    let _ = cluster.must(&home, "PUT", role, Some(&less));
    replicas[second].trouble("allow `update` on leases with resourceNames [edge-sealwire]").await;
    let mut more = cluster.must(&home, "GET", role, None);
    more["rules"] = sound["rules"].clone();
    let _ = cluster.must(&home, "PUT", role, Some(&more));
    replicas[second].mended().await;

    // The API server is away: everybody serves, and nobody orders.
    cluster.go_away();
    replicas[third].trouble("the API server is away").await;
    for replica in &replicas {
        assert_eq!(openssl_serial(&replica.world), renewed);
    }
    cluster.serve(&home).await;
    replicas[third].mended().await;
    let now = leader(&replicas).await;
    let ran = run(&mut replicas[now].world.sealwire(["renew", "--force"]));
    assert_eq!(ran.code, 0, "{ran:?}");
    let last = replicas[now].serves(&renewed).await;
    for replica in &replicas {
        assert_eq!(replica.serves(&renewed).await, last, "{}", replica.troubles());
        assert_eq!(openssl_serial(&replica.world), last);
    }
    assert_eq!(pebble.orders(), 3);
}

/// The serial of what a node serves, as openssl sees it.
fn openssl_serial(world: &World) -> String {
    let script = format!(
        "openssl s_client -connect {} -servername node.test </dev/null 2>/dev/null | openssl x509 -noout -serial",
        world.node_address()
    );
    let ran = run(Command::new("bash").args(["-o", "pipefail", "-c", &script]));
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.out.trim().trim_start_matches("serial=").to_lowercase()
}
