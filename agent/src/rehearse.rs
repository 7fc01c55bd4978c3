//! A rehearsal: the names are validated by a staging CA, whose limits are wide, and what it issues is thrown
//! away. It keeps no journal: a rehearsal that a crash cuts short costs nothing.

use std::sync::Arc;

use async_trait::async_trait;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use sealwire_proto::v1::StepKind;

use crate::issuer::{ErrorClass, IssueError, Issuer, OrderRequest, Placed, Progress};
use crate::steps::{Event, Steps};
use crate::store::StoreError;

struct Rehearsal<'a> {
    certificate: &'a str,
    steps: &'a Arc<Steps>,
}

#[async_trait]
impl Progress for Rehearsal<'_> {
    fn step(&self, kind: StepKind, detail: String) {
        self.steps.record(Event {
            certificate: self.certificate.to_owned(),
            kind,
            detail: format!("rehearsal: {detail}"),
            ..Event::default()
        });
    }

    async fn order_placed(&self, _: &Placed) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Has `identifiers` validated and a certificate issued by `staging`.
///
/// # Errors
/// [`IssueError`] as the real CA would most likely give it.
pub async fn rehearse(
    certificate: &str,
    identifiers: &[String],
    staging: &dyn Issuer,
    steps: &Arc<Steps>,
) -> Result<(), IssueError> {
    let ours =
        |error: rcgen::Error| IssueError::new(ErrorClass::Ours, format!("cannot make the CSR: {error}"));
    let key = KeyPair::generate().map_err(ours)?;
    let mut params = CertificateParams::new(identifiers.to_vec()).map_err(ours)?;
    params.distinguished_name = DistinguishedName::new();
    let request = OrderRequest {
        certificate: certificate.to_owned(),
        identifiers: identifiers.to_vec(),
        csr_der: params.serialize_request(&key).map_err(ours)?.der().to_vec(),
        ..OrderRequest::default()
    };
    staging.obtain(&request, &Rehearsal { certificate, steps }).await.map(|_| ())
}
