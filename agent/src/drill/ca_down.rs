//! The drill of an outage of the first issuer: who would be asked when, by the rules that decide, and whether the
//! next one could do it.

use sealwire_proto::v1::StepKind;

use super::Drill;
use crate::lifecycle::outage::outage;
use crate::lifecycle::span;

/// More attempts than anybody reads.
const SHOWN: usize = 12;

impl Drill {
    pub(super) async fn ca_down(&self) -> Result<String, String> {
        let first = self.facts.sources.first().ok_or("it has no issuer")?.issuer.name().to_owned();
        let text = format!("{first} is taken to be down from the next renewal on");
        self.report.step(StepKind::Started, text).await;
        let foreseen = outage(self.facts.now, &self.facts.subject, &self.facts.issuers, &first);
        for attempt in foreseen.attempts.iter().take(SHOWN) {
            let what = if attempt.issuer == first { "would fail" } else { "would be asked instead" };
            let text = format!("{:.0}: {} {what}", attempt.at, attempt.issuer);
            self.report.step(StepKind::Ordered, text).await;
        }
        let more = foreseen.attempts.len().saturating_sub(SHOWN);
        if more > 0 {
            self.report.step(StepKind::Ordered, format!("and {more} more attempts")).await;
        }
        let Some(renewed) = &foreseen.renewed else {
            let when = foreseen.expires.map_or_else(
                || "there is nothing valid to serve".to_owned(),
                |at| {
                    format!(
                        "what is served ends {at:.0}, {} after the first attempt",
                        span(at.duration_since(foreseen.begins))
                    )
                },
            );
            return Err(format!("no other issuer is configured: {when}. Add one to `issuers`"));
        };
        let source = self
            .facts
            .sources
            .iter()
            .find(|source| source.issuer.name() == renewed.issuer)
            .ok_or("the issuer that would be asked is not configured any more")?;
        let after = span(renewed.at.duration_since(foreseen.begins));
        let bundle = self.issue(source).await?;
        let done = self.deliver(bundle).await?;
        Ok(format!("{} would take over {after} after the first failure: {done}", renewed.issuer))
    }
}
