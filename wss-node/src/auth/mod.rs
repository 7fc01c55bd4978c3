//! Who a client is: its token, and what that grants.
//!
//! `extract -> Verifier::verify -> Grant`. [`verify`] does the same and counts.

mod answers;
mod asked;
mod claims;
mod error;
mod extract;
mod fault;
mod introspection;
mod issuer;
mod jwks;
mod jwt;
mod keys;
mod secret;
#[cfg(test)]
pub(crate) mod testing;
mod verifier;

pub use error::AuthError;
pub(crate) use extract::{decoded, extract};
pub(crate) use fault::TokenFault;
pub(crate) use issuer::is_sound;
use jiff::Timestamp;
pub(crate) use secret::read_secret;
pub(crate) use verifier::Verifier;

use crate::counters::Counters;
use crate::tenant::Tenant;

/// Checks a token by a tenant's rules, and counts the outcome.
///
/// # Errors
/// [`TokenFault`].
pub(crate) async fn verify(
    counters: &Counters,
    tenant: &Tenant,
    token: &str,
    now: Timestamp,
) -> Result<Grant, TokenFault> {
    let outcome = tenant.verifier.verify(token, now).await.and_then(|grant| {
        // Made for one channel, it must not open the door to all others.
        if grant.channel.is_some() { Err(TokenFault::Channel) } else { Ok(grant) }
    });
    count(counters, outcome)
}

/// The same for a token that is for one subscription (claim `channel`); tells the channel.
///
/// # Errors
/// [`TokenFault`].
pub(crate) async fn verify_subscription(
    counters: &Counters,
    tenant: &Tenant,
    token: &str,
    now: Timestamp,
) -> Result<(String, Grant), TokenFault> {
    let outcome = tenant.verifier.verify(token, now).await.and_then(|mut grant| {
        let channel = grant.channel.take().ok_or(TokenFault::Channel)?;
        Ok((channel, grant))
    });
    count(counters, outcome)
}

fn count<T>(counters: &Counters, outcome: Result<T, TokenFault>) -> Result<T, TokenFault> {
    match &outcome {
        Ok(_) => Counters::add(&counters.tokens_accepted),
        Err(fault) => counters.token_refused(*fault),
    }
    outcome
}

/// What a checked token grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// `sub`; empty for clients without a token.
    pub(crate) user: String,
    /// When it ends; `None`: never.
    pub(crate) expires: Option<Timestamp>,
    /// What it may do on which channels; `None`: what the node lets everybody do.
    pub(crate) capabilities: Option<Vec<Capability>>,
    /// Channels that the node subscribes the client to (claims `channels` and `subs`).
    pub(crate) subscribe: Vec<String>,
    /// The only channel that it is for (claim `channel`): it grants a subscription, not a session.
    pub(crate) channel: Option<String>,
}

/// Actions on channels: an item of the claim `caps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Capability {
    /// Names of channels; `orders:*` stands for all that begin with `orders:`, `*` for all.
    pub(crate) channels: Vec<String>,
    /// What may be done there.
    pub(crate) allow: Vec<Action>,
}

/// What can be done on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// `sub`
    Subscribe,
    /// `pub`
    Publish,
    /// `hst`
    History,
    /// `prs`
    Presence,
}

impl Action {
    /// By the name that Centrifugo gives it.
    fn of(name: &str) -> Option<Self> {
        match name {
            "sub" => Some(Self::Subscribe),
            "pub" => Some(Self::Publish),
            "hst" => Some(Self::History),
            "prs" => Some(Self::Presence),
            _ => None,
        }
    }
}

impl Grant {
    /// That of a client without a token.
    #[cfg(test)]
    pub(crate) fn anonymous() -> Self {
        Self { user: String::new(), expires: None, capabilities: None, subscribe: Vec::new(), channel: None }
    }

    /// Whether it allows an action; `channel` is without the tenant's prefix.
    pub(crate) fn allows(&self, action: Action, channel: &str) -> bool {
        let covers = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => channel.starts_with(start),
            None => channel == pattern,
        };
        self.capabilities.as_ref().is_none_or(|capabilities| {
            capabilities.iter().any(|capability| {
                capability.allow.contains(&action) && capability.channels.iter().any(covers)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_all_that_is_allowed() {
        assert!(Grant::anonymous().allows(Action::Publish, "x"));
        let capability = |channels: &[&str], allow: &[Action]| Capability {
            channels: channels.iter().map(ToString::to_string).collect(),
            allow: allow.to_vec(),
        };
        let grant = Grant {
            capabilities: Some(vec![
                capability(&["orders:*", "news"], &[Action::Subscribe]),
                capability(&["orders:7"], &[Action::Publish]),
            ]),
            ..Grant::anonymous()
        };
        assert!(grant.allows(Action::Subscribe, "orders:1") && grant.allows(Action::Subscribe, "news"));
        assert!(!grant.allows(Action::Subscribe, "newsletter"));
        assert!(grant.allows(Action::Publish, "orders:7") && !grant.allows(Action::Publish, "orders:77"));
    }
}
