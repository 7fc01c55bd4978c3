//! Why tokens cannot be checked as configured.

use sealwire_config::Fault;

/// A key of `[token]` that names something unusable: a file that is missing, no key, or readable by everybody.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {message}")]
pub struct AuthError {
    /// The key's path, as in `tenant.0.token.keys.1`.
    key: String,
    /// Names the file, and what to do.
    message: String,
}

impl AuthError {
    pub(super) fn new(section: &str, key: impl std::fmt::Display, message: impl Into<String>) -> Self {
        Self { key: format!("{section}.{key}"), message: message.into() }
    }

    /// For `config check`, which knows the line of the key.
    pub(crate) fn fault(&self) -> Fault {
        Fault::new(&self.key.split('.').collect::<Vec<_>>(), self.message.clone())
    }
}
