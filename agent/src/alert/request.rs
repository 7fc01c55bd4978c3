//! How messages become HTTP requests: one form per type of receiver, and the secrets they go with.

use std::path::{Path, PathBuf};

use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::Value;
use zeroize::Zeroizing;

use super::message::{Message, Origin};
use crate::incident::Incident;
use crate::issuer::internal::read_given_secret;

/// Keys and tokens are a line or two.
const MAX_SECRET_BYTES: usize = 4096;

/// A POST of JSON. It may hold secrets: it is never printed.
pub(super) struct Request {
    pub(super) url: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn new(url: &str, body: &Value) -> Self {
        Self { url: url.to_owned(), headers: Vec::new(), body: body.to_string().into_bytes() }
    }

    /// Adds a header that logs and debuggers do not show.
    ///
    /// # Errors
    /// The value cannot stand in a header.
    pub(super) fn header(mut self, name: &'static str, value: &str) -> Result<Self, String> {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| format!("the value of the header {name} is not plain text"))?;
        value.set_sensitive(true);
        self.headers.push((HeaderName::from_static(name), value));
        Ok(self)
    }
}

/// The form of one receiver's messages.
pub(super) trait Form: Send + Sync {
    /// The request that tells a message.
    ///
    /// # Errors
    /// A secret cannot be used: which file, and what to do.
    fn request(&self, origin: &Origin, message: &Message, now: Timestamp) -> Result<Request, String>;

    /// The request that tells again what is open; `None`: the receiver remembers by itself.
    ///
    /// # Errors
    /// As [`Form::request`].
    fn repeat(&self, _: &Origin, _: &[Incident]) -> Result<Option<Request>, String> {
        Ok(None)
    }

    /// Whether its secrets can be used.
    ///
    /// # Errors
    /// As [`Form::request`].
    fn check(&self) -> Result<(), String>;
}

/// A file with a secret in text, read anew each time, so that it may be changed without a restart.
#[derive(Clone, Debug)]
pub(super) struct SecretFile(pub(super) PathBuf);

impl SecretFile {
    /// Its text without white space around it.
    ///
    /// # Errors
    /// It is not there, open to others, empty, or too large.
    pub(super) fn read(&self) -> Result<Zeroizing<String>, String> {
        let path: &Path = &self.0;
        let bytes = read_given_secret(path)
            .map_err(|error| error.to_string())?
            .ok_or_else(|| format!("{} does not exist; create it with mode 0600", path.display()))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("{} is not text", path.display()))?.trim();
        if text.is_empty() || text.len() > MAX_SECRET_BYTES {
            let found = text.len();
            return Err(format!("{} has {found} bytes, expected 1 to {MAX_SECRET_BYTES}", path.display()));
        }
        Ok(Zeroizing::new(text.to_owned()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A file in a directory that lives as long as the result.
    pub(in crate::alert) fn secret(text: &str) -> (SecretFile, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        (SecretFile(path), dir)
    }

    pub(in crate::alert) fn body(request: &Request) -> Value {
        serde_json::from_slice(&request.body).unwrap()
    }

    pub(in crate::alert) fn header<'a>(request: &'a Request, name: &str) -> &'a str {
        let found = request.headers.iter().find(|(header, _)| header == name).unwrap();
        found.1.to_str().unwrap()
    }

    #[test]
    fn secrets_are_private_and_short() {
        let (file, dir) = secret(" key\n");
        assert_eq!(*file.read().unwrap(), "key");
        std::fs::set_permissions(&file.0, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(file.read().unwrap_err().contains("chmod 0600"));
        assert!(SecretFile(dir.path().join("none")).read().unwrap_err().contains("create it"));
        assert!(secret("\n").0.read().is_err());
        let (long, _dir) = secret(&"x".repeat(MAX_SECRET_BYTES + 1));
        assert!(long.read().unwrap_err().contains("expected 1 to 4096"));
    }

    #[test]
    fn what_is_in_a_header_shows_nowhere() {
        let request = Request::new("https://x/", &Value::Null).header("authorization", "T0K3N").unwrap();
        assert!(!format!("{:?}", request.headers).contains("T0K3N"));
        assert!(Request::new("https://x/", &Value::Null).header("authorization", "a\nb").is_err());
    }
}
