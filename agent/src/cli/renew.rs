//! `sealwire renew` and `sealwire watch`: the steps, live.

use clap::Args;
use sealwire_proto::v1::{RenewRequest, Step, StepKind, WatchRequest};
use tokio_stream::StreamExt;
use tonic::Streaming;

use super::client::{connect, failure};
use super::text::millis;
use super::{Failure, Global, Outcome};

#[derive(Debug, Args)]
pub(super) struct Renew {
    /// Names of certificates; may be left out if only one is configured.
    #[arg(conflicts_with = "all")]
    names: Vec<String>,
    /// Every configured certificate.
    #[arg(long)]
    all: bool,
    /// Order even though a back-off after failures is running. It protects the CA's limits: see `status`.
    #[arg(long)]
    force: bool,
}

impl Renew {
    pub(super) async fn run(self, global: &Global) -> Outcome {
        let Self { names, all, force } = self;
        let request = RenewRequest { certificates: names, all, force };
        let reply = connect(global).await?.renew(request).await.map_err(|status| failure(&status))?;
        let failed = print_steps(reply.into_inner()).await?;
        match failed {
            0 => Ok(()),
            _ => Err(Failure::Silent),
        }
    }
}

pub(super) async fn watch(global: &Global) -> Outcome {
    let reply = connect(global).await?.watch(WatchRequest {}).await.map_err(|status| failure(&status))?;
    print_steps(reply.into_inner()).await.map(|_| ())
}

/// Prints steps as they come and counts the certificates that failed.
pub(super) async fn print_steps(mut steps: Streaming<Step>) -> Result<usize, Failure> {
    let mut failed = 0;
    while let Some(step) = steps.next().await {
        let step = step.map_err(|status| failure(&status))?;
        failed += usize::from(step.kind() == StepKind::Failed);
        println!("{}", line(&step));
    }
    Ok(failed)
}

fn line(step: &Step) -> String {
    let generation = if step.generation == 0 { String::new() } else { format!("#{}", step.generation) };
    let what = match (step.node_id.as_str(), step.detail.as_str()) {
        ("", detail) => detail.to_owned(),
        (node, "") => node.to_owned(),
        (node, detail) => format!("{node}: {detail}"),
    };
    let head = format!("{:<16} {generation:<6} {:<12}", step.certificate, word(step.kind()));
    let times = format!("{:>10}  {:>10}", millis(step.took_micros), millis(step.elapsed_micros));
    format!("{head} {times}  {what}").trim_end().to_owned()
}

/// A step in one word.
fn word(kind: StepKind) -> &'static str {
    match kind {
        StepKind::Unspecified => "?",
        StepKind::Started => "started",
        StepKind::KeyReady => "key",
        StepKind::Ordered => "ordered",
        StepKind::ChallengeReady => "challenge",
        StepKind::Authorized => "authorized",
        StepKind::Issued => "issued",
        StepKind::GatePassed => "gate passed",
        StepKind::Stored => "stored",
        StepKind::Pushed => "pushed",
        StepKind::Acked => "acked",
        StepKind::Proven => "proven",
        StepKind::Done => "done",
        StepKind::Failed => "FAILED",
        StepKind::Nacked => "NACKED",
        StepKind::RolledBack => "rolled back",
        StepKind::Quarantined => "quarantined",
        StepKind::Prepared => "prepared",
        StepKind::Committed => "committed",
        StepKind::Stapled => "stapled",
        StepKind::Distrusted => "REVOKED",
    }
}
