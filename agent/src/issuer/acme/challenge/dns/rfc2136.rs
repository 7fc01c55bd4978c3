//! Dynamic updates (RFC 2136) over TCP, signed with TSIG (RFC 8945). Exactly our value is added and removed:
//! a wildcard and its base name need two values at one name, and others may have theirs there as well.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use base64::prelude::{BASE64_STANDARD, Engine};
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm as Algorithm;
use hickory_proto::rr::{DNSClass, Name, RData, Record as Rr, RecordType, TSigner};
use zeroize::{Zeroize, Zeroizing};

use super::client::{over_tcp, random_id};
use super::{Action, Provider, Record, missing, plain, secret};
use crate::config::{DnsConfig, TsigAlgorithm};
use crate::issuer::acme::challenge::ChallengeError;

/// How far apart the clocks may be (RFC 8945 section 10).
const FUDGE_SECONDS: u16 = 300;
/// Nobody asks twice.
const DEFAULT_TTL_SECONDS: u32 = 60;

/// A primary server that takes updates.
pub(super) struct Rfc2136 {
    server: SocketAddr,
    zone: Option<Name>,
    key: Option<KeyFile>,
    ttl: u32,
}

struct KeyFile {
    name: Name,
    algorithm: TsigAlgorithm,
    path: PathBuf,
}

impl Rfc2136 {
    pub(super) fn new(config: &DnsConfig) -> Result<Self, ChallengeError> {
        let key = match (&config.tsig_name, &config.tsig_key_file) {
            (Some(name), Some(path)) => Some(KeyFile {
                name: fqdn(name)?,
                algorithm: config.tsig_algorithm.unwrap_or_default(),
                path: path.clone(),
            }),
            _ => None,
        };
        let rfc2136 = Self {
            server: config.server.ok_or_else(|| missing("server"))?,
            zone: config.zone.as_deref().map(fqdn).transpose()?,
            key,
            ttl: config.ttl.unwrap_or(DEFAULT_TTL_SECONDS),
        };
        // A bad key file is better told at the start than at the first renewal.
        rfc2136.signer()?;
        Ok(rfc2136)
    }

    fn signer(&self) -> Result<Option<TSigner>, ChallengeError> {
        let Some(file) = &self.key else { return Ok(None) };
        let mut text = secret(&file.path)?;
        text.retain(|byte| !byte.is_ascii_whitespace());
        let mut key = Zeroizing::new(BASE64_STANDARD.decode(&*text).map_err(|_| {
            ChallengeError::ours(format!(
                "{} is not base64; it must hold the `secret` of the key and nothing else",
                file.path.display()
            ))
        })?);
        text.zeroize();
        let algorithm = match file.algorithm {
            TsigAlgorithm::HmacSha256 => Algorithm::HmacSha256,
            TsigAlgorithm::HmacSha384 => Algorithm::HmacSha384,
            TsigAlgorithm::HmacSha512 => Algorithm::HmacSha512,
        };
        TSigner::new(std::mem::take(&mut *key), algorithm, file.name.clone(), FUDGE_SECONDS)
            .map(Some)
            .map_err(|error| ChallengeError::ours(format!("the TSIG key cannot be used: {error}")))
    }

    /// Sends a message, signed if there is a key, and gives the verified answer. A server with views may
    /// choose the view by the key, so questions are signed as well.
    async fn exchange(&self, mut message: Message) -> Result<Message, ChallengeError> {
        let server = self.server;
        let broken = |detail: String| ChallengeError::transient(format!("DNS server {server}: {detail}"));
        let mut verifier = None;
        if let Some(signer) = self.signer()? {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            verifier = message.finalize(&signer, now).map_err(|error| broken(error.to_string()))?;
        }
        let request = message.to_vec().map_err(|error| broken(error.to_string()))?;
        let bytes = over_tcp(server, &request).await.map_err(|error| broken(error.to_string()))?;
        let reply = Message::from_vec(&bytes).map_err(|error| broken(error.to_string()))?;
        if reply.id != message.id || reply.message_type != MessageType::Response {
            return Err(broken("its answer is not one to our request".to_owned()));
        }
        if let Some(fault) = reply.signature().and_then(|signature| signature.data.error) {
            let key = self.key.as_ref().map(|key| plain(&key.name)).unwrap_or_default();
            return Err(ChallengeError::ours(format!(
                "DNS server {server} refuses TSIG key \"{key}\": {fault:?}; compare name, algorithm and secret \
                 with the server's, and the clocks"
            )));
        }
        if let Some(mut verifier) = verifier
            && let Err(error) = verifier.verify(&bytes)
        {
            return Err(broken(format!(
                "its answer ({}) has no good signature: {error}",
                reply.response_code
            )));
        }
        Ok(reply)
    }

    /// The zone that `name` is in, as the server itself says by its SOA: in the answer at the zone's top,
    /// beside an empty answer below it (RFC 2308 section 3).
    async fn zone_of(&self, name: &Name) -> Result<Name, ChallengeError> {
        if let Some(zone) = &self.zone {
            if zone.zone_of(name) {
                return Ok(zone.clone());
            }
            return Err(ChallengeError::ours(format!(
                "{} is not in the zone {}; correct or remove `zone`",
                plain(name),
                plain(zone)
            )));
        }
        let mut at = name.clone();
        while !at.is_root() {
            let mut message = Message::new(random_id(), MessageType::Query, OpCode::Query);
            message.add_query(Query::query(at.clone(), RecordType::SOA));
            let reply = self.exchange(message).await?;
            let top = reply
                .answers
                .iter()
                .chain(&reply.authorities)
                .find(|record| record.record_type() == RecordType::SOA && record.name.zone_of(name));
            if let Some(top) = top
                && !top.name.is_root()
            {
                return Ok(top.name.clone());
            }
            at = at.base_name();
        }
        Err(ChallengeError::ours(format!(
            "DNS server {} knows no zone for {}; is it the primary? Else set `zone`",
            self.server,
            plain(name)
        )))
    }
}

#[async_trait]
impl Provider for Rfc2136 {
    async fn change(&self, action: Action, record: &Record) -> Result<(), ChallengeError> {
        let zone = self.zone_of(&record.fqdn).await?;
        let mut message = Message::new(random_id(), MessageType::Query, OpCode::Update);
        message.add_query(Query::query(zone.clone(), RecordType::SOA));
        let text = RData::TXT(TXT::new(vec![record.value.clone()]));
        let mut rr = Rr::from_rdata(record.fqdn.clone(), self.ttl, text);
        if action == Action::Cleanup {
            // RFC 2136 section 2.5.4: this record and no other of its set.
            rr.dns_class = DNSClass::NONE;
            rr.ttl = 0;
        }
        message.add_authority(rr);
        let reply = self.exchange(message).await?;
        match reply.response_code {
            ResponseCode::NoError => Ok(()),
            code @ ResponseCode::ServFail => {
                Err(ChallengeError::transient(format!("DNS server {} answers {code}", self.server)))
            }
            code => Err(ChallengeError::ours(format!(
                "DNS server {} answers {code} to the update of {} in zone {}; allow the key to change TXT records \
                 there (BIND: update-policy)",
                self.server,
                plain(&record.fqdn),
                plain(&zone)
            ))),
        }
    }
}

fn fqdn(text: &str) -> Result<Name, ChallengeError> {
    let mut name =
        Name::from_ascii(text).map_err(|error| ChallengeError::ours(format!("\"{text}\": {error}")))?;
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
#[path = "rfc2136_tests.rs"]
mod tests;
