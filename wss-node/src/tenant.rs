//! Customers with rules of their own.

use crate::auth::{AuthError, Verifier};
use crate::config::{Config, GateConfig, TokenConfig};

/// Under whose rules a session is.
#[derive(Debug)]
pub(crate) struct Tenant {
    /// `None`: that of everybody.
    pub(crate) name: Option<String>,
    /// Put before the names of its channels.
    pub(crate) channel_prefix: String,
    pub(crate) gate: GateConfig,
    pub(crate) token: TokenConfig,
    /// Checks its tokens.
    pub(crate) verifier: Verifier,
}

impl Tenant {
    /// That of everybody whom no other tenant claims.
    ///
    /// # Errors
    /// [`AuthError`]: its tokens cannot be checked as configured.
    pub(crate) fn everybody(config: &Config) -> Result<Self, AuthError> {
        let (gate, token) = (config.gate.clone(), config.token.clone());
        let verifier = Verifier::new(&token, "token")?;
        Ok(Self { name: None, channel_prefix: String::new(), gate, token, verifier })
    }
}
