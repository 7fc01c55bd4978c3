//! What the DNS says of each identifier's addresses, and which checks follow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::time::timeout;

use super::challenge::check_path;
use super::delegation;
use super::listeners::Listeners;
use super::records::check_caa;
use super::{Cas, Finding, Job, STEP_TIMEOUT, Scene};
use crate::config::{AcmeConfig, CertificateConfig, ChallengeKind};
use crate::issuer::acme::{AliasError, DnsError, Resolver};

/// No name has more that a CA would try (Let's Encrypt: one IPv6, one IPv4).
const MAX_ADDRESSES: usize = 8;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The servers say that something is wrong: a CA will hear the same.
    Refused(String),
    /// The servers could not be asked from here.
    Silent(String),
}

impl From<DnsError> for NoAnswer {
    fn from(error: DnsError) -> Self {
        match error {
            DnsError::Code { .. } => Self::Refused(error.to_string()),
            DnsError::Unreachable { .. } => Self::Silent(error.to_string()),
        }
    }
}

impl From<AliasError> for NoAnswer {
    fn from(error: AliasError) -> Self {
        match error {
            AliasError::Dns(error) => error.into(),
            AliasError::Endless(_) => Self::Refused(error.to_string()),
        }
    }
}

/// Asks all servers at the same time, and takes the answer of the first in their order that has one: as the agent
/// would, without its waiting for those that are dead.
pub(super) async fn ask<T, E: Into<NoAnswer>>(
    resolver: &Resolver,
    question: impl AsyncFn(Resolver) -> Result<T, E>,
) -> Result<T, NoAnswer> {
    let one = async |server: Resolver| match timeout(STEP_TIMEOUT, question(server)).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => {
            Err(NoAnswer::Silent(format!("no DNS server answered within {} s", STEP_TIMEOUT.as_secs())))
        }
    };
    let servers = resolver.each();
    let count = servers.len().max(1);
    let mut answers = std::pin::pin!(stream::iter(servers).map(one).buffered(count));
    let mut last = NoAnswer::Silent(
        "no DNS server is configured: set `resolvers`, or a nameserver in /etc/resolv.conf".to_owned(),
    );
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The name as the DNS knows it: without the `*.` of a wildcard.
pub(super) fn dns_name(identifier: &str) -> Option<Name> {
    let mut name = Name::from_ascii(identifier.strip_prefix("*.").unwrap_or(identifier)).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// How an identifier is looked at, over all certificates and issuers that have it.
type Ways = BTreeMap<(String, Vec<SocketAddr>), BTreeSet<ChallengeKind>>;

/// The resolvers of a certificate at an issuer, as the agent would choose them.
fn resolvers<'a>(
    scene: &'a Scene,
    certificate: &CertificateConfig,
    acme: &'a AcmeConfig,
) -> &'a [SocketAddr] {
    let dns = certificate.dns.as_deref().or(acme.dns.as_deref()).and_then(|name| scene.config.dns.get(name));
    dns.map(|dns| dns.resolvers.as_slice()).filter(|own| !own.is_empty()).unwrap_or(&acme.resolvers)
}

/// The checks of all names.
pub(super) fn jobs(scene: &Arc<Scene>, cas: &Arc<Cas>, listeners: &Arc<Listeners>) -> Vec<Job> {
    let mut ways = Ways::new();
    let mut caa = BTreeSet::new();
    let mut jobs: Vec<Job> = Vec::new();
    let mut records = BTreeSet::new();
    for certificate in &scene.certificates {
        for issuer in &certificate.issuers {
            let Some(acme) = scene.config.acme.get(issuer) else { continue };
            let servers = resolvers(scene, certificate, acme).to_vec();
            let kinds = certificate.challenges.as_ref().unwrap_or(&acme.challenges);
            let provider = certificate.dns.as_ref().or(acme.dns.as_ref());
            let follow =
                provider.and_then(|name| scene.config.dns.get(name)).is_none_or(|dns| dns.follow_cname);
            for identifier in &certificate.identifiers {
                let fitting: Vec<_> = kinds.iter().copied().filter(|kind| kind.fits(identifier)).collect();
                if fitting.contains(&ChallengeKind::Dns01) {
                    let base = identifier.strip_prefix("*.").unwrap_or(identifier).to_owned();
                    records.insert((base, servers.clone(), follow));
                }
                let way = ways.entry((identifier.clone(), servers.clone())).or_default();
                way.extend(fitting.iter().filter(|kind| by_address(**kind)));
                if identifier.parse::<IpAddr>().is_err() {
                    caa.insert((identifier.clone(), issuer.clone(), servers.clone(), fitting));
                }
            }
        }
    }
    for ((identifier, servers), kinds) in ways.into_iter().filter(|(_, kinds)| !kinds.is_empty()) {
        let (scene, listeners) = (Arc::clone(scene), Arc::clone(listeners));
        jobs.push(Box::pin(
            async move { at_addresses(&scene, &listeners, &identifier, &servers, &kinds).await },
        ));
    }
    for (base, servers, follow) in records {
        jobs.push(Box::pin(
            async move { delegation::check(&base, &Resolver::new(&[&servers]), follow).await },
        ));
    }
    for (identifier, issuer, servers, kinds) in caa {
        let (scene, cas) = (Arc::clone(scene), Arc::clone(cas));
        jobs.push(Box::pin(
            async move { check_caa(&scene, &cas, &identifier, &issuer, &servers, &kinds).await },
        ));
    }
    jobs
}

fn by_address(kind: ChallengeKind) -> bool {
    matches!(kind, ChallengeKind::Http01 | ChallengeKind::TlsAlpn01)
}

async fn at_addresses(
    scene: &Scene,
    listeners: &Listeners,
    identifier: &str,
    servers: &[SocketAddr],
    kinds: &BTreeSet<ChallengeKind>,
) -> Vec<Finding> {
    let resolver = Resolver::new(&[servers]);
    let (addresses, mut findings) = match identifier.parse::<IpAddr>() {
        Ok(address) => (vec![address], Vec::new()),
        Err(_) => addresses(&resolver, identifier).await,
    };
    for address in addresses {
        for &kind in kinds {
            findings.push(check_path(scene, listeners, &resolver, kind, identifier, address).await);
        }
    }
    findings
}

/// The addresses of a name, IPv6 first: so do CAs.
pub(super) async fn addresses(resolver: &Resolver, name: &str) -> (Vec<IpAddr>, Vec<Finding>) {
    let Some(fqdn) = dns_name(name) else { return (Vec::new(), Vec::new()) };
    let lookup = async |kind| {
        ask(resolver, async |server: Resolver| server.ask(&fqdn, kind).await).await.map(|answer| of(&answer))
    };
    let (six, four) = tokio::join!(lookup(RecordType::AAAA), lookup(RecordType::A));
    let mut found = Vec::new();
    let mut findings = Vec::new();
    for (kind, answer) in [("AAAA", six), ("A", four)] {
        match answer {
            Ok(addresses) => found.extend(addresses),
            Err(NoAnswer::Refused(error)) => {
                let advice = format!("mend the zone of {name} (or its DNSSEC): dig {kind} {name}");
                findings.push(Finding::error("dns", name, format!("{kind}: {error}"), advice));
            }
            Err(NoAnswer::Silent(error)) => {
                let advice = "set `resolvers` of the issuer to DNS servers that this machine can reach";
                findings.push(Finding::warning("dns", name, format!("{kind}: {error}"), advice));
            }
        }
    }
    found.truncate(MAX_ADDRESSES);
    if !found.is_empty() {
        let list: Vec<_> = found.iter().map(ToString::to_string).collect();
        findings.push(Finding::ok("dns", name, list.join(", ")));
    } else if findings.is_empty() {
        let advice =
            format!("add a record: {name}. A ADDRESS (or AAAA), or validate by `challenges = [\"dns-01\"]`");
        findings.push(Finding::error("dns", name, "has no address (no A, no AAAA)", advice));
    }
    (found, findings)
}

fn of(answer: &Message) -> Vec<IpAddr> {
    let address = |data: &RData| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    answer.answers.iter().filter_map(|record| address(&record.data)).collect()
}
