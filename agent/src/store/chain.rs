//! Chains in memory: ten thousand leaves of one issuer have the same certificates above them, which are kept once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use rustls_pki_types::CertificateDer;

/// A leaf and what stands above it; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    leaf: CertificateDer<'static>,
    above: Arc<[CertificateDer<'static>]>,
}

impl Chain {
    /// Certificates (DER), leaf first; `None` without any.
    #[must_use]
    pub fn of(certificates: Vec<CertificateDer<'static>>) -> Option<Self> {
        let mut certificates = certificates.into_iter();
        Some(Self { leaf: certificates.next()?, above: certificates.collect() })
    }

    /// The leaf.
    #[must_use]
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.leaf
    }

    /// What stands above the leaf, its issuer first.
    #[must_use]
    pub fn above(&self) -> &[CertificateDer<'static>] {
        &self.above
    }

    /// All of it, leaf first.
    pub fn iter(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        std::iter::once(&self.leaf).chain(&*self.above)
    }

    /// A copy of all of it, leaf first, for those who want it in one piece.
    #[must_use]
    pub fn to_vec(&self) -> Vec<CertificateDer<'static>> {
        self.iter().cloned().collect()
    }
}

/// What stands above leaves that are in memory, each once.
#[derive(Debug, Default)]
pub(super) struct Aboves(Mutex<HashSet<Arc<[CertificateDer<'static>]>>>);

impl Aboves {
    /// The same chain, its upper part shared with all others that have the same.
    pub(super) fn share(&self, mut chain: Chain) -> Chain {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&chain.above) {
            Some(same) => chain.above = Arc::clone(same),
            None => {
                // A new one is rare, and the time to forget those that went out of use.
                known.retain(|above| Arc::strong_count(above) > 1);
                known.insert(Arc::clone(&chain.above));
            }
        }
        chain
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chain(certificates: &[&'static [u8]]) -> Option<Chain> {
        Chain::of(certificates.iter().map(|der| CertificateDer::from(der.to_vec())).collect())
    }

    #[test]
    fn a_chain_is_what_it_was_made_of() {
        let parts: [&[u8]; 3] = [b"leaf", b"intermediate", b"root"];
        let made = chain(&parts).unwrap();
        assert_eq!(made.leaf().as_ref(), b"leaf");
        assert_eq!(made.above().iter().map(AsRef::as_ref).collect::<Vec<_>>(), parts[1..]);
        assert_eq!(made.to_vec(), parts.map(CertificateDer::from));
        assert_eq!(chain(&[b"leaf"]).unwrap().to_vec().len(), 1);
        assert_eq!(chain(&[]), None);
    }

    #[test]
    fn what_is_above_is_shared_for_as_long_as_somebody_has_it() {
        let aboves = Aboves::default();
        let share = |parts: &[&'static [u8]]| aboves.share(chain(parts).unwrap());
        let (one, two) = (share(&[b"1", b"above"]), share(&[b"2", b"above"]));
        assert!(Arc::ptr_eq(&one.above, &two.above));
        let other = share(&[b"3", b"another"]);
        assert_eq!(other.to_vec(), [b"3".as_slice(), b"another"].map(CertificateDer::from));
        drop((one, two));
        let _third = share(&[b"4", b"a third"]);
        let known = aboves.0.lock().unwrap();
        let mut known: Vec<_> = known.iter().map(|above| above[0].to_vec()).collect();
        known.sort();
        assert_eq!(known, [b"a third".to_vec(), b"another".to_vec()]);
    }
}
