//! `sealwire why`

use clap::Args;
use sealwire_proto::v1::WhyRequest;

use super::client::{connect, failure, question};
use super::text::table;
use super::{Global, Outcome};

#[derive(Debug, Args)]
pub(super) struct Why {
    /// Name of the certificate, if there are several.
    certificate: Option<String>,
}

impl Why {
    pub(super) async fn run(self, global: &Global) -> Outcome {
        let request = WhyRequest { certificate: self.certificate.unwrap_or_default() };
        let reply = connect(global).await?.why(question(request)).await;
        let reply = reply.map_err(|status| failure(&status))?.into_inner();
        let rows: Vec<_> = reply.lines.into_iter().map(|line| vec![line.label, line.text]).collect();
        print!("{}", table(&[&reply.certificate, ""], &rows));
        Ok(())
    }
}
