//! Issuing for a drill: from the very issuer where that costs nothing, else from its staging CA, else from a CA
//! of the drill.

use std::sync::Arc;

use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sealwire_proto::anchors::Anchors;
use sealwire_proto::v1::StepKind;
use zeroize::Zeroizing;

use super::authority::Authority;
use super::{Drill, ORDER_TIMEOUT, Roots, Source};
use crate::delivery::{Bundle, SHADOW_NUMBER};
use crate::gate;
use crate::issuer::{Issuer, OrderRequest};
use crate::keys::KeyType;
use crate::store::{Chain, Generation, Metadata};

impl Drill {
    /// A bundle for the shadow, issued for the names of the certificate.
    pub(super) async fn issue(&self, source: &Source) -> Result<Bundle, String> {
        let (issuer, roots) = match (&source.rehearsal, source.is_acme) {
            (Some((staging, roots)), _) => (staging, roots),
            (None, false) => (&source.issuer, &source.roots),
            (None, true) => {
                let name = source.issuer.name();
                let text = format!(
                    "{name} has no staging CA (rehearsal = \"NAME\" in [acme.{name}]): a CA of the drill signs instead"
                );
                self.report.step(StepKind::Ordered, text).await;
                return self.issue_alone().await;
            }
        };
        let bundle = self.order(&**issuer, roots).await?;
        let rehearsed = source.rehearsal.is_some();
        match self.gate(&bundle).await {
            Ok(()) => Ok(bundle),
            // A staging CA is trusted by nobody, on purpose.
            Err(error) if rehearsed => {
                let text = format!("{error}; the order went well, a CA of the drill signs what is delivered");
                self.report.step(StepKind::Issued, text).await;
                self.issue_alone().await
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn order(&self, issuer: &dyn Issuer, roots: &Roots) -> Result<Bundle, String> {
        let identifiers = &self.facts.config.identifiers;
        let key = self.facts.config.key_type.generate().await.map_err(|error| error.to_string())?;
        let mut params = CertificateParams::new(identifiers.clone()).map_err(|error| error.to_string())?;
        params.distinguished_name = DistinguishedName::new();
        let csr = params.serialize_request(&key).map_err(|error| error.to_string())?;
        let request = OrderRequest {
            certificate: self.facts.config.name.clone(),
            identifiers: identifiers.clone(),
            csr_der: csr.der().to_vec(),
            ..OrderRequest::default()
        };
        self.report.step(StepKind::KeyReady, self.facts.config.key_type.to_string()).await;
        let chain = tokio::time::timeout(ORDER_TIMEOUT, issuer.obtain(&request, &self.report)).await;
        let chain = chain
            .map_err(|_| format!("{}: no certificate within {ORDER_TIMEOUT:?}", issuer.name()))?
            .map_err(|error| error.to_string())?;
        self.bundle(issuer.name(), chain, &key, Arc::clone(roots))
    }

    /// From a CA that nobody but the shadow's nodes will trust.
    pub(super) async fn issue_alone(&self) -> Result<Bundle, String> {
        let failed = |error: rcgen::Error| format!("the drill's own CA: {error}");
        let authority = Authority::new().map_err(failed)?;
        let issued = authority.issue(&self.facts.config.identifiers).map_err(failed)?;
        let bundle =
            self.bundle("drill", vec![issued.leaf.clone()], &issued.key, [authority.root()].into())?;
        self.report.step(StepKind::Issued, format!("serial {}", bundle.generation.leaf.serial)).await;
        self.gate(&bundle).await?;
        Ok(bundle)
    }

    fn bundle(
        &self,
        issuer: &str,
        chain: Vec<CertificateDer<'static>>,
        key: &KeyPair,
        trust_anchors: Roots,
    ) -> Result<Bundle, String> {
        let chain = Chain::of(chain).ok_or("the chain is empty")?;
        let leaf = sealwire_proto::validate::LeafFacts::parse(chain.leaf())
            .map_err(|rejection| rejection.to_string())?;
        let generation = Generation {
            number: SHADOW_NUMBER + 1,
            key: Zeroizing::new(key.serialize_der()),
            metadata: Metadata {
                issuer: issuer.to_owned(),
                identifiers: self.facts.config.identifiers.clone(),
                profile: None,
                key_type: KeyType::default(),
                stored_at: self.facts.now,
            },
            leaf,
            chain,
        };
        Ok(Bundle { generation: Arc::new(generation), trust_anchors, staple: None })
    }

    /// The same gate that every generation passes.
    async fn gate(&self, bundle: &Bundle) -> Result<(), String> {
        let anchors = if bundle.trust_anchors.is_empty() {
            Anchors::platform()
        } else {
            Anchors::from_der(bundle.trust_anchors.iter().cloned()).map_err(|error| error.to_string())?
        };
        let Generation { chain, key, .. } = &*bundle.generation;
        let key = PrivatePkcs8KeyDer::from(key.as_slice());
        let identifiers = &self.facts.config.identifiers;
        let leaf = gate::check(&chain.to_vec(), &key, identifiers, &anchors, Timestamp::now())
            .map_err(|rejection| format!("the gate: {rejection}"))?;
        self.report.step(StepKind::GatePassed, format!("serial {}", leaf.serial)).await;
        Ok(())
    }
}
