//! Customers with rules of their own.

use crate::config::{Config, GateConfig, TokenConfig};

/// Under whose rules a session is.
#[derive(Debug)]
pub(crate) struct Tenant {
    /// `None`: that of everybody.
    pub(crate) name: Option<String>,
    /// Put before the names of its channels.
    pub(crate) channel_prefix: String,
    /// Its sessions at the same time; 0: no limit of its own.
    pub(crate) sessions: u32,
    pub(crate) gate: GateConfig,
    pub(crate) token: TokenConfig,
}

impl Tenant {
    /// That of everybody whom no other tenant claims.
    pub(crate) fn everybody(config: &Config) -> Self {
        let (gate, token) = (config.gate.clone(), config.token.clone());
        Self { name: None, channel_prefix: String::new(), sessions: 0, gate, token }
    }
}
