//! Renewals over the admin socket, step by step.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sealwire_proto::v1::admin_service_client::AdminServiceClient;
use sealwire_proto::v1::{RenewRequest, Step, StepKind};
use tokio_stream::StreamExt;
use tonic::transport::Channel;

/// A renewal that was followed to its end.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// Everything that happened.
    pub steps: Vec<Step>,
    /// When the end was heard of.
    pub ended: Instant,
}

impl Renewal {
    /// Renews "web" and follows it to the end, good or bad.
    ///
    /// # Errors
    /// The agent cannot be asked, or hangs up before the end.
    pub async fn follow(admin: &mut AdminServiceClient<Channel>, force: bool) -> Result<Self> {
        Self::follow_with(admin, force, |_| ()).await
    }

    /// As [`Renewal::follow`], and shows each step as it comes.
    ///
    /// # Errors
    /// The agent cannot be asked, or hangs up before the end.
    pub async fn follow_with(
        admin: &mut AdminServiceClient<Channel>,
        force: bool,
        mut show: impl FnMut(&Step),
    ) -> Result<Self> {
        let request = RenewRequest { certificates: vec!["web".to_owned()], all: false, force };
        let mut stream = admin.renew(request).await.context("renew")?.into_inner();
        let mut steps = Vec::new();
        while let Some(step) = stream.next().await {
            let step = step.context("renew")?;
            show(&step);
            steps.push(step);
        }
        let renewal = Self { steps, ended: Instant::now() };
        match renewal.steps.last().map(Step::kind) {
            Some(StepKind::Done | StepKind::Failed) => Ok(renewal),
            last => bail!("the agent hung up after {last:?}"),
        }
    }

    /// The first step of a kind.
    #[must_use]
    pub fn step(&self, kind: StepKind) -> Option<&Step> {
        self.steps.iter().find(|step| step.kind() == kind)
    }

    /// Whether it ended well.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.step(StepKind::Done).is_some()
    }

    /// The generation it made.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.step(StepKind::Stored).map_or(0, |step| step.generation)
    }

    /// From the push to the proof.
    #[must_use]
    pub fn push_to_proof(&self) -> Option<Duration> {
        let pushed = self.step(StepKind::Pushed)?.elapsed_micros;
        let proven = self.step(StepKind::Proven)?.elapsed_micros;
        Some(Duration::from_micros(proven.saturating_sub(pushed)))
    }
}
