//! Signatures that were found good once: whoever checks one leaf after another of the same issuer checks the
//! signature of the root over the intermediate each time, and with a P-384 root that costs more than all the rest.
//! Only the arithmetic is spared, and only for the very same key, message and signature: path building, validity,
//! constraints and usage are looked at anew each time.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};

/// How many are remembered, 32 bytes each: every intermediate that is in use, and the leaves that came last.
const REMEMBERED: usize = 64;

type Digest = [u8; 32];

/// Of this process.
static GOOD: Memo = Memo(Mutex::new(Vec::new()));

/// Every algorithm that webpki knows, with the memory of this process.
pub(crate) fn remembering() -> Vec<Remembering> {
    webpki::ALL_VERIFICATION_ALGS
        .iter()
        .map(|algorithm| Remembering { algorithm: *algorithm, memo: &GOOD })
        .collect()
}

/// Digests of good signatures, the one that was used last at the end.
struct Memo(Mutex<Vec<Digest>>);

impl Memo {
    fn knows(&self, digest: &Digest) -> bool {
        let mut good = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(position) = good.iter().rposition(|known| known == digest) else { return false };
        good[position..].rotate_left(1);
        true
    }

    fn add(&self, digest: Digest) {
        let mut good = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if good.len() >= REMEMBERED {
            good.remove(0);
        }
        good.push(digest);
    }
}

/// An algorithm that does not verify twice what it found good.
pub(crate) struct Remembering {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    memo: &'static Memo,
}

impl fmt::Debug for Remembering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.algorithm.fmt(f)
    }
}

impl SignatureVerificationAlgorithm for Remembering {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let (of_key, of_signature) = (self.public_key_alg_id(), self.signature_alg_id());
        let digest = digest([of_key.as_ref(), of_signature.as_ref(), public_key, message, signature]);
        if self.memo.knows(&digest) {
            return Ok(());
        }
        self.algorithm.verify_signature(public_key, message, signature)?;
        self.memo.add(digest);
        Ok(())
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }

    fn fips(&self) -> bool {
        self.algorithm.fips()
    }
}

/// SHA-256 over all parts, each after its length: no two sets of parts give the same bytes.
fn digest(parts: [&[u8]; 5]) -> Digest {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Takes signatures that equal their message, and counts the questions.
    #[derive(Debug)]
    struct Counting(&'static AtomicUsize);

    impl SignatureVerificationAlgorithm for Counting {
        fn verify_signature(
            &self,
            _: &[u8],
            message: &[u8],
            signature: &[u8],
        ) -> Result<(), InvalidSignature> {
            self.0.fetch_add(1, Ordering::Relaxed);
            if message == signature { Ok(()) } else { Err(InvalidSignature) }
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            rustls_pki_types::alg_id::ECDSA_P256
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            rustls_pki_types::alg_id::ECDSA_SHA256
        }
    }

    fn counted() -> (Remembering, &'static AtomicUsize) {
        let asked: &'static AtomicUsize = Box::leak(Box::default());
        let memo = Box::leak(Box::new(Memo(Mutex::default())));
        (Remembering { algorithm: Box::leak(Box::new(Counting(asked))), memo }, asked)
    }

    #[test]
    fn only_the_very_same_and_only_what_was_good_is_remembered() {
        let (algorithm, asked) = counted();
        let verify = |key: &[u8], message: &[u8], signature: &[u8]| {
            (algorithm.verify_signature(key, message, signature).is_ok(), asked.swap(0, Ordering::Relaxed))
        };
        assert_eq!(verify(b"key", b"text", b"text"), (true, 1));
        assert_eq!(verify(b"key", b"text", b"text"), (true, 0));
        assert_eq!(verify(b"other", b"text", b"text"), (true, 1));
        for _ in 0..2 {
            assert_eq!(verify(b"key", b"text", b"forged"), (false, 1));
            // The same bytes, split in another place.
            assert_eq!(verify(b"keyt", b"ext", b"text"), (false, 1));
        }
    }

    #[test]
    fn what_is_used_stays_and_the_rest_makes_room() {
        let (algorithm, asked) = counted();
        let verify = |number: usize| {
            let text = number.to_be_bytes();
            algorithm.verify_signature(b"key", &text, &text).unwrap();
            asked.swap(0, Ordering::Relaxed)
        };
        for number in 0..REMEMBERED * 3 {
            assert_eq!(verify(number), 1);
            assert_eq!(verify(0), 0, "used all the time");
        }
        assert_eq!(verify(1), 1, "long ago");
        assert_eq!(algorithm.memo.0.lock().unwrap().len(), REMEMBERED);
    }
}
