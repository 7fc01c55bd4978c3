//! What the types cannot say: which values make sense together.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use rustls_pki_types::DnsName;
use sealwire_config::{Fault, absolute_path};

use super::check_internal::check_internal;
use super::{AcmeConfig, CertificateConfig, Config, OcspMode};
use crate::outgoing::is_sound;

/// Let's Encrypt's limit on identifiers per certificate.
const MAX_IDENTIFIERS: usize = 100;
/// A stale staple that may be served for longer is worth nothing.
const MAX_OCSP_GRACE: Duration = Duration::from_hours(24 * 7);
/// More would only wait at the CA.
const MAX_PARALLEL_ORDERS: usize = 256;
/// Leaves room for the rest of a path within the usual limits of file systems.
const MAX_NAME_BYTES: usize = 64;

pub(super) type Checked = Result<(), Fault>;

pub(super) fn fault<T>(path: &[&str], message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::new(path, message))
}

/// Checks the whole and fills in what follows from it (the only issuer).
pub(super) fn check(config: &mut Config) -> Checked {
    absolute_path(&["state_dir"], &config.state_dir)?;
    absolute_path(&["delivery", "socket"], &config.delivery.socket)?;
    if let Some(path) = &config.delivery.client_roots {
        absolute_path(&["delivery", "client_roots"], path)?;
    }
    absolute_path(&["admin", "socket"], &config.admin.socket)?;
    if config.delivery.socket == config.admin.socket {
        return fault(&["admin", "socket"], "must differ from delivery.socket");
    }
    config.log.check()?;
    super::alerts::check(&config.alerts)?;
    config.revocation.check()?;
    for (name, internal) in &config.internal {
        check_internal(name, internal, config)?;
    }
    for (name, acme) in &config.acme {
        check_acme(name, acme)?;
        if config.internal.contains_key(name) {
            return fault(&["acme", name], format!("[internal.{name}] has the same name; choose another"));
        }
        if let Some(staging) = &acme.rehearsal
            && (staging == name || !config.acme.contains_key(staging))
        {
            return fault(
                &["acme", name, "rehearsal"],
                format!("\"{staging}\": expected the name of another [acme.NAME], a staging CA"),
            );
        }
    }
    check_certificates(config)?;
    super::kubernetes::check(config)?;
    super::deploy::check(config)?;
    super::check_challenge::check(config)
}

/// Names become directories and command line arguments.
pub(super) fn plain_name(path: &[&str], name: &str) -> Checked {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if starts_well && name.len() <= MAX_NAME_BYTES && name.chars().all(plain) {
        return Ok(());
    }
    fault(
        path,
        format!(
            "\"{name}\" is not a usable name: expected at most {MAX_NAME_BYTES} of a-z, 0-9, '.', '_', '-', \
             starting with a letter or digit"
        ),
    )
}

fn check_acme(name: &str, config: &AcmeConfig) -> Checked {
    plain_name(&["acme", name], name)?;
    if !is_sound(&config.directory) {
        return fault(
            &["acme", name, "directory"],
            format!("\"{}\": expected the https URL of an ACME directory", config.directory),
        );
    }
    if !config.terms_of_service_agreed {
        return fault(
            &["acme", name],
            "terms_of_service_agreed must be true: read the CA's terms (its directory links them) and set it",
        );
    }
    config.limits.limits(&["acme", name, "limits"])?;
    if !(1..=MAX_PARALLEL_ORDERS).contains(&config.parallel_orders) {
        return fault(
            &["acme", name, "parallel_orders"],
            format!("{} is out of range, expected 1 to {MAX_PARALLEL_ORDERS}", config.parallel_orders),
        );
    }
    for (position, contact) in config.contacts.iter().enumerate() {
        if !contact.contains(':') {
            return fault(
                &["acme", name, "contacts", &position.to_string()],
                format!("\"{contact}\": expected a URL such as \"mailto:{contact}\""),
            );
        }
    }
    if let Some(profile) = &config.profile {
        check_profile(&["acme", name, "profile"], profile)?;
    }
    if let Some(position) = config.issued_by.iter().position(|name| name.trim().is_empty()) {
        return Err(Fault::new(
            &["acme", name, "issued_by", &position.to_string()],
            "is empty, expected an organization or common name",
        ));
    }
    if config.preferred_chain.as_deref().is_some_and(|root| root.trim().is_empty()) {
        return fault(
            &["acme", name, "preferred_chain"],
            "is empty, expected the common name of a root, such as \"ISRG Root X1\"",
        );
    }
    if let Some(eab) = &config.eab {
        if eab.kid.is_empty() {
            return fault(&["acme", name, "eab", "kid"], "is empty, expected the key id that the CA shows");
        }
        absolute_path(&["acme", name, "eab", "key_file"], &eab.key_file)?;
    }
    Ok(())
}

/// A name that a CA's directory may offer; which ones it does offer is seen when it is asked.
fn check_profile(path: &[&str], profile: &str) -> Checked {
    if profile.is_empty() || profile.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return fault(path, format!("\"{profile}\": expected the name of a profile that the CA offers"));
    }
    Ok(())
}

fn check_certificates(config: &mut Config) -> Checked {
    if config.certificates.is_empty() {
        return fault(&[], "no [[certificate]] is configured; see `sealwire config example`");
    }
    let issuers: Vec<String> = config.internal.keys().chain(config.acme.keys()).cloned().collect();
    let mut seen = BTreeSet::new();
    for (index, certificate) in config.certificates.iter_mut().enumerate() {
        let index = index.to_string();
        plain_name(&["certificate", &index, "name"], &certificate.name)?;
        if !seen.insert(certificate.name.clone()) {
            return fault(
                &["certificate", &index, "name"],
                format!("\"{}\" is configured twice", certificate.name),
            );
        }
        if !(0.01..=0.95).contains(&certificate.renew_at) {
            return fault(
                &["certificate", &index, "renew_at"],
                format!(
                    "{} is out of range, expected a part of the lifetime from 0.01 to 0.95",
                    certificate.renew_at
                ),
            );
        }
        if let Some(maintenance) = &certificate.maintenance {
            maintenance.windows().or_else(|error| fault(&["certificate", &index, "maintenance"], error))?;
        }
        if certificate.ocsp_grace > MAX_OCSP_GRACE {
            return fault(
                &["certificate", &index, "ocsp_grace"],
                format!("{:?} is out of range, expected at most 7 days", certificate.ocsp_grace),
            );
        }
        if certificate.ocsp == OcspMode::Require && !config.revocation.check {
            return fault(
                &["certificate", &index, "ocsp"],
                "\"require\" needs OCSP responses, and revocation.check = false fetches none: remove either",
            );
        }
        check_identifiers(&index, certificate)?;
        fill_issuers(&index, certificate, &issuers)?;
        let over_acme = certificate.issuers.iter().any(|issuer| config.acme.contains_key(issuer));
        if let Some(profile) = &certificate.profile {
            let path = ["certificate", &index, "profile"];
            check_profile(&path, profile)?;
            if !over_acme {
                return fault(
                    &path,
                    "only ACME CAs have profiles, and none of its issuers is one: remove it",
                );
            }
        }
    }
    Ok(())
}

fn check_identifiers(index: &str, certificate: &mut CertificateConfig) -> Checked {
    let path = ["certificate", index, "identifiers"];
    if certificate.identifiers.is_empty() {
        return fault(&path, "is empty, expected at least one DNS name or IP address");
    }
    if certificate.identifiers.len() > MAX_IDENTIFIERS {
        return fault(&path, format!("has {}, at most {MAX_IDENTIFIERS} fit", certificate.identifiers.len()));
    }
    let mut seen = BTreeSet::new();
    for (position, identifier) in certificate.identifiers.iter_mut().enumerate() {
        let position = position.to_string();
        let path = ["certificate", index, "identifiers", &position];
        let Some(plain) = normal_identifier(identifier) else {
            return fault(
                &path,
                format!("\"{identifier}\": expected a DNS name, a wildcard or an IP address"),
            );
        };
        if !seen.insert(plain.clone()) {
            return fault(&path, format!("\"{plain}\" stands twice"));
        }
        *identifier = plain;
    }
    Ok(())
}

/// Lower case and the shortest form of an address, so that comparisons are plain ones.
fn normal_identifier(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_string());
    }
    let lower = text.to_ascii_lowercase();
    let base = lower.strip_prefix("*.").unwrap_or(&lower);
    is_dns_name(base).then(|| lower.clone())
}

pub(super) fn is_identifier(text: &str) -> bool {
    normal_identifier(text).is_some()
}

pub(super) fn is_dns_name(text: &str) -> bool {
    !text.ends_with('.') && !text.contains('*') && DnsName::try_from(text).is_ok()
}

fn fill_issuers(index: &str, certificate: &mut CertificateConfig, issuers: &[String]) -> Checked {
    let path = ["certificate", index, "issuers"];
    let known = || issuers.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    match (certificate.issuers.as_slice(), issuers) {
        ([], []) => fault(&path, "no issuer is configured: add [internal.NAME] or [acme.NAME]"),
        ([], [only]) => {
            certificate.issuers = vec![only.clone()];
            Ok(())
        }
        ([], _) => {
            fault(&path, format!("is missing; several issuers are configured, choose from {}", known()))
        }
        (named, _) => match named.iter().position(|name| !issuers.contains(name)) {
            None => Ok(()),
            Some(position) => fault(
                &["certificate", index, "issuers", &position.to_string()],
                format!("\"{}\" is not configured; known: {}", named[position], known()),
            ),
        },
    }
}
