//! Brings accounts and certificates of other ACME clients into the store, so that a move needs no new orders.

mod account;
mod account_layout;
pub(crate) mod key;
mod layout;
mod origin;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use jiff::Timestamp;
use rustls_pki_types::PrivatePkcs8KeyDer;
use sealwire_proto::anchors::Anchors;
use sealwire_proto::validate::LeafFacts;
use zeroize::Zeroizing;

use crate::config::{CertificateConfig, Config};
use crate::gate;
use crate::store::{Glance, Metadata, New, Store, chain_from_pem};
pub use account::{AdoptedAccount, Choice, adopt_accounts};
pub use account_layout::{FoundAccount, find_accounts};
pub use layout::{Client, Found, find};
pub use origin::Origin;

/// No file of a client is larger.
const MAX_FILE: u64 = 1 << 20;

/// Why something cannot be taken over: names the file and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct AdoptError(pub(crate) String);

/// What became of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adopted {
    /// Stored and current (or would be, in a dry run) as this `[[certificate]]`.
    Stored(String),
    /// What is current is valid as long or longer.
    Kept(String),
    /// No `[[certificate]]` has these identifiers: TOML for one.
    NotConfigured(String),
}

/// Takes over one certificate. Without a `store` it is a dry run, which writes nothing at all.
///
/// # Errors
/// [`AdoptError`]; what was current is current still.
pub fn adopt(
    config: &Config,
    store: Option<&Store>,
    found: &Found,
    issuer: Option<&str>,
    now: Timestamp,
) -> Result<Adopted, AdoptError> {
    let chain = chain_from_pem(&read_limited(&found.chain)?)
        .map_err(|error| AdoptError(format!("{}: {error}", found.chain.display())))?;
    let leaf = LeafFacts::parse(&chain[0])
        .map_err(|error| AdoptError(format!("{}: {}", found.chain.display(), error.detail)))?;
    let key = key::to_pkcs8(&read_limited(&found.key)?)
        .map_err(|error| AdoptError(format!("{}: {error}", found.key.display())))?;

    let Some(certificate) = configured(config, &leaf.names) else {
        return Ok(Adopted::NotConfigured(snippet(&found.name, &leaf.names)));
    };
    let issuer = issuer_of(config, certificate, found, issuer)?;
    let anchors = match config.acme.get(&issuer).and_then(|acme| acme.trust_roots.as_ref()) {
        Some(path) => Anchors::from_pem_file(path).map_err(|error| AdoptError(error.to_string()))?,
        None => Anchors::platform(),
    };
    gate::check(&chain, &PrivatePkcs8KeyDer::from(key.as_slice()), &certificate.identifiers, &anchors, now)
        .map_err(|rejection| AdoptError(format!("{}: {rejection}", found.chain.display())))?;

    let name = certificate.name.clone();
    let failed = |error: crate::store::StoreError| AdoptError(error.to_string());
    let Glance { loaded, ordering } = Glance::at(&config.state_dir, &name).map_err(failed)?;
    let current = loaded.generation;
    if current.is_some_and(|current| current.is_valid_at(now) && current.leaf.not_after >= leaf.not_after) {
        return Ok(Adopted::Kept(name));
    }
    if ordering {
        let message = format!("{name}: an order is under way; let the agent finish it, then import again");
        return Err(AdoptError(message));
    }
    if let Some(store) = store {
        // Taken as it is: another type of key or profile counts from its renewal on, not as a reason for one.
        let metadata = Metadata {
            issuer,
            identifiers: certificate.identifiers.clone(),
            profile: certificate.profile.clone(),
            key_type: certificate.key_type,
            stored_at: now,
        };
        let key_pem = key::pem_of(&key);
        let own = store.certificate(&name).map_err(failed)?;
        let stored = own.put(&New { chain: &chain, key_pem: &key_pem, metadata }).map_err(failed)?;
        own.make_current(stored.number).map_err(failed)?;
    }
    Ok(Adopted::Stored(name))
}

fn configured<'a>(config: &'a Config, names: &[String]) -> Option<&'a CertificateConfig> {
    let set = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect::<BTreeSet<_>>();
    config.certificates.iter().find(|certificate| set(&certificate.identifiers) == set(names))
}

/// The issuer as told, else the one with the directory that the client used.
fn issuer_of(
    config: &Config,
    certificate: &CertificateConfig,
    found: &Found,
    told: Option<&str>,
) -> Result<String, AdoptError> {
    let issuer = match told {
        Some(told) => told,
        None => {
            let issuers = found.origin.issuers(config, &certificate.issuers);
            let issuers = issuers.map_err(|error| AdoptError(format!("{}: {error}", found.name)))?;
            issuers.first().copied().ok_or_else(|| {
                AdoptError(format!(
                    "{}: no [acme.NAME] has the directory it came from ({}); give --issuer NAME",
                    found.name,
                    found.origin.text()
                ))
            })?
        }
    };
    if !certificate.issuers.is_empty() && !certificate.issuers.iter().any(|name| name == issuer) {
        return Err(AdoptError(format!(
            "{}: `issuers` of [[certificate]] {} does not have {issuer}; add it, or give --issuer NAME",
            found.name, certificate.name
        )));
    }
    Ok(issuer.to_owned())
}

fn snippet(name: &str, names: &[String]) -> String {
    // A wildcard is a file `_.a.example` (lego) or `wildcard_.a.example` (Caddy); ours begin with a letter or digit.
    let lower = name.to_ascii_lowercase().replace("wildcard_", "wildcard");
    let plain = lower.replace(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-'), "-");
    let plain = plain.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let name = if plain.len() == lower.len() { plain.to_owned() } else { format!("wildcard.{plain}") };
    // Debug of ASCII names is a TOML basic string.
    format!("[[certificate]]\nname = {name:?}\nidentifiers = {names:?}\n")
}

fn read_json(path: &Path) -> Result<serde_json::Value, AdoptError> {
    serde_json::from_slice(&read_limited(path)?)
        .map_err(|error| AdoptError(format!("{} is not JSON: {error}", path.display())))
}

fn read_limited(path: &Path) -> Result<Zeroizing<Vec<u8>>, AdoptError> {
    let failed = |error: std::io::Error| AdoptError(format!("cannot read {}: {error}", path.display()));
    // Room for all of it at once: growing would leave copies of a key behind.
    let file = std::fs::File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    if size > MAX_FILE {
        return Err(AdoptError(format!("{} is larger than {MAX_FILE} bytes", path.display())));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1));
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
