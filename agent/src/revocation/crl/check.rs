//! What a CRL says of certificates, once it is known to be its issuer's, of our time, and not older than one seen
//! before.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use webpki::RawPublicKeyEntity;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::parse::{Crl, CrlError};
use crate::lifecycle::plus;
use crate::revocation::subject::Issuer;
use crate::revocation::{CLOCK_SKEW, Id, Subject};

/// What a CRL says of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Not on it, and it would be.
    Good,
    /// On it.
    Revoked {
        /// Since when.
        at: Timestamp,
        /// Why, if given.
        reason: Option<u8>,
    },
    /// It is not about this certificate.
    OutOfScope(&'static str),
}

/// `removeFromCRL`: it was on hold and is good again.
const REMOVED: u8 = 8;

impl Crl<'_> {
    /// Checks that `issuer` is who issued it, may do so, and signed it.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn verify(&self, issuer: &Issuer) -> Result<(), CrlError> {
        let (_, certificate) = X509Certificate::from_der(&issuer.der)
            .map_err(|_| CrlError::Malformed("its issuer is not an X.509 certificate"))?;
        if certificate.subject().as_raw() != self.issuer {
            let name = x509_parser::prelude::X509Name::from_der(self.issuer);
            return Err(CrlError::OtherIssuer(name.map(|(_, name)| name.to_string()).unwrap_or_default()));
        }
        if let Ok(Some(usage)) = certificate.key_usage()
            && !usage.value.crl_sign()
        {
            return Err(CrlError::MayNotSign);
        }
        let spki = SubjectPublicKeyInfoDer::from(certificate.public_key().raw);
        let key = RawPublicKeyEntity::try_from(&spki).map_err(|_| CrlError::Signature)?;
        let named = webpki::ALL_VERIFICATION_ALGS
            .iter()
            .filter(|algorithm| algorithm.signature_alg_id().as_ref() == self.algorithm);
        // The same identifier stands for several curves; at most one fits the key.
        for algorithm in named {
            if key.verify_signature(*algorithm, self.signed, self.signature).is_ok() {
                return Ok(());
            }
        }
        Err(CrlError::Signature)
    }

    /// Checks that it holds at `now`.
    ///
    /// # Errors
    /// [`CrlError::NotYetValid`] or [`CrlError::Stale`].
    pub fn check_time(&self, now: Timestamp) -> Result<(), CrlError> {
        if self.this_update > plus(now, CLOCK_SKEW) {
            return Err(CrlError::NotYetValid(self.this_update));
        }
        if now > self.next_update {
            return Err(CrlError::Stale(self.next_update));
        }
        Ok(())
    }

    /// Checks that it is not older than `before`, the last one from the same place. `file` is where that is kept.
    ///
    /// # Errors
    /// [`CrlError::GoesBack`].
    pub fn check_follows(&self, before: &Crl<'_>, file: &str) -> Result<(), CrlError> {
        let back = match (&before.number, &self.number) {
            (Some(old), Some(new)) if new < old => Some(format!("number {new} after {old}")),
            // Who numbered them once does so again.
            (Some(old), None) => Some(format!("no number after {old}")),
            _ if self.this_update < before.this_update => {
                Some(format!("of {:.0} after {:.0}", self.this_update, before.this_update))
            }
            _ => None,
        };
        back.map_or(Ok(()), |what| Err(CrlError::GoesBack(what, file.to_owned())))
    }

    /// What it says of each, in one pass over its entries.
    ///
    /// # Errors
    /// An entry cannot be read, or must be understood and is not: then nothing it says counts.
    pub fn words(&self, subjects: &[Arc<Subject>]) -> Result<HashMap<Id, Word>, CrlError> {
        let mut words = HashMap::with_capacity(subjects.len());
        let mut by_serial: HashMap<&[u8], Vec<Id>> = HashMap::with_capacity(subjects.len());
        for subject in subjects {
            let word = match self.excludes(subject) {
                Some(why) => Word::OutOfScope(why),
                None => {
                    by_serial.entry(&subject.serial).or_default().push(subject.id);
                    Word::Good
                }
            };
            words.insert(subject.id, word);
        }
        for entry in self.entries() {
            let entry = entry?;
            let Some(ids) = by_serial.get(entry.serial) else { continue };
            let reason = entry.reason();
            if reason == Some(REMOVED) {
                continue;
            }
            let at = entry.at()?;
            words.extend(ids.iter().map(|id| (*id, Word::Revoked { at, reason })));
        }
        Ok(words)
    }

    /// Why it is not about a certificate of its issuer (RFC 5280 section 6.3.3 (b)).
    fn excludes(&self, subject: &Subject) -> Option<&'static str> {
        if self.scope.users_only && subject.is_ca() {
            return Some("the CRL is about leaves only");
        }
        if self.scope.authorities_only && !subject.is_ca() {
            return Some("the CRL is about CAs only");
        }
        let names = self.scope.names.as_ref()?;
        let shared = names.iter().any(|name| subject.points.contains(name));
        (!shared).then_some(
            "the CRL is another shard: its issuing distribution point is not one of the certificate's",
        )
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
