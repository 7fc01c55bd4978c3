//! External account binding (RFC 8555 section 7.3.4): ties a new account to one at the CA's website.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::jws::{AccountKey, sign_hs256};
use super::wire::Wire;
use crate::config::EabConfig;
use crate::issuer::internal::read_given_secret;
use crate::issuer::{ErrorClass, IssueError};

/// The binding of `key`, if one is configured.
///
/// # Errors
/// Class `Ours`: the key file cannot be used, or the CA wants a binding and none is configured.
pub(super) fn binding(
    config: Option<&EabConfig>,
    key: &AccountKey,
    wire: Wire<'_>,
) -> Result<Option<Value>, IssueError> {
    let issuer = &wire.ca.issuer;
    let ours = |detail: String| IssueError::new(ErrorClass::Ours, format!("issuer {issuer}: {detail}"));
    let Some(EabConfig { kid, key_file }) = config else {
        if wire.directory.meta.external_account_required {
            return Err(ours(format!(
                "this CA wants an external account binding: take key id and HMAC key from its website, and set \
                 `kid` and `key_file` in [acme.{issuer}.eab]"
            )));
        }
        return Ok(None);
    };
    let at = format!("`key_file` of [acme.{issuer}.eab]: {}", key_file.display());
    let text = read_given_secret(key_file)
        .map_err(|error| ours(format!("`key_file` of [acme.{issuer}.eab]: {error}")))?
        .ok_or_else(|| ours(format!("{at} does not exist")))?;
    // The content goes into no message: it is a secret even where it is malformed.
    let text = std::str::from_utf8(&text).unwrap_or_default().trim().trim_end_matches('=');
    let secret = BASE64_URL_SAFE_NO_PAD.decode(text).map(Zeroizing::new).unwrap_or_default();
    if secret.is_empty() {
        return Err(ours(format!("{at} does not hold a key in base64url, as the CA shows it")));
    }
    let header = json!({"kid": kid, "url": wire.directory.new_account});
    sign_hs256(&secret, header, &key.jwk().to_string()).map(Some).map_err(ours)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use sealwire_proto::anchors::Anchors;

    use super::*;
    use crate::issuer::acme::directory::Directory;
    use crate::issuer::acme::http::AcmeHttp;
    use crate::issuer::acme::problem::Ca;

    fn bind(required: bool, file: Option<&Path>) -> Result<Option<Value>, IssueError> {
        let http = AcmeHttp::new(&Anchors::default()).unwrap();
        let ca = Ca { issuer: "x".into(), directory: String::new(), account_dir: "/nonexistent".into() };
        let mut directory =
            Directory { new_account: "https://ca.example/new".into(), ..Directory::default() };
        directory.meta.external_account_required = required;
        let (_, pkcs8) = instant_acme::Key::generate_pkcs8().unwrap();
        let key = AccountKey::from_pkcs8(pkcs8.secret_pkcs8_der()).unwrap();
        let config = file.map(|file| EabConfig { kid: "kid-1".into(), key_file: file.into() });
        binding(config.as_ref(), &key, Wire { http: &http, ca: &ca, directory: &directory })
    }

    #[test]
    fn a_binding_is_made_from_a_private_file_only() {
        assert_eq!(bind(false, None).unwrap(), None);
        let error = bind(true, None).unwrap_err();
        assert!(error.message.contains("set `kid` and `key_file` in [acme.x.eab]"), "{error}");

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("eab.key");
        let error = bind(true, Some(&file)).unwrap_err();
        assert!(error.message.ends_with("eab.key does not exist"), "{error}");
        std::fs::write(&file, "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W==\n")
            .unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = bind(true, Some(&file)).unwrap_err();
        assert!(error.message.ends_with(&format!("chmod 0600 {}", file.display())), "{error}");

        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let jws = bind(true, Some(&file)).unwrap().unwrap();
        let header = BASE64_URL_SAFE_NO_PAD.decode(jws["protected"].as_str().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(header, json!({"alg": "HS256", "kid": "kid-1", "url": "https://ca.example/new"}));

        std::fs::write(&file, "not*base64").unwrap();
        let error = bind(true, Some(&file)).unwrap_err();
        assert!(error.message.contains("base64url") && !error.message.contains("not*"), "{error}");
    }
}
