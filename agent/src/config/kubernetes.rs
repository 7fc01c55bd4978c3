//! `[kubernetes]`: replicas that share certificates and accounts.

use std::path::PathBuf;
use std::time::Duration;

use sealwire_config::{Fault, absolute_path, duration};
use serde::Deserialize;

use super::check::{Checked, fault};
use super::{ChallengeKind, Config};
use crate::outgoing::is_sound;

/// Each is a watch at the API server by each replica.
const MAX_SECRETS: usize = 100;
/// Of an object's name (RFC 1123 subdomain), less what is put before a certificate's.
const MAX_NAME_BYTES: usize = 100;
/// A Lease counts in seconds, and each replica asks once in each interval.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_mins(5));

/// `[kubernetes]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesConfig {
    /// Of the Lease. Secrets are called NAME-certificate-CERTIFICATE and NAME-account-ISSUER.
    pub name: String,
    /// Of all of them. Unset: that of the pod.
    pub namespace: Option<String>,
    /// This replica in the Lease. Unset: the host's name, which is the pod's.
    pub identity: Option<String>,
    /// A leader that is not heard of for so long is followed by another.
    #[serde(default = "lease_duration", deserialize_with = "duration")]
    pub lease_duration: Duration,
    /// A leader that cannot renew for so long orders nothing any more; shorter.
    #[serde(default = "renew_timeout", deserialize_with = "duration")]
    pub renew_timeout: Duration,
    /// Between two looks at the Lease; shorter still.
    #[serde(default = "retry_interval", deserialize_with = "duration")]
    pub retry_interval: Duration,
    /// URL of the API server. Unset: what each pod is told.
    pub server: Option<String>,
    /// Its roots. Unset: those in the pod.
    pub ca_file: Option<PathBuf>,
    /// The token of the service account. Unset: the one in the pod.
    pub token_file: Option<PathBuf>,
}

/// As controllers of Kubernetes have it (client-go, leaderelection).
fn lease_duration() -> Duration {
    Duration::from_secs(15)
}

fn renew_timeout() -> Duration {
    Duration::from_secs(10)
}

fn retry_interval() -> Duration {
    Duration::from_secs(2)
}

/// Checks `[kubernetes]`, and what goes with it; replicas answer HTTP-01 for each other.
pub(super) fn check(config: &mut Config) -> Checked {
    let Some(kubernetes) = &config.kubernetes else { return Ok(()) };
    object_name(&["kubernetes", "name"], &kubernetes.name)?;
    if let Some(namespace) = &kubernetes.namespace {
        object_name(&["kubernetes", "namespace"], namespace)?;
    }
    if let Some(server) = &kubernetes.server
        && (!is_sound(server) || server.trim_end_matches('/').matches('/').count() != 2)
    {
        let text = format!("\"{server}\": expected the https URL of an API server, without a path");
        return fault(&["kubernetes", "server"], text);
    }
    for (key, path) in [("ca_file", &kubernetes.ca_file), ("token_file", &kubernetes.token_file)] {
        if let Some(path) = path {
            absolute_path(&["kubernetes", key], path)?;
        }
    }
    check_terms(kubernetes)?;
    if let Some(name) = config.internal.keys().next() {
        let text = "does not go with [kubernetes]: each replica would have a root of its own. Use [acme.NAME], or run an \
                    embedded CA in one agent and let the replicas order from it";
        return Err(Fault::new(&["internal", name], text));
    }
    for (index, certificate) in config.certificates.iter().enumerate() {
        object_name(&["certificate", &index.to_string(), "name"], &certificate.name)?;
    }
    for (name, acme) in &config.acme {
        object_name(&["acme", name], name)?;
        if acme.challenges.contains(&ChallengeKind::TlsAlpn01) {
            return no_tls_alpn(&["acme", name, "challenges"]);
        }
    }
    for (index, certificate) in config.certificates.iter().enumerate() {
        if certificate.challenges.as_ref().is_some_and(|all| all.contains(&ChallengeKind::TlsAlpn01)) {
            return no_tls_alpn(&["certificate", &index.to_string(), "challenges"]);
        }
    }
    let secrets = config.certificates.len() + config.acme.len();
    if secrets > MAX_SECRETS {
        let text = format!(
            "{secrets} certificates and issuers, and each is a Secret that every replica follows: expected at most \
             {MAX_SECRETS}"
        );
        return fault(&["kubernetes", "name"], text);
    }
    // A CA's question reaches any replica, and only one orders.
    config.http01.stateless = true;
    Ok(())
}

fn check_terms(kubernetes: &KubernetesConfig) -> Checked {
    let all = [
        ("retry_interval", kubernetes.retry_interval),
        ("renew_timeout", kubernetes.renew_timeout),
        ("lease_duration", kubernetes.lease_duration),
    ];
    for (key, value) in all {
        if value < INTERVALS.0 || value > INTERVALS.1 {
            let text = format!("{value:?} is out of range, expected {:?} to {:?}", INTERVALS.0, INTERVALS.1);
            return fault(&["kubernetes", key], text);
        }
    }
    if kubernetes.lease_duration.subsec_nanos() != 0 {
        return fault(&["kubernetes", "lease_duration"], "a Lease counts in whole seconds");
    }
    for pair in all.windows(2) {
        let [(shorter, less), (longer, more)] = pair else { continue };
        if less >= more {
            let text = format!(
                "{more:?} must be more than kubernetes.{shorter} ({less:?}), or two replicas could lead"
            );
            return fault(&["kubernetes", longer], text);
        }
    }
    Ok(())
}

/// RFC 1123 subdomains, as names of Secrets must be.
fn object_name(path: &[&str], name: &str) -> Checked {
    let label = |label: &str| {
        let plain =
            label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        plain && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() <= MAX_NAME_BYTES && name.split('.').all(label) {
        return Ok(());
    }
    let text = format!(
        "\"{name}\" cannot be part of a name in Kubernetes: expected at most {MAX_NAME_BYTES} of a-z, 0-9, '-' and '.', \
         with a letter or digit at each end"
    );
    fault(path, text)
}

fn no_tls_alpn(path: &[&str]) -> Checked {
    let text = "\"tls-alpn-01\" does not go with [kubernetes]: the CA may ask a replica that does not order. Use \
                \"http-01\" or \"dns-01\"";
    fault(path, text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;

    const GOOD: &str = r#"
        [kubernetes]
        name = "edge-sealwire"
        [acme.ca]
        directory = "https://ca.example/d"
        terms_of_service_agreed = true
        [[certificate]]
        name = "web"
        identifiers = ["a.example"]
    "#;

    fn load(text: &str) -> Result<Config, String> {
        Config::from_text(Path::new("/x.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn replicas_answer_for_each_other() {
        let config = load(GOOD).unwrap();
        assert!(config.http01.stateless);
        let kubernetes = config.kubernetes.unwrap();
        assert_eq!(kubernetes.lease_duration, Duration::from_secs(15));
    }

    #[test]
    fn what_cannot_work_is_told_with_its_key() {
        let with =
            |key: &str| GOOD.replace("name = \"edge-sealwire\"", &format!("name = \"edge-sealwire\"\n{key}"));
        let bad = [
            (GOOD.replace("edge-sealwire", "Edge"), "kubernetes.name", "cannot be part of a name"),
            (GOOD.replace("\"web\"", "\"we_b\""), "certificate", "cannot be part of a name"),
            (with("server = \"http://10.0.0.1\""), "kubernetes.server", "https URL"),
            (with("server = \"https://a.example/x\""), "kubernetes.server", "without a path"),
            (with("token_file = \"token\""), "kubernetes.token_file", "absolute"),
            (with("renew_timeout = \"20s\""), "kubernetes.lease_duration", "two replicas could lead"),
            (with("retry_interval = \"10s\""), "kubernetes.renew_timeout", "two replicas could lead"),
            (with("lease_duration = \"15500ms\""), "kubernetes.lease_duration", "whole seconds"),
            (with("retry_interval = \"1ms\""), "kubernetes.retry_interval", "out of range"),
            (
                GOOD.replace("[acme.ca]", "[internal.pki]\n[acme.ca]") + "issuers = [\"ca\"]\n",
                "internal.pki",
                "a root of its own",
            ),
            (
                GOOD.replace("terms_of", "challenges = [\"tls-alpn-01\"]\nterms_of"),
                "acme.ca.challenges",
                "Use \"http-01\"",
            ),
        ];
        for (text, key, says) in bad {
            let error = load(&text).unwrap_err();
            assert!(error.contains(key) && error.contains(says), "{key}: {error}");
        }
    }
}
