//! Which challenge types, providers and identifiers go together.

use std::collections::BTreeMap;

use hickory_proto::rr::Name;
use sealwire_config::{Fault, absolute_path};

use super::{CertificateConfig, ChallengeKind, Config, DnsConfig, DnsType};
use crate::outgoing::is_sound;

type Checked = Result<(), Fault>;

fn fault<T>(path: &[&str], message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::new(path, message))
}

/// Checks `[dns.*]`, and for each certificate that each identifier can be validated.
pub(super) fn check(config: &Config) -> Checked {
    for (name, dns) in &config.dns {
        super::check::plain_name(&["dns", name], name)?;
        check_dns(name, dns)?;
    }
    for (name, acme) in &config.acme {
        check_list(&["acme", name, "challenges"], &acme.challenges)?;
        known_dns(config, &["acme", name, "dns"], acme.dns.as_deref())?;
    }
    for (index, certificate) in config.certificates.iter().enumerate() {
        let index = index.to_string();
        if let Some(challenges) = &certificate.challenges {
            check_list(&["certificate", &index, "challenges"], challenges)?;
        }
        known_dns(config, &["certificate", &index, "dns"], certificate.dns.as_deref())?;
        for issuer in &certificate.issuers {
            check_certificate(config, &index, certificate, issuer)?;
        }
    }
    if config.http01.stateless { check_stateless(config) } else { Ok(()) }
}

fn check_list(path: &[&str], challenges: &[ChallengeKind]) -> Checked {
    if challenges.is_empty() {
        return fault(path, "is empty, expected at least one type, such as \"http-01\"");
    }
    for (position, kind) in challenges.iter().enumerate() {
        if challenges[..position].contains(kind) {
            return fault(path, format!("\"{kind}\" stands twice"));
        }
    }
    Ok(())
}

fn known_dns(config: &Config, path: &[&str], name: Option<&str>) -> Checked {
    match name {
        Some(name) if !config.dns.contains_key(name) => {
            fault(path, format!("\"{name}\" is not configured; add [dns.{name}]"))
        }
        _ => Ok(()),
    }
}

fn check_certificate(config: &Config, index: &str, certificate: &CertificateConfig, issuer: &str) -> Checked {
    let Some(acme) = config.acme.get(issuer) else { return Ok(()) };
    let kinds = certificate.challenges.as_ref().unwrap_or(&acme.challenges);
    let own = ["certificate", index, "challenges"];
    let path: &[&str] = if certificate.challenges.is_some() { &own } else { &["acme", issuer, "challenges"] };
    for identifier in &certificate.identifiers {
        if kinds.iter().any(|kind| kind.fits(identifier)) {
            continue;
        }
        let why = if identifier.starts_with("*.") {
            "an ACME CA validates wildcards by \"dns-01\" or \"dns-persist-01\" only"
        } else {
            "an ACME CA validates addresses by \"http-01\" or \"tls-alpn-01\" only"
        };
        return fault(path, format!("{identifier} of certificate \"{}\": {why}; add one", certificate.name));
    }
    if kinds.contains(&ChallengeKind::Dns01) && certificate.dns.is_none() && acme.dns.is_none() {
        return fault(
            path,
            format!("\"dns-01\" needs a provider: set dns = \"NAME\" in [acme.{issuer}] and add [dns.NAME]"),
        );
    }
    Ok(())
}

/// A request says which name it is for, and each name must lead to one account.
fn check_stateless(config: &Config) -> Checked {
    let mut accounts: BTreeMap<&str, &str> = BTreeMap::new();
    for (index, certificate) in config.certificates.iter().enumerate() {
        for issuer in &certificate.issuers {
            let Some(acme) = config.acme.get(issuer) else { continue };
            if !certificate.challenges.as_ref().unwrap_or(&acme.challenges).contains(&ChallengeKind::Http01) {
                continue;
            }
            for identifier in &certificate.identifiers {
                match accounts.insert(identifier, issuer) {
                    Some(other) if other != issuer => {
                        return fault(
                            &["certificate", &index.to_string(), "issuers"],
                            format!(
                                "{identifier} is validated by \"http-01\" for both \"{other}\" and \"{issuer}\", \
                                 and http01.stateless could not tell whose account a token is for: use one of \
                                 them, or another challenge type"
                            ),
                        );
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

fn check_dns(name: &str, dns: &DnsConfig) -> Checked {
    use DnsType::{AcmeDns, Exec, Rfc2136, Webhook};
    let keys: [(&str, bool, &[DnsType], &[DnsType]); 11] = [
        // Key, whether it is set, who may have it, who must have it.
        ("server", dns.server.is_some(), &[Rfc2136], &[Rfc2136]),
        ("zone", dns.zone.is_some(), &[Rfc2136], &[]),
        ("tsig_name", dns.tsig_name.is_some(), &[Rfc2136], &[]),
        ("tsig_algorithm", dns.tsig_algorithm.is_some(), &[Rfc2136], &[]),
        ("tsig_key_file", dns.tsig_key_file.is_some(), &[Rfc2136], &[]),
        ("ttl", dns.ttl.is_some(), &[Rfc2136], &[]),
        ("url", dns.url.is_some(), &[Webhook, AcmeDns], &[Webhook, AcmeDns]),
        ("token_file", dns.token_file.is_some(), &[Webhook], &[]),
        ("program", dns.program.is_some(), &[Exec], &[Exec]),
        ("args", dns.args.is_some(), &[Exec], &[]),
        ("credentials_file", dns.credentials_file.is_some(), &[AcmeDns], &[AcmeDns]),
    ];
    let kind = dns.r#type;
    for (key, set, may, must) in keys {
        let path = ["dns", name, key];
        if set && !may.contains(&kind) {
            return fault(&path, format!("does not go with type = \"{}\"", kind.name()));
        }
        if !set && must.contains(&kind) {
            return fault(&["dns", name], format!("`{key}` is missing; type = \"{}\" needs it", kind.name()));
        }
    }
    if dns.ca_file.is_some() && !matches!(kind, Webhook | AcmeDns) {
        return fault(&["dns", name, "ca_file"], format!("does not go with type = \"{}\"", kind.name()));
    }
    for (key, file) in [
        ("tsig_key_file", &dns.tsig_key_file),
        ("token_file", &dns.token_file),
        ("ca_file", &dns.ca_file),
        ("program", &dns.program),
        ("credentials_file", &dns.credentials_file),
    ] {
        if let Some(file) = file {
            absolute_path(&["dns", name, key], file)?;
        }
    }
    for (key, text) in [("zone", &dns.zone), ("tsig_name", &dns.tsig_name)] {
        if let Some(text) = text
            && (text.is_empty() || Name::from_ascii(text).is_err())
        {
            return fault(&["dns", name, key], format!("\"{text}\": expected a DNS name"));
        }
    }
    let tsig = (&dns.tsig_name, &dns.tsig_key_file);
    if tsig.0.is_some() != tsig.1.is_some() {
        return fault(&["dns", name], "tsig_name and tsig_key_file belong together: set both or none");
    }
    match &dns.url {
        Some(url) if !is_sound(url) => fault(
            &["dns", name, "url"],
            format!(
                "\"{url}\": expected an https URL, or http to this machine (127.0.0.1, [::1], localhost)"
            ),
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "check_challenge_tests.rs"]
mod tests;
