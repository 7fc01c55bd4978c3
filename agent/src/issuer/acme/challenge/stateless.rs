//! HTTP-01 without a list of tokens: the key authorization is the token and the account's thumbprint (RFC 8555
//! section 8.1), so whoever has the account can answer, and any replica may be asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::issuer::acme::account::{CREDENTIALS_FILE, KEY_FILE};
use crate::issuer::internal::read_secret;

/// How long a thumbprint is taken for true: the account may be made, or its key changed, while we run, and
/// everybody may ask port 80 a thousand times a second.
const KEEP: Duration = Duration::from_secs(5);

/// An uncompressed point of P-256.
const POINT_BYTES: usize = 65;

/// An account and where its key is.
struct Account {
    dir: PathBuf,
    known: Mutex<Option<(Instant, Option<String>)>>,
}

/// Which account answers for which name.
pub(super) struct Stateless {
    accounts: BTreeMap<String, Account>,
    /// Issuer by identifier.
    hosts: BTreeMap<String, String>,
}

impl Stateless {
    /// `accounts`: directories by issuer; `hosts`: issuers by identifier.
    pub(super) fn new(accounts: BTreeMap<String, PathBuf>, hosts: BTreeMap<String, String>) -> Self {
        let account = |(issuer, dir)| (issuer, Account { dir, known: Mutex::default() });
        Self { accounts: accounts.into_iter().map(account).collect(), hosts }
    }

    /// The answer to a token that was asked for at `host` (as in the Host header).
    pub(super) fn answer(&self, token: &str, host: Option<&str>) -> Option<String> {
        let by_host =
            host.and_then(|host| self.hosts.get(&bare(host))).and_then(|issuer| self.accounts.get(issuer));
        let only = || self.accounts.values().next().filter(|_| self.accounts.len() == 1);
        let thumbprint = by_host.or_else(only)?.thumbprint()?;
        Some(format!("{token}.{thumbprint}"))
    }
}

impl Account {
    fn thumbprint(&self) -> Option<String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, thumbprint)) = &*known
            && since.elapsed() < KEEP
        {
            return thumbprint.clone();
        }
        let thumbprint = match key_of(&self.dir) {
            Ok(key) => key.as_ref().and_then(thumbprint),
            Err(error) => {
                tracing::warn!(error, "http01.stateless: no account to answer with");
                None
            }
        };
        *known = Some((Instant::now(), thumbprint.clone()));
        thumbprint
    }
}

/// Host names are not case-sensitive; a port and the brackets of an address are no part of them.
fn bare(host: &str) -> String {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The key in use: the one of the credentials, else the one about to be registered.
fn key_of(dir: &Path) -> Result<Option<KeyPair>, String> {
    #[derive(serde::Deserialize, Zeroize, ZeroizeOnDrop)]
    struct Stored {
        key_pkcs8: String,
    }
    let text = |error: crate::store::StoreError| error.to_string();
    let path = dir.join(CREDENTIALS_FILE);
    if let Some(stored) = read_secret(&path).map_err(text)? {
        let damaged = |error: String| format!("{}: {error}", path.display());
        let stored: Stored =
            serde_json::from_slice(&stored).map_err(|error| damaged(format!("line {}", error.line())))?;
        let der = Zeroizing::new(
            BASE64_URL_SAFE_NO_PAD
                .decode(&stored.key_pkcs8)
                .map_err(|_| damaged("the key is not base64url".to_owned()))?,
        );
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.as_slice()));
        return KeyPair::try_from(&der).map(Some).map_err(|error| damaged(error.to_string()));
    }
    let path = dir.join(KEY_FILE);
    let Some(pem) = read_secret(&path).map_err(text)? else { return Ok(None) };
    let pem = std::str::from_utf8(&pem).map_err(|_| format!("{} is not text", path.display()))?;
    KeyPair::from_pem(pem).map(Some).map_err(|error| format!("{}: {error}", path.display()))
}

/// The SHA-256 of the public key as a JWK (RFC 7638); `None` if it is not on P-256, which all accounts of ours are.
fn thumbprint(key: &KeyPair) -> Option<String> {
    let point = key.der_bytes();
    if point.len() != POINT_BYTES || point[0] != 4 {
        return None;
    }
    let (x, y) = point[1..].split_at((POINT_BYTES - 1) / 2);
    let encode = |part| BASE64_URL_SAFE_NO_PAD.encode(part);
    // Members in the order of RFC 7638 section 3.2, without white space.
    let jwk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, encode(x), encode(y));
    Some(encode(&sealwire_proto::validate::sha256(jwk.as_bytes())))
}

#[cfg(test)]
#[path = "stateless_tests.rs"]
mod tests;
