//! The drill of a revocation: found out by the code that watches, replaced by the rule that decides.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use sealwire_proto::anchors::Anchors;
use sealwire_proto::v1::StepKind;
use tokio::time::Instant;

use super::authority::{Authority, Pages};
use super::{Drill, Source};
use crate::issuer::RevocationReason;
use crate::issuer::internal::InternalIssuer;
use crate::lifecycle::{Action, decide};
use crate::revocation::Finding;
use crate::revocation::fetch::{Fetch, Http};
use crate::revocation::inquiry::Inquiry;
use crate::store::durable;

/// How long a publisher may take to tell of a revocation.
const FOUND_WITHIN: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// `look` tells a finding or an error where one is wanted.
fn unfound() -> String {
    "the revocation was not found".to_owned()
}

impl Drill {
    pub(super) async fn revoke(&self) -> Result<String, String> {
        self.report.step(StepKind::Started, "a revocation is rehearsed").await;
        let published = |source: &&Source| source.issuer.as_internal().is_some_and(InternalIssuer::publishes);
        let finding = match self.facts.sources.iter().find(published) {
            Some(source) => self.revoke_published(source).await?,
            None => self.revoke_alone().await?,
        };
        self.report.step(StepKind::Distrusted, finding.to_string()).await;

        let (now, mut subject) = (self.facts.now, self.facts.subject.clone());
        let current = subject.current.as_ref().map(|current| current.generation);
        subject.memory.revoke_because(current.unwrap_or_default(), now, finding.to_string());
        let decision = decide(now, &subject.facts(), &subject.policy, &self.facts.issuers, subject.seed);
        let Action::Obtain { issuer } = &decision.action else {
            return Err(format!("nothing would be ordered before {:.0}: {}", decision.at, decision.why()));
        };
        let text = format!("from {issuer} at once: {}", decision.reason);
        self.report.step(StepKind::Ordered, text).await;
        let source = self.facts.sources.iter().find(|source| source.issuer.name() == issuer);
        let bundle = self.issue(source.ok_or("the issuer is not configured any more")?).await?;
        let done = self.deliver(bundle).await?;
        Ok(format!("the revocation was found out, and {issuer} replaced what it was about: {done}"))
    }

    /// A leaf that nobody serves, revoked at our own CA and looked for where clients look.
    async fn revoke_published(&self, source: &Source) -> Result<Finding, String> {
        let bundle = self.order(&*source.issuer, &source.roots).await?;
        let chain = bundle.generation.chain.to_vec();
        let anchors = Anchors::from_der(source.roots.iter().cloned()).map_err(|error| error.to_string())?;
        let http: Arc<dyn Fetch> = Arc::new(Http::new()?);
        self.look(&http, &chain, &anchors, false).await?;
        source
            .issuer
            .revoke(&chain[0], RevocationReason::KeyCompromise)
            .await
            .map_err(|error| error.to_string())?;
        let text = format!("serial {} at {}", bundle.generation.leaf.serial, source.issuer.name());
        self.report.step(StepKind::Distrusted, format!("revoked: {text}")).await;
        self.look(&http, &chain, &anchors, true).await?.ok_or_else(unfound)
    }

    /// The same with a CA of the drill, whose pages are in memory.
    async fn revoke_alone(&self) -> Result<Finding, String> {
        let failed = |error: rcgen::Error| format!("the drill's own CA: {error}");
        let authority = Authority::new().map_err(failed)?;
        let issued = authority.issue(&self.facts.config.identifiers).map_err(failed)?;
        let anchors = Anchors::from_der([authority.root()]).map_err(|error| error.to_string())?;
        let pages = Arc::new(Pages::new(authority.crl(None).map_err(failed)?));
        let fetch: Arc<dyn Fetch> = Arc::<Pages>::clone(&pages);
        let chain = [issued.leaf.clone()];
        self.look(&fetch, &chain, &anchors, false).await?;
        pages.publish(authority.crl(Some(&issued)).map_err(failed)?);
        self.report.step(StepKind::Distrusted, "revoked at a CA of the drill").await;
        self.look(&fetch, &chain, &anchors, true).await?.ok_or_else(unfound)
    }

    /// Looks at a chain until it is found revoked, or once if it should not be.
    async fn look(
        &self,
        fetch: &Arc<dyn Fetch>,
        chain: &[CertificateDer<'static>],
        anchors: &Anchors,
        revoked: bool,
    ) -> Result<Option<Finding>, String> {
        // What is fetched for a drill is none of what is kept of served certificates.
        let dir = self.facts.store.dir().join("drill");
        durable::create_dir(&dir).map_err(|error| error.to_string())?;
        let inquiry =
            Inquiry::new(Arc::clone(fetch), &dir, self.facts.revocation, Arc::clone(&self.facts.clock));
        let end = Instant::now() + FOUND_WITHIN;
        let found = loop {
            match inquiry.look(chain, anchors).await {
                Ok(Some(finding)) if revoked => break Ok(Some(finding)),
                Ok(Some(finding)) => break Err(format!("it is revoked before it was: {finding}")),
                Ok(None) if !revoked => break Ok(None),
                Err(error) if !revoked => break Err(error),
                Ok(None) | Err(_) if Instant::now() < end => tokio::time::sleep(LOOK_AGAIN).await,
                Ok(None) => break Err(format!("nobody says within {FOUND_WITHIN:?} that it is revoked")),
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = durable::remove_tree(&dir) {
            tracing::debug!(%error, "what a drill fetched stays");
        }
        found
    }
}
