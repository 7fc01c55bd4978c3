//! The drill of a revocation.

use sealwire_proto::v1::StepKind;

use super::Drill;

impl Drill {
    pub(super) async fn revoke(&self) -> Result<String, String> {
        self.report.step(StepKind::Started, "a revocation is rehearsed".to_owned()).await;
        Err("TODO".into())
    }
}
