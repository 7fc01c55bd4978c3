//! `sealwire ca`

use std::fmt::Write;

use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use sealwire_proto::v1::{CaRootRequest, CaRotateRequest, CaStatusReply, CaStatusRequest, CaStep};

use super::client::{connect, failure, question};
use super::text::{from_now, instant, table};
use super::{Failure, Global, Outcome};
use crate::issuer::RevocationReason;

#[derive(Debug, Subcommand)]
pub(super) enum Ca {
    /// Print the published root certificates (PEM) of an internal issuer, for clients to trust: the old and the
    /// new one while it changes.
    Root {
        /// Name of the issuer, if there are several.
        issuer: Option<String>,
    },
    /// Show its certificates, what it published, and how far a change of its root is.
    Status {
        /// Name of the issuer, if there are several.
        issuer: Option<String>,
    },
    /// Begin with a new key: of the root, with overlap, or of the intermediate, from the next leaf on.
    Rotate {
        /// Which.
        what: What,
        /// Name of the issuer, if there are several.
        issuer: Option<String>,
    },
    /// Tell that a client has the new root.
    Confirm {
        /// Name of the issuer, if there are several.
        issuer: Option<String>,
        /// One of `clients` in the configuration; left out where it names none: all clients have it.
        #[arg(long, value_name = "NAME")]
        client: Option<String>,
    },
    /// Go back to the old root, as long as nothing was issued from the new one.
    Cancel {
        /// Name of the issuer, if there are several.
        issuer: Option<String>,
    },
    /// Issue from the new root now, although somebody has not confirmed it: who lacks it is cut off.
    Force {
        /// Name of the issuer, if there are several.
        issuer: Option<String>,
        /// Yes, cut them off.
        #[arg(long)]
        yes: bool,
    },
    /// Revoke an intermediate; what it signed is replaced.
    RevokeIntermediate {
        /// Name of the issuer, if there are several.
        issuer: Option<String>,
        /// Its number, if not the one in use.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        number: Option<u64>,
        /// Why; it is published.
        #[arg(long, value_enum, default_value = "unspecified")]
        reason: RevocationReason,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum What {
    /// What clients trust.
    Root,
    /// What signs leaves.
    Intermediate,
}

impl Ca {
    pub(super) async fn run(self, global: &Global) -> Outcome {
        let mut request = CaRotateRequest::default();
        let (issuer, step) = match self {
            Self::Root { issuer } => {
                let request = CaRootRequest { issuer: issuer.unwrap_or_default() };
                let reply = connect(global).await?.ca_root(question(request)).await;
                print!("{}", reply.map_err(|status| failure(&status))?.into_inner().pem);
                return Ok(());
            }
            Self::Status { issuer } => {
                let request = CaStatusRequest { issuer: issuer.unwrap_or_default() };
                let reply = connect(global).await?.ca_status(question(request)).await;
                print!("{}", text(&reply.map_err(|status| failure(&status))?.into_inner(), Timestamp::now()));
                return Ok(());
            }
            Self::Rotate { what: What::Root, issuer } => (issuer, CaStep::Root),
            Self::Rotate { what: What::Intermediate, issuer } => (issuer, CaStep::Intermediate),
            Self::Confirm { issuer, client } => {
                request.client = client.unwrap_or_default();
                (issuer, CaStep::Confirm)
            }
            Self::Cancel { issuer } => (issuer, CaStep::Cancel),
            Self::Force { issuer, yes: true } => (issuer, CaStep::Force),
            Self::Force { .. } => {
                return Err(Failure::Usage(
                    "who has not confirmed the new root may not trust what is issued next (`sealwire ca status` \
                     names them): add --yes if that is wanted"
                        .to_owned(),
                ));
            }
            Self::RevokeIntermediate { issuer, number, reason } => {
                request.intermediate = number.unwrap_or(0);
                request.reason = reason.code().into();
                (issuer, CaStep::RevokeIntermediate)
            }
        };
        request.issuer = issuer.unwrap_or_default();
        request.set_step(step);
        let reply = connect(global).await?.ca_rotate(question(request)).await;
        print!("{}", text(&reply.map_err(|status| failure(&status))?.into_inner(), Timestamp::now()));
        Ok(())
    }
}

fn text(status: &CaStatusReply, now: Timestamp) -> String {
    let when = |ms| instant(ms).map_or_else(|| "never".to_owned(), |at| from_now(now, at));
    let rows: Vec<_> = status
        .authorities
        .iter()
        .map(|authority| {
            vec![
                authority.role.clone(),
                authority.subject.clone(),
                when(authority.not_after_ms),
                sealwire_proto::hex(&authority.sha256),
            ]
        })
        .collect();
    let mut text = table(&["ROLE", "CERTIFICATE", "ENDS", "SHA-256"], &rows);
    let _ = writeln!(text, "revoked   {}", status.revoked);
    if status.crl_number != 0 {
        let _ = writeln!(
            text,
            "CRL       number {}, ends {}",
            status.crl_number,
            when(status.crl_next_update_ms)
        );
    }
    if !status.rotation.is_empty() {
        let _ = writeln!(text, "rotation  {}", status.rotation);
    }
    for party in &status.waiting_for {
        let _ = writeln!(text, "waits for {party}");
    }
    text
}

#[cfg(test)]
mod tests {
    use sealwire_proto::v1::ca_status_reply::Authority;

    use super::*;

    #[test]
    fn a_change_of_the_root_shows_who_is_waited_for() {
        let authority = Authority {
            role: "root".into(),
            subject: "root-1 (CN=Sealwire pki root)".into(),
            sha256: vec![0xab],
            not_before_ms: 0,
            not_after_ms: 3_600_000,
        };
        let mut status =
            CaStatusReply { authorities: vec![authority], revoked: 2, ..CaStatusReply::default() };
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(
            text(&status, now),
            "ROLE  CERTIFICATE                    ENDS      SHA-256\n\
             root  root-1 (CN=Sealwire pki root)  in 1h 0m  ab\nrevoked   2\n"
        );
        status.rotation = "root-2 is published".into();
        status.waiting_for = vec!["node a".into(), "client b".into()];
        (status.crl_number, status.crl_next_update_ms) = (7, 60_000);
        let text = text(&status, now);
        let end = "CRL       number 7, ends in 1m 0s\nrotation  root-2 is published\nwaits for node a\nwaits for client b\n";
        assert!(text.ends_with(end), "{text}");
    }
}
