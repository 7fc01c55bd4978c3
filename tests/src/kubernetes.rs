//! A kube-apiserver with etcd, as processes of a world, and helm in front of it.

use std::process::Command;

use serde_json::{Value, json};

use crate::pebble::listener_certificate;
use crate::process::{Process, Ran, run};
use crate::world::{PATIENCE, World};
use crate::{eventually, tools};

/// Of an administrator.
const TOKEN: &str = "an-administrator";

/// A running cluster without nodes: objects are admitted and kept, and nobody runs pods.
#[derive(Debug)]
pub struct Cluster {
    /// URL of the API server.
    pub url: String,
    server: Option<Process>,
    _etcd: Process,
}

impl Cluster {
    /// Starts both.
    ///
    /// # Panics
    /// When they are not installed or do not come up.
    pub async fn start(world: &World) -> Self {
        let address = world.address;
        let (client, peer) = (format!("http://{address}:2379"), format!("http://{address}:2380"));
        let etcd = Process::start(
            "etcd",
            Command::new("etcd")
                .arg("--data-dir")
                .arg(world.path("etcd"))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &format!("default={peer}")]),
        );
        let _ = listener_certificate(world, "kube");
        let made =
            run(Command::new("openssl").args(["genrsa", "-out"]).arg(world.path("accounts.key")).arg("2048"));
        assert_eq!(made.code, 0, "{made:?}");
        world.write("tokens.csv", &format!("{TOKEN},admin,1,\"system:masters\"\n"));
        let url = format!("https://{address}:6443");
        let user = json!({"name": "it", "user": {"token": TOKEN}});
        let cluster = json!({"name": "it", "cluster": {
            "server": url, "certificate-authority": world.path("kube-ca.pem")}});
        let context = json!({"name": "it", "context": {"cluster": "it", "user": "it"}});
        let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "it",
            "users": [user], "clusters": [cluster], "contexts": [context]});
        world.write("kubeconfig", &config.to_string());
        let mut own = Self { url, server: None, _etcd: etcd };
        own.serve(world).await;
        own
    }

    /// Starts the API server, again if it was ended.
    pub async fn serve(&mut self, world: &World) {
        let address = world.address;
        let program =
            tools::find("kubernetes/kube-apiserver").unwrap_or_else(|| panic!("see tests/kubernetes/run"));
        let mut command = Command::new(program);
        command
            .arg(format!("--etcd-servers=http://{address}:2379"))
            .args([&format!("--bind-address={address}"), &format!("--advertise-address={address}")])
            .args([
                "--secure-port=6443",
                "--authorization-mode=RBAC",
                "--service-cluster-ip-range=10.0.0.0/24",
            ])
            // Nobody makes endpoints here, and nobody asks for them.
            .args([
                "--endpoint-reconciler-type=none",
                "--service-account-issuer=https://kubernetes.default.svc",
            ]);
        for (flag, file) in [
            ("cert-dir", "kube-certs"),
            ("tls-cert-file", "kube.pem"),
            ("tls-private-key-file", "kube.key"),
            ("token-auth-file", "tokens.csv"),
            ("service-account-key-file", "accounts.key"),
            ("service-account-signing-key-file", "accounts.key"),
        ] {
            command.arg(format!("--{flag}={}", world.path(file).display()));
        }
        self.server = Some(Process::start("kube-apiserver", &mut command));
        eventually("the API server", 2 * PATIENCE, || async {
            (self.ask(world, TOKEN, "GET", "/readyz", None).0 == 200).then_some(())
        })
        .await;
    }

    /// Kills the API server.
    pub fn go_away(&mut self) {
        self.server = None;
    }

    /// One request with a token: status and answer.
    #[must_use]
    pub fn ask(
        &self,
        world: &World,
        token: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let mut command = Command::new("curl");
        command.args(["-s", "-m", "20", "-w", "\n%{http_code}", "-X", method, "--cacert"]);
        command.arg(world.path("kube-ca.pem"));
        command.args([
            "-H",
            &format!("Authorization: Bearer {token}"),
            "-H",
            "Content-Type: application/json",
        ]);
        if let Some(body) = body {
            command.args(["--data", &body.to_string()]);
        }
        let ran = run(command.arg(format!("{}{path}", self.url)));
        let (answer, status) = ran.out.rsplit_once('\n').unwrap_or_default();
        (status.parse().unwrap_or(0), serde_json::from_str(answer).unwrap_or_default())
    }

    /// As an administrator; the answer must be good.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn must(&self, world: &World, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.ask(world, TOKEN, method, path, body);
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer:#}");
        answer
    }

    /// A token of a service account, written to a file of the world.
    pub fn token(&self, world: &World, namespace: &str, account: &str) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let answer = self.must(world, "POST", &path, Some(&json!({"spec": {"expirationSeconds": 3600}})));
        answer["status"]["token"].as_str().unwrap_or_default().to_owned()
    }

    /// Runs helm with an administrator's configuration.
    #[must_use]
    pub fn helm(&self, world: &World, arguments: &[&str]) -> Ran {
        let program = tools::find("bin/helm").unwrap_or_else(|| panic!("see tests/kubernetes/run"));
        let home = world.path("helm");
        run(Command::new(program)
            .args(arguments)
            .env("KUBECONFIG", world.path("kubeconfig"))
            .envs(["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"].map(|name| (name, home.clone())))
            .current_dir(tools::repository()))
    }
}
