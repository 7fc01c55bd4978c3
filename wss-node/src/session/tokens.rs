//! What becomes of a session when its token was checked, and when it ends.

use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;

use super::checking::{Checking, Purpose};
use super::commands::{Commands, VERSION};
use super::life::Life;
use crate::audit::Entry;
use crate::auth::{Grant, TokenFault};
use crate::wire::v1::RefreshResult;
use crate::wire::{Disconnect, ReplyError};

/// Clocks of the wall may be set: the end of a token is looked for at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// A checked token and what it was for.
pub(super) type Checked = (Purpose, Result<Grant, TokenFault>);

impl Commands {
    /// Whether the client is not heard for now: its `connect` is being decided.
    pub(super) fn is_deciding(&self) -> bool {
        matches!(self.checking.as_deref(), Some(Checking { purpose: Purpose::Connect { .. }, .. }))
    }

    /// The token that was being checked; pending while there is none.
    pub(super) fn poll_checked(&mut self, cx: &mut Context<'_>) -> Poll<Checked> {
        let Some(checking) = &mut self.checking else { return Poll::Pending };
        let Poll::Ready(outcome) = checking.poll(cx) else { return Poll::Pending };
        match self.checking.take() {
            Some(checking) => Poll::Ready((checking.purpose, outcome)),
            None => Poll::Pending,
        }
    }

    /// Does what a checked token allows.
    ///
    /// # Errors
    /// The session is to be closed.
    pub(super) fn checked(&mut self, (purpose, outcome): Checked) -> Result<(), Disconnect> {
        match (purpose, outcome) {
            (Purpose::Connect { id, waiting }, Ok(grant)) => {
                self.granted(grant);
                self.connected(id);
                waiting
                    .into_iter()
                    .filter(|command| !command.is_pong())
                    .try_for_each(|next| self.command(next))
            }
            (Purpose::Connect { id, .. }, Err(fault)) => {
                self.audit_refused(fault, None);
                let error = match fault {
                    TokenFault::Expired => ReplyError::TOKEN_EXPIRED,
                    TokenFault::Unavailable { .. } => ReplyError::TOKENS_UNAVAILABLE,
                    _ => return Err(Disconnect::INVALID_TOKEN),
                };
                self.answer(id, Err(error));
                Ok(())
            }
            (Purpose::Refresh { id }, Ok(grant)) => {
                if self.admission.grant.as_ref().is_some_and(|own| own.user != grant.user) {
                    self.audit("token_refused", Some(&grant.user), "a refresh for another user");
                    return Err(Disconnect::INVALID_TOKEN);
                }
                self.end_what_is_not_allowed(&grant);
                self.granted(grant);
                let Life { expires, ttl } = self.life();
                let result = RefreshResult {
                    client: self.entry.id.to_string(),
                    version: VERSION.to_owned(),
                    expires,
                    ttl,
                };
                self.answer(id, Ok(result.into()));
                Ok(())
            }
            (Purpose::Refresh { id }, Err(fault)) => {
                let user = self.admission.grant.as_ref().map(|grant| grant.user.clone());
                self.audit_refused(fault, user.as_deref());
                match fault {
                    // SDKs come back, are told 109, and get another.
                    TokenFault::Expired => Err(Disconnect::EXPIRED),
                    TokenFault::Unavailable { .. } => {
                        self.answer(id, Err(ReplyError::TOKENS_UNAVAILABLE));
                        Ok(())
                    }
                    _ => Err(Disconnect::INVALID_TOKEN),
                }
            }
        }
    }

    /// No token came with `connect`, nor before it, and one is needed.
    pub(super) fn unnamed(&self, id: u32) {
        self.node.counters.token_refused(TokenFault::Missing);
        self.audit("token_missing", None, "connect without a token");
        self.answer(id, Err(ReplyError::UNAUTHORIZED));
    }

    /// How long until the end of tokens is to be looked for again; `None`: they have none. Subscriptions whose own have
    /// ended are ended.
    ///
    /// # Errors
    /// That of the session is over, and so is the time to refresh it.
    pub(super) fn look(&mut self, now: Timestamp) -> Result<Option<Duration>, Disconnect> {
        let grace = self.admission.tenant.token.refresh_grace;
        let subscriptions = self.end_what_has_expired(now, grace).map(|left| left.min(LOOK_EVERY));
        let expires = self.admission.grant.as_ref().and_then(|grant| grant.expires);
        let Some(expires) = expires else { return Ok(subscriptions) };
        let left = expires.saturating_add(grace).unwrap_or(Timestamp::MAX).duration_since(now);
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => {
                let left = left.min(LOOK_EVERY);
                Ok(Some(subscriptions.map_or(left, |other| other.min(left))))
            }
            _ => {
                self.audit("token_expired", None, "no refresh in time");
                Err(Disconnect::EXPIRED)
            }
        }
    }

    fn granted(&mut self, grant: Grant) {
        self.entry.identify(|identity| {
            identity.user.clone_from(&grant.user);
            identity.expires = grant.expires;
        });
        self.admission.grant = Some(grant);
    }

    fn audit_refused(&self, fault: TokenFault, user: Option<&str>) {
        let what = match fault {
            TokenFault::Unavailable { .. } => "token_unavailable",
            _ => "token_refused",
        };
        self.audit(what, user, &fault.to_string());
    }

    fn audit(&self, what: &'static str, user: Option<&str>, detail: &str) {
        let own = self.admission.grant.as_ref().map(|grant| grant.user.as_str());
        let user = user.or(own).filter(|user| !user.is_empty());
        let entry = Entry {
            what,
            address: Some(self.admission.client.address),
            session: Some(self.entry.id.to_string()),
            user: user.map(str::to_owned),
            tenant: self.admission.tenant.name.clone(),
            detail: detail.to_owned(),
        };
        self.node.audit.record_from(&entry, self.admission.client.peer);
    }
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
