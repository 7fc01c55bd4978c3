//! Who the client says it is.

use jiff::Timestamp;

use super::head::Head;
use super::refusal::{Outcome, Refusal};
use crate::auth::{self, Grant, TokenFault};
use crate::config::{TokenAt, TokenConfig};
use crate::service::Node;
use crate::tenant::Tenant;

/// What the token of a request grants; `None`: it has none, and none is needed before `connect`.
pub(super) async fn grant(node: &Node, head: &Head<'_>, tenant: &Tenant) -> Result<Option<Grant>, Refusal> {
    let uncounted = |fault| {
        node.counters.token_refused(fault);
        refused(fault)
    };
    let Some(token) = auth::extract(head.headers, head.uri, &tenant.token).map_err(uncounted)? else {
        return if is_needed(&tenant.token) { Err(uncounted(TokenFault::Missing)) } else { Ok(None) };
    };
    let verified = auth::verify(&node.counters, tenant, &token, Timestamp::now()).await;
    verified.map(Some).map_err(refused)
}

/// Whether nobody gets in without a token in the upgrade. Elsewhere `connect` may still bring one.
fn is_needed(config: &TokenConfig) -> bool {
    config.at == TokenAt::Upgrade && !config.anonymous
}

fn refused(fault: TokenFault) -> Refusal {
    let refusal = match fault {
        TokenFault::Missing => Refusal::new(Outcome::TokenMissing, "a token is needed"),
        TokenFault::Unavailable { retry_after } => {
            let seconds = retry_after.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX);
            Refusal::new(Outcome::TokenUnavailable, "tokens cannot be checked now")
                .retry_after(seconds.max(1))
        }
        // What is wrong with it is told where only its own page reads it.
        _ => Refusal::new(Outcome::TokenRefused, "the token does not let you in"),
    };
    Refusal { reason: format!("token_{}", fault.as_str()).into(), ..refusal.detail(fault.to_string()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_token_is_told_in_two_ways() {
        let unavailable = TokenFault::Unavailable { retry_after: Duration::from_millis(1500) };
        let cases = [
            (TokenFault::Missing, Outcome::TokenMissing, "token_missing", None),
            (TokenFault::Expired, Outcome::TokenRefused, "token_expired", None),
            (TokenFault::Signature, Outcome::TokenRefused, "token_signature", None),
            (unavailable, Outcome::TokenUnavailable, "token_unavailable", Some(2)),
        ];
        for (fault, outcome, reason, retry_after) in cases {
            let refusal = refused(fault);
            assert_eq!((refusal.outcome, refusal.reason.as_ref()), (outcome, reason));
            assert_eq!(refusal.retry_after, retry_after);
            assert_eq!(refusal.detail, fault.to_string());
        }
    }

    #[test]
    fn a_token_is_needed_only_where_no_other_can_come() {
        let config = |at, anonymous| TokenConfig { at, anonymous, ..TokenConfig::default() };
        assert!(is_needed(&config(TokenAt::Upgrade, false)));
        assert!(!is_needed(&config(TokenAt::Upgrade, true)));
        assert!(!is_needed(&config(TokenAt::Either, false)) && !is_needed(&config(TokenAt::Connect, false)));
    }
}
