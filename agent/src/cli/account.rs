//! `sealwire account` and `sealwire revoke`

use std::time::Duration;

use clap::{Args, Subcommand};
use sealwire_proto::v1::{AccountAction, AccountReply, AccountRequest, RevokeRequest};
use tonic::Request;

use super::client::{connect, failure};
use super::{Failure, Global, Outcome};
use crate::issuer::RevocationReason;

/// The agent's own limit on a CA, and a little more.
const CA_TIMEOUT: Duration = Duration::from_secs(130);

#[derive(Debug, Subcommand)]
pub(super) enum Account {
    /// Show the account as the CA sees it.
    Show(Which),
    /// Give the account a new key. Orders wait meanwhile.
    Rollover(Which),
    /// End the account at the CA. There is no way back.
    Deactivate {
        #[command(flatten)]
        which: Which,
        /// Yes, end it.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// Name of the ACME issuer, if there are several.
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
}

impl Account {
    pub(super) async fn run(self, global: &Global) -> Outcome {
        let (which, action) = match self {
            Self::Show(which) => (which, AccountAction::Unspecified),
            Self::Rollover(which) => (which, AccountAction::Rollover),
            Self::Deactivate { which, yes: true } => (which, AccountAction::Deactivate),
            Self::Deactivate { .. } => {
                return Err(Failure::Usage(
                    "the account cannot be brought back, and nothing is renewed with it any more: add --yes if \
                     that is wanted"
                        .to_owned(),
                ));
            }
        };
        let request = AccountRequest { issuer: which.issuer.unwrap_or_default(), action: action.into() };
        let reply = connect(global).await?.account(patient(request)).await;
        print!("{}", text(&reply.map_err(|status| failure(&status))?.into_inner()));
        Ok(())
    }
}

#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// Name of the certificate.
    name: String,
    /// Why; the CA publishes it.
    #[arg(long, value_enum, default_value = "unspecified")]
    reason: RevocationReason,
    /// Which generation, if not the current one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    generation: Option<u64>,
}

impl Revoke {
    pub(super) async fn run(self, global: &Global) -> Outcome {
        let request = RevokeRequest {
            certificate: self.name.clone(),
            generation: self.generation.unwrap_or(0),
            reason: self.reason.code().into(),
        };
        let reply = connect(global).await?.revoke(patient(request)).await;
        let reply = reply.map_err(|status| failure(&status))?.into_inner();
        println!("{} #{} revoked at {}: serial {}", self.name, reply.generation, reply.issuer, reply.serial);
        if reply.renewing {
            println!("a new one is being ordered; `sealwire watch` follows it");
        }
        Ok(())
    }
}

fn patient<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CA_TIMEOUT);
    request
}

fn text(account: &AccountReply) -> String {
    let contacts =
        if account.contacts.is_empty() { "none told".to_owned() } else { account.contacts.join(", ") };
    let mut lines = vec![
        ("issuer", account.issuer.as_str()),
        ("directory", &account.directory),
        ("account", &account.url),
        ("status", &account.status),
        ("contacts", &contacts),
        ("thumbprint", &account.thumbprint),
    ];
    if !account.terms_of_service.is_empty() {
        lines.push(("terms", &account.terms_of_service));
    }
    lines.iter().map(|(name, value)| format!("{name:<12}{value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_shown_in_full() {
        let mut account = AccountReply {
            issuer: "le".into(),
            directory: "https://ca.example/dir".into(),
            url: "https://ca.example/1".into(),
            status: "valid".into(),
            thumbprint: "t".into(),
            ..AccountReply::default()
        };
        assert_eq!(
            text(&account),
            "issuer      le\ndirectory   https://ca.example/dir\naccount     https://ca.example/1\n\
             status      valid\ncontacts    none told\nthumbprint  t\n"
        );
        account.contacts = vec!["mailto:a@a.example".into(), "mailto:b@a.example".into()];
        account.terms_of_service = "https://ca.example/tos".into();
        let text = text(&account);
        assert!(text.contains("contacts    mailto:a@a.example, mailto:b@a.example\n"), "{text}");
        assert!(text.ends_with("terms       https://ca.example/tos\n"), "{text}");
    }
}
