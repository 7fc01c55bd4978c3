//! What the DNS says: aliases, zones, their servers, TXT records.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use futures_util::future::join_all;
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData, RecordType};

use super::client::{DnsError, query};

/// Aliases that lead to aliases: more is a mistake (BIND follows 11, Unbound 11, we need one or two).
const MAX_CNAME_HOPS: usize = 8;
/// The root has 13.
const MAX_NAME_SERVERS: usize = 13;
/// Per name server.
const MAX_ADDRESSES: usize = 4;
/// Who writes `_acme-challenge` records needs no longer list.
const MAX_RESOLVERS: usize = 8;
const RESOLV_CONF: &str = "/etc/resolv.conf";
const DNS_PORT: u16 = 53;

/// Recursive servers to ask.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    servers: Vec<SocketAddr>,
    /// 53, except in tests.
    authority_port: u16,
}

/// A server of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) name: Name,
    pub(crate) addresses: Vec<SocketAddr>,
}

/// Why an alias leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AliasError {
    /// No answer.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// It comes back to itself, or goes on for too long.
    #[error(
        "the CNAME records at {0} lead in a circle or over more than {MAX_CNAME_HOPS} steps; correct them"
    )]
    Endless(Name),
}

impl Resolver {
    /// The first list that is not empty, else the servers of `/etc/resolv.conf`.
    pub(crate) fn new(lists: &[&[SocketAddr]]) -> Self {
        let mut servers = lists.iter().find(|list| !list.is_empty()).map(|list| list.to_vec());
        let servers = servers.get_or_insert_with(system_resolvers);
        servers.truncate(MAX_RESOLVERS);
        Self { servers: std::mem::take(servers), authority_port: DNS_PORT }
    }

    #[cfg(test)]
    pub(in super::super) fn with_authority_port(mut self, port: u16) -> Self {
        self.authority_port = port;
        self
    }

    /// The same, one server each.
    pub(crate) fn each(&self) -> Vec<Self> {
        self.servers.iter().map(|&server| Self { servers: vec![server], ..self.clone() }).collect()
    }

    /// Asks one server after the other until one answers.
    pub(crate) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Message, DnsError> {
        let mut last = None;
        for &server in &self.servers {
            match query(server, name, kind, true).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(DnsError::Unreachable {
            server: SocketAddr::from(([0, 0, 0, 0], DNS_PORT)),
            detail: format!("none is configured: set `resolvers`, or a nameserver in {RESOLV_CONF}"),
        }))
    }

    /// The TXT records at `name`, or where its aliases lead.
    pub(super) async fn txt(&self, name: &Name) -> Result<Vec<String>, DnsError> {
        self.ask(name, RecordType::TXT).await.map(|answer| texts(&answer))
    }

    /// Where the aliases of `name` lead; `name` itself if it has none.
    pub(crate) async fn target(&self, name: &Name) -> Result<Name, AliasError> {
        let mut at = name.to_lowercase();
        let mut seen = BTreeSet::from([at.clone()]);
        // One question more than hops: the last must say that it is none.
        for _ in 0..=MAX_CNAME_HOPS {
            let answer = self.ask(&at, RecordType::CNAME).await?;
            let next = answer.answers.iter().find_map(|record| match &record.data {
                RData::CNAME(target) if record.name == at => Some(target.0.to_lowercase()),
                _ => None,
            });
            let Some(next) = next else { return Ok(at) };
            if !seen.insert(next.clone()) {
                break;
            }
            at = next;
        }
        Err(AliasError::Endless(name.clone()))
    }

    /// The servers of the zone that `name` is in.
    pub(crate) async fn authorities(&self, name: &Name) -> Result<Vec<Authority>, DnsError> {
        let mut zone = name.to_lowercase();
        while !zone.is_root() {
            let answer = self.ask(&zone, RecordType::NS).await?;
            let servers: BTreeSet<Name> = answer
                .answers
                .iter()
                .filter_map(|record| match &record.data {
                    RData::NS(server) if record.name == zone => Some(server.0.to_lowercase()),
                    _ => None,
                })
                .take(MAX_NAME_SERVERS)
                .collect();
            if !servers.is_empty() {
                let authority = async |name: Name| {
                    let addresses = self.addresses(&name).await;
                    Authority { name, addresses }
                };
                return Ok(join_all(servers.into_iter().map(authority)).await);
            }
            zone = zone.base_name();
        }
        Ok(Vec::new())
    }

    /// IPv4 first: more machines have it.
    async fn addresses(&self, name: &Name) -> Vec<SocketAddr> {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            let Ok(answer) = self.ask(name, kind).await else { continue };
            addresses.extend(answer.answers.iter().filter_map(|record| match &record.data {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            }));
        }
        addresses.truncate(MAX_ADDRESSES);
        addresses.into_iter().map(|address| SocketAddr::new(address, self.authority_port)).collect()
    }
}

impl Authority {
    /// The TXT records it has at `name`.
    pub(crate) async fn txt(&self, name: &Name) -> Result<Vec<String>, DnsError> {
        let mut last = None;
        for &address in &self.addresses {
            match query(address, name, RecordType::TXT, false).await {
                Ok(answer) => return Ok(texts(&answer)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(DnsError::Unreachable {
            server: SocketAddr::from(([0, 0, 0, 0], DNS_PORT)),
            detail: format!("{} has no address", self.name),
        }))
    }
}

/// The strings of one record belong together (RFC 7208 section 3.3, and what CAs do).
fn texts(answer: &Message) -> Vec<String> {
    answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
            _ => None,
        })
        .collect()
}

fn system_resolvers() -> Vec<SocketAddr> {
    nameservers(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default())
}

fn nameservers(resolv_conf: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        Some(SocketAddr::new(address.parse().ok()?, DNS_PORT))
    };
    resolv_conf.lines().filter_map(server).collect()
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
