//! `[[certificate.deploy]]`: servers of other people that get a certificate, and where it is seen in service.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use sealwire_config::{Fault, absolute_path, duration};
use serde::Deserialize;

use super::Config;
use super::check::{Checked, fault, is_identifier, plain_name};

/// More servers of one certificate are better served by paired nodes.
const MAX_TARGETS: usize = 16;
/// As many as a node may name.
const MAX_ADDRESSES: usize = 16;
/// As long as an id of a node may be.
const MAX_ID_BYTES: usize = 253;
/// What takes longer than this does not end.
const LONGEST_COMMAND: Duration = Duration::from_mins(10);

/// What kind of server it is, and so how it gets a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeployType {
    /// Files, and programs of the operator's.
    Files,
    /// Files, `nginx -t` and a reload.
    Nginx,
    /// A PEM file, and the runtime API.
    Haproxy,
    /// A client of the agent's secret discovery service (Envoy): it dials the delivery socket.
    Sds,
}

impl DeployType {
    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Sds => "sds",
        }
    }
}

/// `[[certificate.deploy]]`. Which keys a type takes: see `check`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeployConfig {
    /// Names it in status, log and metrics, as the id of a node does. sds: the `node.id` of the client.
    pub name: String,
    /// How.
    pub r#type: DeployType,
    /// Where it is seen in service, as `HOST:PORT`.
    pub prove: Vec<String>,
    /// The names that it is asked for there; unset: the identifiers of the certificate.
    #[serde(default)]
    pub server_names: Option<Vec<String>>,
    /// Whether `prove` wants a PROXY protocol header first.
    #[serde(default)]
    pub proxied: bool,
    /// files, nginx: the directory in which `live/` has the certificate and its key.
    #[serde(default)]
    pub directory: Option<PathBuf>,
    /// files, nginx, haproxy: the group that may read the key, by number; unset: nobody but the agent's user.
    #[serde(default)]
    pub gid: Option<u32>,
    /// files: a program and its arguments, before the files are there.
    #[serde(default)]
    pub pre: Option<Vec<String>>,
    /// files: once they are there.
    #[serde(default)]
    pub deploy: Option<Vec<String>>,
    /// files: at the end, whatever became of it.
    #[serde(default)]
    pub post: Option<Vec<String>>,
    /// nginx: judges the files before the reload.
    #[serde(default)]
    pub test: Option<Vec<String>>,
    /// nginx: reloads it.
    #[serde(default)]
    pub reload: Option<Vec<String>>,
    /// nginx: instead of `reload`, the file that a systemd path unit watches.
    #[serde(default)]
    pub signal_file: Option<PathBuf>,
    /// haproxy: certificate and key, by the name that its configuration has for them.
    #[serde(default)]
    pub pem_file: Option<PathBuf>,
    /// haproxy: its stats socket, at level admin.
    #[serde(default)]
    pub socket: Option<PathBuf>,
    /// files, nginx, haproxy: how long each program, or each answer of the socket, may take.
    #[serde(default = "default_timeout", deserialize_with = "duration")]
    pub timeout: Duration,
}

fn default_timeout() -> Duration {
    Duration::from_mins(1)
}

/// Checks all of them. A name stands for one target, or for one SDS client with several certificates.
pub(super) fn check(config: &Config) -> Checked {
    let mut seen: BTreeMap<&str, DeployType> = BTreeMap::new();
    let mut places: BTreeMap<&PathBuf, &str> = BTreeMap::new();
    for (at, certificate) in config.certificates.iter().enumerate() {
        let at = at.to_string();
        if certificate.deploy.len() > MAX_TARGETS {
            let text = format!("has {}, at most {MAX_TARGETS} fit", certificate.deploy.len());
            return fault(&["certificate", &at, "deploy"], text);
        }
        for (position, deploy) in certificate.deploy.iter().enumerate() {
            let position = position.to_string();
            let path = ["certificate", &at, "deploy", &position];
            check_one(&path, deploy)?;
            let both_clients = |other| other == DeployType::Sds && deploy.r#type == DeployType::Sds;
            if seen.insert(&deploy.name, deploy.r#type).is_some_and(|other| !both_clients(other)) {
                return fault(
                    &key(&path, "name"),
                    format!("\"{}\" is the name of another target; choose another", deploy.name),
                );
            }
            for (name, place) in [("directory", &deploy.directory), ("pem_file", &deploy.pem_file)] {
                if let Some(place) = place
                    && let Some(other) = places.insert(place, &deploy.name)
                {
                    let text = format!("\"{}\" is that of target \"{other}\" too", place.display());
                    return fault(&key(&path, name), text);
                }
            }
        }
    }
    Ok(())
}

fn key<'a>(path: &[&'a str; 4], key: &'a str) -> [&'a str; 5] {
    let [a, b, c, d] = *path;
    [a, b, c, d, key]
}

fn check_one(path: &[&str; 4], deploy: &DeployConfig) -> Checked {
    check_name(&key(path, "name"), deploy)?;
    check_keys(path, deploy)?;
    check_proof(path, deploy)?;
    for (name, file) in [
        ("directory", &deploy.directory),
        ("signal_file", &deploy.signal_file),
        ("pem_file", &deploy.pem_file),
        ("socket", &deploy.socket),
    ] {
        if let Some(file) = file {
            absolute_path(&key(path, name), file)?;
        }
    }
    for (name, command) in [
        ("pre", &deploy.pre),
        ("deploy", &deploy.deploy),
        ("post", &deploy.post),
        ("test", &deploy.test),
        ("reload", &deploy.reload),
    ] {
        if let Some(command) = command
            && !command.first().is_some_and(|program| program.starts_with('/'))
        {
            let text = "expected the absolute path of a program, then its arguments";
            return fault(&key(path, name), text);
        }
    }
    if deploy.timeout.is_zero() || deploy.timeout > LONGEST_COMMAND {
        let text = format!("{:?} is out of range, expected up to 10 minutes", deploy.timeout);
        return fault(&key(path, "timeout"), text);
    }
    Ok(())
}

/// What clients of the discovery service call themselves is theirs to choose.
fn check_name(path: &[&str], deploy: &DeployConfig) -> Checked {
    let name = &deploy.name;
    if deploy.r#type != DeployType::Sds {
        return plain_name(path, name);
    }
    if name.is_empty() || name.len() > MAX_ID_BYTES || name.chars().any(char::is_control) {
        let text = format!("is empty, longer than {MAX_ID_BYTES} bytes or has control characters");
        return fault(path, text);
    }
    Ok(())
}

fn check_proof(path: &[&str; 4], deploy: &DeployConfig) -> Checked {
    if deploy.prove.is_empty() || deploy.prove.len() > MAX_ADDRESSES {
        let text =
            format!("expected 1 to {MAX_ADDRESSES} addresses, where the certificate is seen in service");
        return fault(&key(path, "prove"), text);
    }
    for address in &deploy.prove {
        let parts = address.rsplit_once(':');
        if !parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
            return fault(&key(path, "prove"), format!("\"{address}\": expected HOST:PORT"));
        }
    }
    match deploy.server_names.as_deref() {
        Some([]) => fault(&key(path, "server_names"), "is empty: remove it, or name what is asked for"),
        Some(names) => match names.iter().find(|name| !is_identifier(name)) {
            None => Ok(()),
            Some(name) => fault(
                &key(path, "server_names"),
                format!("\"{name}\": expected a DNS name, a wildcard or an IP address"),
            ),
        },
        None => Ok(()),
    }
}

fn check_keys(path: &[&str; 4], deploy: &DeployConfig) -> Checked {
    use DeployType::{Files, Haproxy, Nginx};
    let keys: [(&str, bool, &[DeployType], &[DeployType]); 10] = [
        // Key, whether it is set, who may have it, who must have it.
        ("directory", deploy.directory.is_some(), &[Files, Nginx], &[Files, Nginx]),
        ("gid", deploy.gid.is_some(), &[Files, Nginx, Haproxy], &[]),
        ("pre", deploy.pre.is_some(), &[Files], &[]),
        ("deploy", deploy.deploy.is_some(), &[Files], &[]),
        ("post", deploy.post.is_some(), &[Files], &[]),
        ("test", deploy.test.is_some(), &[Nginx], &[]),
        ("reload", deploy.reload.is_some(), &[Nginx], &[]),
        ("signal_file", deploy.signal_file.is_some(), &[Nginx], &[]),
        ("pem_file", deploy.pem_file.is_some(), &[Haproxy], &[Haproxy]),
        ("socket", deploy.socket.is_some(), &[Haproxy], &[Haproxy]),
    ];
    let kind = deploy.r#type;
    for (name, set, may, must) in keys {
        if set && !may.contains(&kind) {
            return fault(&key(path, name), format!("does not go with type = \"{}\"", kind.name()));
        }
        if !set && must.contains(&kind) {
            return Err(Fault::new(
                path,
                format!("`{name}` is missing; type = \"{}\" needs it", kind.name()),
            ));
        }
    }
    if kind == Nginx && deploy.reload.is_some() == deploy.signal_file.is_some() {
        let text = "set either `reload` (a program) or `signal_file` (watched by a systemd path unit)";
        return fault(path, text);
    }
    Ok(())
}

#[cfg(test)]
#[path = "deploy_tests.rs"]
mod tests;
