//! What the loop knows about accounts and revocation. The work itself is done outside of the loop, which only
//! hands out what is needed and hears what came of it.

use std::sync::Arc;

use super::{Agent, Found};
use crate::issuer::Issuer;

impl Agent {
    /// The issuer with an account of that name, or the only one.
    pub(super) fn account(&self, wanted: &str) -> Result<Arc<dyn Issuer>, String> {
        let all: Vec<_> = self
            .sources
            .values()
            .map(|source| &source.issuer)
            .filter(|issuer| issuer.has_account())
            .collect();
        let names = || all.iter().map(|issuer| issuer.name()).collect::<Vec<_>>().join(", ");
        match (wanted, &all[..]) {
            (_, []) => Err("no ACME issuer is configured: there is no account".to_owned()),
            ("", [only]) => Ok(Arc::clone(only)),
            ("", _) => {
                Err(format!("several ACME issuers are configured, name one with --issuer: {}", names()))
            }
            (wanted, _) => all
                .iter()
                .find(|issuer| issuer.name() == wanted)
                .map(|issuer| Arc::clone(issuer))
                .ok_or_else(|| format!("no ACME issuer is named \"{wanted}\"; configured: {}", names())),
        }
    }

    /// A generation that is still stored (0: the current one) with its issuer.
    pub(super) fn stored(&self, certificate: &str, generation: u64) -> Result<Found, String> {
        let managed = self.certificates.get(certificate).ok_or_else(|| self.unknown(certificate))?;
        let current = managed.current.as_ref();
        let found = match (generation, current) {
            (0, None) => return Err(format!("\"{certificate}\" has no generation yet")),
            (0, Some(current)) => Arc::clone(current),
            (number, Some(current)) if number == current.number => Arc::clone(current),
            (number, _) => managed.store.generation(number).map(Arc::new).map_err(|error| {
                format!("generation {number} of \"{certificate}\" is not stored any more, or cannot be read: {error}")
            })?,
        };
        let name = &found.metadata.issuer;
        let Some(source) = self.sources.get(name) else {
            return Err(format!(
                "generation {} came from \"{name}\", which is not configured any more",
                found.number
            ));
        };
        Ok(Found { generation: found, issuer: Arc::clone(&source.issuer) })
    }

    /// Remembers a revocation, and orders anew, back-off or not, if it hit the current generation.
    pub(super) fn revoked(&mut self, certificate: &str, generation: u64) -> bool {
        let Some(managed) = self.certificates.get_mut(certificate) else { return false };
        let now = self.clock.now();
        managed.memory.revoke(generation, now);
        let is_current = managed.current.as_ref().is_some_and(|current| current.number == generation);
        self.save_memory(certificate);
        self.tell_revoked(certificate);
        // Nodes are told of it, too.
        self.unpublished = true;
        if is_current {
            self.request(certificate, true);
        }
        is_current
    }
}
