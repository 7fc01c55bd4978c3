//! Why an order failed: the CA says it in the challenges (RFC 8555 section 7.1.6), not in the order.

use std::net::IpAddr;

use instant_acme::{AuthorizationStatus, Error, Order};

use super::call::call;
use super::http01::PATH;
use super::order::OrderRun;
use super::problem::{class_within, describe};
use crate::issuer::{ErrorClass, IssueError};

impl OrderRun<'_> {
    /// The error of an order that is invalid: each name that failed, the CA's words, and what it fetched.
    pub(super) async fn refusal(&self, order: &mut Order) -> IssueError {
        let mut class = None;
        let mut reasons = Vec::new();
        for index in 0..order.state().authorizations.len() {
            let failed = call!(self.ca, "read the authorizations", async {
                let mut list = order.authorizations();
                for _ in 0..index {
                    list.next().await.transpose()?;
                }
                let Some(handle) = list.next().await.transpose()? else { return Ok(None) };
                let identifier = handle.identifier().to_string();
                let problem = handle.challenges.iter().find_map(|challenge| {
                    challenge.error.as_ref().map(|error| (error.clone(), challenge.token.clone()))
                });
                Ok::<_, Error>(match problem {
                    Some((problem, token)) => {
                        let url = challenge_url(&identifier, &token);
                        let reason = format!("{identifier}: {}; the CA fetched {url}", describe(&problem));
                        Some((class_within(&problem), reason))
                    }
                    None => match handle.status {
                        AuthorizationStatus::Valid | AuthorizationStatus::Pending => None,
                        status => {
                            let status = format!("{status:?}").to_lowercase();
                            Some((ErrorClass::Identifier, format!("{identifier}: authorization {status}")))
                        }
                    },
                })
            });
            match failed {
                Ok(Some((this, reason))) => {
                    // One name that the CA will not have outweighs a hiccup with another.
                    class =
                        if class.is_none() || this == ErrorClass::Identifier { Some(this) } else { class };
                    reasons.push(reason);
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "the reason of a failed order is not known in full"),
            }
        }
        let state = order.state();
        if reasons.is_empty() {
            if let Some(problem) = &state.error {
                class = Some(class_within(problem));
                reasons.push(describe(problem));
            } else {
                reasons.push(format!("the order is {:?}, and the CA does not say why", state.status));
            }
        }
        IssueError::new(
            class.unwrap_or(ErrorClass::Identifier),
            format!("issuer {}: the CA refused the order: {}", self.ca.issuer, reasons.join("; ")),
        )
    }
}

fn challenge_url(identifier: &str, token: &str) -> String {
    match identifier.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("http://[{address}]{PATH}{token}"),
        _ => format!("http://{identifier}{PATH}{token}"),
    }
}

#[cfg(test)]
mod tests {
    use super::challenge_url;

    #[test]
    fn urls_of_addresses_have_brackets() {
        assert_eq!(challenge_url("a.example", "t"), "http://a.example/.well-known/acme-challenge/t");
        assert_eq!(challenge_url("::1", "t"), "http://[::1]/.well-known/acme-challenge/t");
    }
}
