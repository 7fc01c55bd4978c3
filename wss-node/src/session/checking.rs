//! A token of `connect` or `refresh` that is being checked. The issuer may have to be asked, and meanwhile the session goes
//! on: it writes, and hears what may be heard.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use jiff::Timestamp;

use super::token::Token;
use crate::auth::{self, Grant, TokenFault};
use crate::service::Node;
use crate::tenant::Tenant;
use crate::wire::Command;

/// What the token is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// It came with `connect`; what the client said after it waits.
    Connect { id: u32, waiting: VecDeque<Command> },
    /// It came with `refresh`.
    Refresh { id: u32 },
}

/// The check under way.
pub(super) struct Checking {
    pub(super) purpose: Purpose,
    outcome: Pin<Box<dyn Future<Output = Result<Grant, TokenFault>> + Send>>,
}

impl fmt::Debug for Checking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checking").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

impl Checking {
    /// Begins to check a token by a tenant's rules; bounded in time by the verifier.
    pub(super) fn new(purpose: Purpose, node: &Arc<Node>, tenant: &Arc<Tenant>, token: Token) -> Self {
        let (node, tenant) = (Arc::clone(node), Arc::clone(tenant));
        let outcome =
            Box::pin(
                async move { auth::verify(&node.counters, &tenant, token.as_str(), Timestamp::now()).await },
            );
        Self { purpose, outcome }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Grant, TokenFault>> {
        self.outcome.as_mut().poll(cx)
    }
}
