//! DNS-01: where the record would go, and whether the servers of that zone can be asked. Nothing is set.

use futures_util::future::join_all;
use hickory_proto::rr::{Name, RecordType};
use tokio::time::timeout;

use super::names::{NoAnswer, ask, dns_name};
use super::{Finding, STEP_TIMEOUT};
use crate::issuer::acme::Resolver;

const CHECK: &str = "dns-01";

/// Checks `_acme-challenge.BASE`.
pub(super) async fn check(base: &str, resolver: &Resolver, follow_cname: bool) -> Vec<Finding> {
    let label = format!("_acme-challenge.{base}");
    let Some(fqdn) = dns_name(&label) else { return Vec::new() };
    match look(&fqdn, resolver, follow_cname).await {
        Ok((target, finding)) => vec![told(&label, &fqdn, &target, finding)],
        Err(NoAnswer::Refused(error)) => {
            let advice = format!("mend the zone or the alias, the CA hears the same: dig TXT {label}");
            vec![Finding::error(CHECK, label, error, advice)]
        }
        Err(NoAnswer::Silent(error)) => {
            let advice =
                "set `resolvers` of the issuer or of [dns.NAME] to DNS servers that this machine can reach";
            vec![Finding::warning(CHECK, label, error, advice)]
        }
    }
}

/// What is known of the servers of a zone.
enum Zone {
    Unknown,
    Servers { answering: Vec<String>, dead: Vec<String> },
}

async fn look(fqdn: &Name, resolver: &Resolver, follow_cname: bool) -> Result<(Name, Zone), NoAnswer> {
    let target = if follow_cname {
        ask(resolver, async |server: Resolver| server.target(fqdn).await).await?
    } else {
        fqdn.clone()
    };
    // Some resolvers do not tell name servers; what a CA asks for decides.
    let servers = ask(resolver, async |server: Resolver| server.authorities(&target).await).await;
    let servers = servers.unwrap_or_default();
    if servers.is_empty() {
        ask(resolver, async |server: Resolver| server.ask(&target, RecordType::TXT).await).await?;
        return Ok((target, Zone::Unknown));
    }
    let asked = join_all(servers.iter().map(|server| timeout(STEP_TIMEOUT, server.txt(&target)))).await;
    let (mut answering, mut dead) = (Vec::new(), Vec::new());
    for (server, answer) in servers.iter().zip(asked) {
        match answer {
            Ok(Ok(_)) => answering.push(server.name.to_string()),
            Ok(Err(error)) => dead.push(format!("{} ({error})", server.name)),
            Err(_) => dead.push(format!("{} (no answer within {} s)", server.name, STEP_TIMEOUT.as_secs())),
        }
    }
    Ok((target, Zone::Servers { answering, dead }))
}

fn told(label: &str, fqdn: &Name, target: &Name, zone: Zone) -> Finding {
    let place = if target == fqdn {
        "the record goes there".to_owned()
    } else {
        format!("the record goes to {target}")
    };
    match zone {
        Zone::Unknown => {
            let message = format!("{place}, but no zone with name servers is seen above it");
            let advice =
                format!("check that the zone of {target} is delegated (dig NS), and that `resolvers` see it");
            Finding::warning(CHECK, label, message, advice)
        }
        Zone::Servers { answering, dead } if dead.is_empty() => {
            Finding::ok(CHECK, label, format!("{place}; {} answer(s)", answering.join(", ")))
        }
        Zone::Servers { answering, dead } if answering.is_empty() => {
            let message = format!("{place}, but no server of its zone can be asked: {}", dead.join(", "));
            let advice =
                "let this machine reach port 53 of them, or set `propagation = \"off\"` in [dns.NAME]";
            Finding::warning(CHECK, label, message, advice)
        }
        Zone::Servers { dead, .. } => {
            let message = format!("{place}, but not all servers of its zone answer: {}", dead.join(", "));
            let advice = "mend them or remove their NS records: a CA may ask any of them";
            Finding::warning(CHECK, label, message, advice)
        }
    }
}
