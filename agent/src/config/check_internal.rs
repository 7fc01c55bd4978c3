//! What makes sense in `[internal.NAME]`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::check::{Checked, fault, is_dns_name, plain_name};
use super::{Config, InternalConfig, PublishConfig};

/// Shortest leaf: below this, clock skew and a slow disk eat the lifetime.
const MIN_LEAF_LIFETIME: Duration = Duration::from_mins(2);
/// Longest leaf: what browsers took from any CA before the Web PKI went shorter (398 days).
const MAX_LEAF_LIFETIME: Duration = Duration::from_hours(24 * 398);
/// Below, clients would fetch all the time; above, what is revoked stays in use for too long.
const CRL_LIFETIMES: RangeInclusive<Duration> = Duration::from_mins(10)..=Duration::from_hours(24 * 7);
/// The same for OCSP, where a single answer is small.
const OCSP_LIFETIMES: RangeInclusive<Duration> = Duration::from_mins(5)..=Duration::from_hours(24);
/// A DNS name (253 bytes), scheme and port.
const MAX_URL_BYTES: usize = 270;
/// Names that an operator confirms one by one.
const MAX_CLIENTS: usize = 100;

/// Checks one `[internal.NAME]`.
pub(super) fn check_internal(name: &str, internal: &InternalConfig, config: &Config) -> Checked {
    plain_name(&["internal", name], name)?;
    if !(MIN_LEAF_LIFETIME..=MAX_LEAF_LIFETIME).contains(&internal.leaf_lifetime) {
        return fault(
            &["internal", name, "leaf_lifetime"],
            format!("{:?} is out of range, expected 2 minutes to 398 days", internal.leaf_lifetime),
        );
    }
    for (position, permitted) in internal.permitted.iter().enumerate() {
        let block = permitted.split_once('/').is_some_and(|(address, bits)| {
            let most = match address.parse::<IpAddr>() {
                Ok(IpAddr::V4(_)) => 32,
                Ok(IpAddr::V6(_)) => 128,
                Err(_) => return false,
            };
            bits.parse::<u8>().is_ok_and(|bits| bits <= most)
        });
        if !block && !is_dns_name(permitted) {
            return fault(
                &["internal", name, "permitted", &position.to_string()],
                format!("\"{permitted}\": expected a DNS suffix (svc.example) or a block (10.0.0.0/8)"),
            );
        }
    }
    if let Some(publish) = &internal.publish {
        check_publish(name, publish, config)?;
    }
    check_clients(name, internal.clients.as_deref().unwrap_or_default())
}

fn check_publish(name: &str, publish: &PublishConfig, config: &Config) -> Checked {
    let path = |key| ["internal", name, "publish", key];
    if !is_base_url(&publish.url) {
        return fault(
            &path("url"),
            format!(
                "\"{}\": expected http://HOST[:PORT] without a path. Not https: whoever checks a certificate to \
                 get there would need this answer first, and what is published is signed (RFC 5280 section 8)",
                publish.url
            ),
        );
    }
    if publish.listen == config.http01.listen || publish.listen == config.tls_alpn01.listen {
        return fault(
            &path("listen"),
            format!("{} is where challenges are answered; choose another port", publish.listen),
        );
    }
    if !CRL_LIFETIMES.contains(&publish.crl_lifetime) {
        return fault(
            &path("crl_lifetime"),
            format!("{:?} is out of range, expected 10 minutes to 7 days", publish.crl_lifetime),
        );
    }
    if !OCSP_LIFETIMES.contains(&publish.ocsp_lifetime) {
        return fault(
            &path("ocsp_lifetime"),
            format!("{:?} is out of range, expected 5 minutes to 24 hours", publish.ocsp_lifetime),
        );
    }
    Ok(())
}

fn is_base_url(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    uri.scheme_str() == Some("http")
        && plain
        && uri.host().is_some_and(|host| !host.is_empty())
        && matches!(uri.path(), "" | "/")
        && uri.query().is_none()
        && url.len() <= MAX_URL_BYTES
}

fn check_clients(name: &str, clients: &[String]) -> Checked {
    if clients.len() > MAX_CLIENTS {
        return fault(
            &["internal", name, "clients"],
            format!("has {}, at most {MAX_CLIENTS} fit: name groups of clients", clients.len()),
        );
    }
    let mut seen = BTreeSet::new();
    for (position, client) in clients.iter().enumerate() {
        let path = ["internal", name, "clients", &position.to_string()];
        plain_name(&path, client)?;
        if !seen.insert(client) {
            return fault(&path, format!("\"{client}\" stands twice"));
        }
    }
    Ok(())
}
