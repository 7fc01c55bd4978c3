//! Delivery of a shadow to every node, its proof, and the proof that service was not touched.

use std::collections::BTreeSet;

use sealwire_proto::v1::StepKind;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Drill;
use crate::agent::Command;
use crate::delivery::{Bundle, Outcome, Shadow, nack_text, prove, route};

/// What became of a shadow on one node.
pub type ShadowNews = (String, Outcome);

impl Drill {
    /// Has every paired node take a shadow and looks at it on each of their listeners; then looks whether they
    /// serve what they did. Says how many nodes that were.
    pub(super) async fn deliver(&self, bundle: Bundle) -> Result<String, String> {
        let nodes = &self.facts.nodes;
        if nodes.is_empty() {
            let why = if self.facts.config.goes_nowhere() {
                "it goes to no node: delivery was not rehearsed"
            } else {
                "no node that it goes to is paired: delivery was not rehearsed"
            };
            return Ok(why.to_owned());
        }
        let shadow = Shadow {
            bundle,
            config: self.facts.config.clone(),
            nodes: nodes.iter().map(|node| node.id.clone()).collect(),
        };
        let (news, mut received) = mpsc::channel(64);
        let result = async {
            self.cast(shadow, news).await?;
            self.follow(&mut received).await?;
            self.untouched().await
        }
        .await;
        // Whatever happened, nothing stays behind; nodes would forget it by themselves after a minute.
        let certificate = self.facts.config.name.clone();
        let _ = self.commands.send(Command::EndShadow { certificate }).await;
        result?;
        Ok(format!("proven on {} node(s), and what is served was not touched", nodes.len()))
    }

    async fn cast(&self, shadow: Shadow, news: mpsc::Sender<ShadowNews>) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let stopping = || "the agent is stopping".to_owned();
        self.commands.send(Command::CastShadow { shadow, news, reply }).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }

    /// Until every node is proven.
    async fn follow(&self, news: &mut mpsc::Receiver<ShadowNews>) -> Result<(), String> {
        let mut open: BTreeSet<_> = self.facts.nodes.iter().map(|node| node.id.clone()).collect();
        let end = Instant::now() + self.facts.patience;
        while !open.is_empty() {
            let late = || {
                let open: Vec<_> = open.iter().cloned().collect();
                format!("no proof from {} within {:?}", open.join(", "), self.facts.patience)
            };
            let Ok(Some((node, outcome))) = tokio::time::timeout_at(end, news.recv()).await else {
                return Err(late());
            };
            match outcome {
                Outcome::Pushed => self.report.node_step(StepKind::Pushed, &node, "as a shadow").await,
                Outcome::Acked { validate_micros, .. } => {
                    let text = format!("validated in {:.2} ms", validate_micros as f64 / 1000.0);
                    self.report.node_step(StepKind::Acked, &node, text).await;
                }
                Outcome::Proven { detail } => {
                    self.report.node_step(StepKind::Proven, &node, detail).await;
                    open.remove(&node);
                }
                Outcome::Nacked { reason, detail } => {
                    let text = nack_text(reason, &detail);
                    self.report.node_step(StepKind::Nacked, &node, text.clone()).await;
                    return Err(format!("refused by {node}: {text}"));
                }
                Outcome::Unproven { error } => return Err(format!("not proven on {node}: {error}")),
                _ => {}
            }
        }
        Ok(())
    }

    /// An ordinary handshake sees what it saw before the drill.
    async fn untouched(&self) -> Result<(), String> {
        let Some(serving) = &self.facts.serving else { return Ok(()) };
        for node in &self.facts.nodes {
            let names = route::names_to_prove(&self.facts.config.identifiers, node);
            prove::prove(node, &names, &serving.chain).await.map_err(|error| {
                format!("{} does not serve generation {} any more: {error}", node.id, serving.number)
            })?;
        }
        Ok(())
    }
}
