//! Where the objects are: their names, and how the API server is reached. Read from `[kubernetes]` and from what a pod
//! is given.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::election::Terms;
use crate::config::{Config, KubernetesConfig};

/// What the kubelet mounts for a service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How the API server is reached.
#[derive(Clone, Debug)]
pub struct Reach {
    /// URL without a path.
    pub server: String,
    /// Its roots.
    pub ca_file: PathBuf,
    /// Read anew for each request: kubelets replace it every hour or so.
    pub token_file: PathBuf,
    /// Of all objects.
    pub namespace: String,
    /// For one request.
    pub timeout: Duration,
}

/// A Secret of ours.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Of the certificate of this name.
    Certificate(String),
    /// Of the account at this issuer.
    Account(String),
}

/// Everything that the tasks need to know.
#[derive(Clone, Debug)]
pub struct Place {
    /// The API server.
    pub reach: Reach,
    /// The Lease; names of Secrets begin with it.
    pub name: String,
    /// Ours in the Lease.
    pub identity: String,
    /// How the Lease is held.
    pub terms: Terms,
    /// All Secrets.
    pub parts: Vec<Part>,
    /// What they are copies of.
    pub state_dir: PathBuf,
}

impl Place {
    /// What is in the configuration, and around it: `environment` reads a variable, `random` makes this process differ
    /// from one of the same name before it, which may have lost its Lease without knowing.
    ///
    /// # Errors
    /// What is missing, and the key that says it.
    pub fn new(
        config: &Config,
        kubernetes: &KubernetesConfig,
        environment: impl Fn(&str) -> Option<String>,
        random: u32,
    ) -> Result<Self, String> {
        let server = match &kubernetes.server {
            Some(server) => server.trim_end_matches('/').to_owned(),
            None => in_cluster(&environment).ok_or(
                "kubernetes.server is not set, and this is no pod: KUBERNETES_SERVICE_HOST is missing from the \
                 environment",
            )?,
        };
        let namespace = match &kubernetes.namespace {
            Some(namespace) => namespace.clone(),
            None => read_line(&Path::new(ACCOUNT).join("namespace")).map_err(|error| {
                format!("kubernetes.namespace is not set, and the pod does not tell it: {error}")
            })?,
        };
        let given = |path: &Option<PathBuf>, file: &str| {
            path.clone().unwrap_or_else(|| Path::new(ACCOUNT).join(file))
        };
        let host = kubernetes
            .identity
            .clone()
            .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
        let certificates =
            config.certificates.iter().map(|certificate| Part::Certificate(certificate.name.clone()));
        let accounts = config.acme.keys().map(|issuer| Part::Account(issuer.clone()));
        Ok(Self {
            reach: Reach {
                server,
                ca_file: given(&kubernetes.ca_file, "ca.crt"),
                token_file: given(&kubernetes.token_file, "token"),
                namespace,
                timeout: kubernetes.renew_timeout / 2,
            },
            name: kubernetes.name.clone(),
            identity: format!("{host}_{random:08x}"),
            terms: Terms {
                lease: kubernetes.lease_duration,
                renew: kubernetes.renew_timeout,
                retry: kubernetes.retry_interval,
            },
            parts: certificates.chain(accounts).collect(),
            state_dir: config.state_dir.clone(),
        })
    }

    /// The name of a Secret.
    #[must_use]
    pub fn secret(&self, part: &Part) -> String {
        match part {
            Part::Certificate(name) => format!("{}-certificate-{name}", self.name),
            Part::Account(issuer) => format!("{}-account-{issuer}", self.name),
        }
    }
}

/// As every pod is told (Kubernetes documentation, "Accessing the API from within a Pod").
fn in_cluster(environment: impl Fn(&str) -> Option<String>) -> Option<String> {
    let host = environment("KUBERNETES_SERVICE_HOST")?;
    let port = environment("KUBERNETES_SERVICE_PORT").unwrap_or_else(|| "443".to_owned());
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Some(format!("https://{host}:{port}"))
}

/// The first line of a small file.
pub(super) fn read_line(path: &Path) -> Result<String, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(format!("{} is empty", path.display())),
    }
}

/// Whether a directory is in memory: keys of replicas never meet a disk.
///
/// # Errors
/// What to mount, or that the directory cannot be looked at.
pub fn check_in_memory(dir: &Path) -> Result<(), String> {
    /// tmpfs and ramfs (statfs(2)).
    const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];
    // The directory may not be made yet.
    let there = dir.ancestors().find(|above| above.exists()).unwrap_or(dir);
    let found = rustix::fs::statfs(there).map_err(|error| format!("state_dir {}: {error}", dir.display()))?;
    #[allow(clippy::unnecessary_cast)]
    let kind = found.f_type as i64;
    if IN_MEMORY.contains(&kind) {
        return Ok(());
    }
    Err(format!(
        "state_dir {} is on a disk, and with [kubernetes] keys stay in memory: mount an emptyDir with `medium: Memory` \
         there",
        dir.display()
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_told_where_the_server_is() {
        let environment = |host: &'static str| {
            move |name: &str| match name {
                "KUBERNETES_SERVICE_HOST" => Some(host.to_owned()),
                "KUBERNETES_SERVICE_PORT" => Some("6443".to_owned()),
                _ => None,
            }
        };
        assert_eq!(in_cluster(environment("10.0.0.1")).unwrap(), "https://10.0.0.1:6443");
        assert_eq!(in_cluster(environment("fd00::1")).unwrap(), "https://[fd00::1]:6443");
        assert_eq!(in_cluster(|_: &str| None), None);
    }

    #[test]
    fn a_disk_is_told_from_memory() {
        check_in_memory(Path::new("/dev/shm/sealwire-that-is-not-there/yet")).unwrap();
        let refusal = check_in_memory(Path::new("/proc/self")).unwrap_err();
        assert!(refusal.contains("medium: Memory"), "{refusal}");
    }
}
