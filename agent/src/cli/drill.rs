//! `sealwire drill`

use clap::{Args, Subcommand};
use sealwire_proto::v1::{DrillKind, DrillRequest};

use super::client::{connect, failure};
use super::renew::print_steps;
use super::{Failure, Global, Outcome};

#[derive(Debug, Subcommand)]
pub(super) enum Drill {
    /// Issue, deliver and prove a certificate that nobody but the drill is shown.
    Renew(Which),
    /// See whether the generation before could be served again.
    Rollback(Which),
    /// Have a certificate revoked, see it found out, and see another one delivered.
    Revoke(Which),
    /// Play through an outage of the first issuer, and have the next one issue.
    CaDown(Which),
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// Name of the certificate; may be left out if only one is configured.
    #[arg(long = "cert", value_name = "NAME")]
    certificate: Option<String>,
}

impl Drill {
    pub(super) async fn run(self, global: &Global) -> Outcome {
        let (kind, which) = match self {
            Self::Renew(which) => (DrillKind::Renew, which),
            Self::Rollback(which) => (DrillKind::Rollback, which),
            Self::Revoke(which) => (DrillKind::Revoke, which),
            Self::CaDown(which) => (DrillKind::CaDown, which),
        };
        let request = DrillRequest { certificate: which.certificate.unwrap_or_default(), kind: kind.into() };
        let reply = connect(global).await?.drill(request).await.map_err(|status| failure(&status))?;
        match print_steps(reply.into_inner()).await? {
            0 => Ok(()),
            _ => Err(Failure::Silent),
        }
    }
}
