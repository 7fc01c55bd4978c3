//! `sealwire ca`

use clap::Subcommand;
use sealwire_proto::v1::CaRootRequest;

use super::client::{connect, failure, question};
use super::{Global, Outcome};

#[derive(Debug, Subcommand)]
pub(super) enum Ca {
    /// Print the root certificate (PEM) of an internal issuer, for clients to trust.
    Root {
        /// Name of the issuer, if there are several.
        issuer: Option<String>,
    },
}

impl Ca {
    pub(super) async fn run(self, global: &Global) -> Outcome {
        let Self::Root { issuer } = self;
        let request = CaRootRequest { issuer: issuer.unwrap_or_default() };
        let reply = connect(global).await?.ca_root(question(request)).await;
        print!("{}", reply.map_err(|status| failure(&status))?.into_inner().pem);
        Ok(())
    }
}
