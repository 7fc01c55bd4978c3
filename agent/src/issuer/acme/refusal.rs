//! Why an order failed: the CA says it in the challenges (RFC 8555 section 7.1.6), not in the order.

use std::net::IpAddr;

use instant_acme::{AuthorizationStatus, ChallengeType, Error, Order};

use super::call::call;
use super::challenge::PATH;
use super::order::OrderRun;
use super::problem::{class_within, describe};
use super::validate::kind_of;
use crate::config::ChallengeKind;
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
                    let error = challenge.error.as_ref()?;
                    Some((error.clone(), challenge.r#type.clone(), challenge.token.clone()))
                });
                Ok::<_, Error>(match problem {
                    Some((problem, challenge, token)) => {
                        if let Some(kind) = kind_of(&challenge) {
                            self.challenges.failed_with(&self.ca.issuer, &identifier, kind);
                        }
                        let looked = looked_at(&challenge, &identifier, &token);
                        let reason = format!("{identifier}: {}{looked}", describe(&problem));
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

/// What the CA looked at, for the operator to look at as well.
fn looked_at(challenge: &ChallengeType, identifier: &str, token: &str) -> String {
    let name = identifier.strip_prefix("*.").unwrap_or(identifier);
    let host = match name.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => name.to_owned(),
    };
    match kind_of(challenge) {
        Some(ChallengeKind::Http01) => format!("; the CA fetched http://{host}{PATH}{token}"),
        Some(ChallengeKind::TlsAlpn01) => format!("; the CA connected to {host}:443 for \"acme-tls/1\""),
        Some(ChallengeKind::Dns01) => format!("; the CA looked for TXT records at _acme-challenge.{name}"),
        Some(ChallengeKind::DnsPersist01) => {
            format!("; the CA looked for TXT records at _validation-persist.{name}")
        }
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuer::acme::validate::type_of;

    #[test]
    fn what_the_ca_looked_at_is_told_for_each_type() {
        let looked = |kind: ChallengeKind, identifier| looked_at(&type_of(kind), identifier, "t");
        assert_eq!(
            looked(ChallengeKind::Http01, "a.example"),
            "; the CA fetched http://a.example/.well-known/acme-challenge/t"
        );
        assert_eq!(
            looked(ChallengeKind::Http01, "::1"),
            "; the CA fetched http://[::1]/.well-known/acme-challenge/t"
        );
        assert!(looked(ChallengeKind::TlsAlpn01, "::1").contains(" [::1]:443 "));
        assert!(looked(ChallengeKind::Dns01, "*.a.example").ends_with(" at _acme-challenge.a.example"));
        assert!(
            looked(ChallengeKind::DnsPersist01, "a.example").ends_with(" at _validation-persist.a.example")
        );
    }
}
