//! The issuers of the configuration, made ready: embedded CAs and what they publish, ACME CAs and the challenges.

use std::collections::BTreeMap;
use std::sync::Arc;

use sealwire_proto::anchors::Anchors;
use tokio_util::sync::CancellationToken;

use super::issuers::Source;
use super::outside::{self, Outside};
use super::start::{StartError, listen};
use crate::clock::Clock;
use crate::config::Config;
use crate::issuer::Issuer;
use crate::issuer::acme::{AcmeIssuer, Challenges, Gate};
use crate::issuer::internal::{InternalIssuer, Publication};
use crate::store::Store;

/// An embedded CA signs in a fraction of a millisecond: more would only wait for the disk.
const PARALLEL_INTERNAL: usize = 8;

/// Opens each issuer, and what has to be listened for on its behalf.
///
/// # Errors
/// [`StartError`].
pub(super) async fn open(
    config: &Config,
    store: &Store,
    clock: &Arc<dyn Clock>,
    gate: Option<&Arc<dyn Gate>>,
    outside: &Outside,
    tasks: &CancellationToken,
) -> Result<BTreeMap<String, Source>, StartError> {
    let mut sources = BTreeMap::new();
    let mut published: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (name, internal) in &config.internal {
        let dir = store.dir().join("ca").join(name);
        let issuer = InternalIssuer::open(name.clone(), dir, internal.clone(), Arc::clone(clock))
            .map_err(|source| StartError::Issuer { issuer: name.clone(), source })?;
        let issuer = Arc::new(issuer);
        if let Some(publish) = &internal.publish {
            published.entry(publish.listen).or_default().push(Arc::clone(&issuer));
        }
        tokio::spawn(Arc::clone(&issuer).keep(tasks.clone()));
        add(&mut sources, issuer, PARALLEL_INTERNAL)?;
    }
    for (address, issuers) in published {
        let listener = listen("internal.NAME.publish.listen", address).await?;
        tokio::spawn(Publication::new(issuers).serve(listener, tasks.clone()));
    }
    if config.acme.is_empty() {
        outside.unused(outside::HTTP01, "no [acme] is configured");
        outside.unused(outside::TLS_ALPN01, "no [acme] is configured");
        return Ok(sources);
    }
    let accounts = store.dir().join("accounts");
    let challenges =
        Challenges::new(config, &accounts).map_err(|source| StartError::Challenges { source })?;
    if let Some(http01) = challenges.http01() {
        let listener = outside.tcp(outside::HTTP01, "http01.listen", config.http01.listen).await?;
        tokio::spawn(http01.clone().serve(listener, tasks.clone()));
    } else {
        outside.unused(outside::HTTP01, "no certificate is ordered by http-01");
    }
    if let Some(tls_alpn01) = challenges.tls_alpn01() {
        let address = config.tls_alpn01.listen;
        let listener = outside.tcp(outside::TLS_ALPN01, "tls_alpn01.listen", address).await?;
        let serving = tls_alpn01.clone().serve(listener, tasks.clone());
        tokio::spawn(serving.map_err(|source| StartError::Tls { source })?);
    } else {
        outside.unused(outside::TLS_ALPN01, "no certificate is ordered by tls-alpn-01");
    }
    for (name, acme) in &config.acme {
        let dir = accounts.join(name);
        let issuer = AcmeIssuer::open(name.clone(), dir, acme.clone(), challenges.clone())
            .map_err(|source| StartError::Issuer { issuer: name.clone(), source })?;
        let issuer = match gate {
            Some(gate) => issuer.gated(Arc::clone(gate)),
            None => issuer,
        };
        add(&mut sources, Arc::new(issuer), acme.parallel_orders)?;
    }
    Ok(sources)
}

pub(super) fn add(
    sources: &mut BTreeMap<String, Source>,
    issuer: Arc<dyn Issuer>,
    parallel_orders: usize,
) -> Result<(), StartError> {
    let own = issuer.trust_anchors();
    let anchors = if own.is_empty() {
        Anchors::platform()
    } else {
        Anchors::from_der(own)
            .map_err(|source| StartError::Anchors { issuer: issuer.name().to_owned(), source })?
    };
    sources.insert(issuer.name().to_owned(), Source::new(issuer, anchors, parallel_orders));
    Ok(())
}
