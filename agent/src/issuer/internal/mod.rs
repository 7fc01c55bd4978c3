//! An embedded CA: a root, an intermediate that renews itself, and leaves signed on the spot. Laid out as
//!
//! ```text
//! DIR/                            0700
//!   root.key.pem 0600, root.pem   made once; 10 years
//!   intermediate-N.key.pem 0600, intermediate-N.pem
//!                                 the highest N is in use; older ones stay, for what they have signed
//! ```

mod authority;
mod constraints;
mod hierarchy;
mod leaf;
mod secret;
pub(crate) mod survey;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rustls_pki_types::CertificateDer;
use sealwire_proto::v1::StepKind;

use self::constraints::Constraints;
use self::hierarchy::Hierarchy;
use super::{ErrorClass, IssueError, Issuer, OrderRequest, Progress};
use crate::clock::Clock;
use crate::config::InternalConfig;

pub(crate) use self::secret::read_secret;

/// The embedded CA of one configured issuer.
pub struct InternalIssuer {
    name: String,
    config: InternalConfig,
    constraints: Constraints,
    clock: Arc<dyn Clock>,
    root: CertificateDer<'static>,
    root_pem: String,
    hierarchy: Mutex<Hierarchy>,
}

impl InternalIssuer {
    /// Opens the CA `[internal.NAME]` in `dir`, or makes it if there is none yet.
    ///
    /// # Errors
    /// Class `Ours`: a file that is damaged, does not fit the others or may be read by others; the message
    /// names it and what to do. Nothing that is there is ever overwritten.
    pub fn open(
        name: String,
        dir: PathBuf,
        config: InternalConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IssueError> {
        let constraints = Constraints::parse(&config.permitted).map_err(|permitted| {
            IssueError::new(
                ErrorClass::Ours,
                format!(
                    "issuer {name}: `permitted` of [internal.{name}]: \"{permitted}\" is neither a DNS suffix \
                     (svc.example) nor a block (10.0.0.0/8)"
                ),
            )
        })?;
        let hierarchy = Hierarchy::open(dir, &name, &config, &constraints, clock.now())?;
        let root = hierarchy.root().certificate().clone();
        let root_pem = hierarchy.root().certificate_pem().to_owned();
        Ok(Self { name, config, constraints, clock, root, root_pem, hierarchy: Mutex::new(hierarchy) })
    }
}

#[async_trait]
impl Issuer for InternalIssuer {
    fn name(&self) -> &str {
        &self.name
    }

    async fn obtain(
        &self,
        request: &OrderRequest,
        progress: &dyn Progress,
    ) -> Result<Vec<CertificateDer<'static>>, IssueError> {
        let error = |class, detail: String| IssueError::new(class, format!("issuer {}: {detail}", self.name));
        if let Some(outside) = request.identifiers.iter().find(|name| !self.constraints.permit(name)) {
            return Err(error(
                ErrorClass::Identifier,
                format!(
                    "{outside} is outside of `permitted` of [internal.{}] ({}): add it there, or use another \
                     issuer",
                    self.name,
                    self.config.permitted.join(", ")
                ),
            ));
        }
        let subject = leaf::Subject::read(&request.csr_der, &request.identifiers)
            .map_err(|detail| error(ErrorClass::Ours, detail))?;

        let now = self.clock.now();
        // Held while signing: microseconds, and a renewal of the intermediate must happen once.
        let mut hierarchy = self.hierarchy.lock().unwrap_or_else(PoisonError::into_inner);
        let intermediate = hierarchy.intermediate(&self.name, &self.config, &self.constraints, now)?;
        let leaf = leaf::sign(&subject, intermediate, self.config.leaf_lifetime, now)
            .map_err(|detail| error(ErrorClass::Ours, detail))?;
        let chain = vec![leaf.certificate, intermediate.certificate().clone()];
        drop(hierarchy);
        progress.step(StepKind::Issued, format!("serial {}, valid until {}", leaf.serial, leaf.not_after));
        Ok(chain)
    }

    fn trust_anchors(&self) -> Vec<CertificateDer<'static>> {
        vec![self.root.clone()]
    }

    fn root_pem(&self) -> Option<String> {
        Some(self.root_pem.clone())
    }
}

#[cfg(test)]
#[path = "internal_tests.rs"]
mod tests;
