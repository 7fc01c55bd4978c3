//! The drill of a renewal.

use sealwire_proto::v1::StepKind;

use super::Drill;

impl Drill {
    pub(super) async fn renew(&self) -> Result<String, String> {
        let source = self.facts.sources.first().ok_or("it has no issuer")?;
        let text = format!("a renewal from {} is rehearsed", source.issuer.name());
        self.report.step(StepKind::Started, text).await;
        let bundle = self.issue(source).await?;
        self.deliver(bundle).await
    }
}
