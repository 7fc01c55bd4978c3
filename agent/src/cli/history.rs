//! `sealwire history`

use clap::Args;
use sealwire_proto::v1::HistoryRequest;
use serde_json::json;

use super::client::{connect, failure, question};
use super::text::{instant, table};
use super::{Global, Outcome};

#[derive(Debug, Args)]
pub(super) struct History {
    /// Name of the certificate, if there are several.
    certificate: Option<String>,
    /// One JSON object per line.
    #[arg(long)]
    json: bool,
}

impl History {
    pub(super) async fn run(self, global: &Global) -> Outcome {
        let request = HistoryRequest { certificate: self.certificate.unwrap_or_default() };
        let reply = connect(global).await?.history(question(request)).await;
        let entries = reply.map_err(|status| failure(&status))?.into_inner().entries;
        if self.json {
            for entry in entries {
                let at = instant(entry.at_ms).map(|at| at.to_string());
                let (generation, what, detail) = (entry.generation, entry.what, entry.detail);
                println!("{}", json!({"at": at, "generation": generation, "what": what, "detail": detail}));
            }
            return Ok(());
        }
        let rows: Vec<_> = entries
            .into_iter()
            .map(|entry| {
                let at = instant(entry.at_ms).unwrap_or_default();
                let generation =
                    if entry.generation == 0 { "-".to_owned() } else { entry.generation.to_string() };
                vec![at.strftime("%F %T").to_string(), generation, entry.what, entry.detail]
            })
            .collect();
        print!("{}", table(&["WHEN (UTC)", "GEN", "WHAT", ""], &rows));
        Ok(())
    }
}
