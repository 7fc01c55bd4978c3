//! Who the client says it is.

use jiff::Timestamp;

use crate::auth::{self, Grant, TokenFault};
use crate::config::TokenAt;
use crate::service::Node;
use crate::tenant::Tenant;

use super::head::Head;
use super::refusal::{Outcome, Refusal};

/// What the token of a request grants; `None`: it has none, and none is needed before `connect`.
pub(super) async fn grant(node: &Node, head: &Head<'_>, tenant: &Tenant) -> Result<Option<Grant>, Refusal> {
    let token = match auth::extract(head.headers, head.uri, &tenant.token) {
        Ok(Some(token)) => token,
        Ok(None) if tenant.token.anonymous || tenant.token.at != TokenAt::Upgrade => return Ok(None),
        Ok(None) => return Err(counted(node, TokenFault::Missing)),
        Err(fault) => return Err(counted(node, fault)),
    };
    let verified = auth::verify(&node.counters, tenant, &token, Timestamp::now()).await;
    verified.map(Some).map_err(refusal)
}

fn counted(node: &Node, fault: TokenFault) -> Refusal {
    node.counters.token_refused(fault);
    refusal(fault)
}

fn refusal(fault: TokenFault) -> Refusal {
    let refusal = match fault {
        TokenFault::Missing => Refusal::new(Outcome::TokenMissing, "a token is needed"),
        TokenFault::Unavailable { retry_after } => {
            Refusal::new(Outcome::TokenUnavailable, "tokens cannot be checked now")
                .retry_after(retry_after.as_secs().max(1))
        }
        _ => Refusal::new(Outcome::TokenRefused, "the token does not let you in"),
    };
    match fault {
        TokenFault::Missing | TokenFault::Unavailable { .. } => refusal,
        _ => Refusal { reason: fault.as_str().into(), detail: fault.to_string().into(), ..refusal },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_fault_has_its_answer() {
        let cases = [
            (TokenFault::Missing, Outcome::TokenMissing, "token_missing", None),
            (TokenFault::Expired, Outcome::TokenRefused, "expired", None),
            (TokenFault::Signature, Outcome::TokenRefused, "signature", None),
            (
                TokenFault::Unavailable { retry_after: Duration::from_millis(10) },
                Outcome::TokenUnavailable,
                "token_unavailable",
                Some(1),
            ),
        ];
        for (fault, outcome, reason, retry_after) in cases {
            let found = refusal(fault);
            assert_eq!(
                (found.outcome, found.reason.as_ref(), found.retry_after),
                (outcome, reason, retry_after)
            );
        }
    }
}
