//! Chains in PEM and DER, and keys: whatever passes has the leaf that the authority signed.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sealwire_fuzz::{INTERMEDIATE, KEY, LEAF, NAME, ROOT, certificate, now};
use sealwire_proto::anchors::Anchors;
use sealwire_proto::validate::{LeafFacts, Names, sha256, validate};

static ANCHORS: LazyLock<Anchors> =
    LazyLock::new(|| Anchors::from_der([certificate(ROOT)]).expect("the root is one"));

fn passes(chain: &[CertificateDer<'static>], key: &[u8]) -> bool {
    let names = [NAME.to_owned()];
    let key = PrivatePkcs8KeyDer::from(key);
    let all = validate(chain, &key, Names::All(&names), &ANCHORS, now());
    if let Ok(passed) = &all {
        assert_eq!(passed.leaf.sha256, sha256(LEAF), "forged: {:?}", passed.leaf);
        // What names it for everybody names it for some.
        assert!(validate(chain, &key, Names::Any(&names), &ANCHORS, now()).is_ok());
    }
    all.is_ok()
}

/// Certificates behind lengths of two bytes.
fn blocks(mut data: &[u8]) -> Vec<CertificateDer<'static>> {
    let mut blocks = Vec::new();
    while let [high, low, rest @ ..] = data {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        blocks.push(CertificateDer::from(rest[..length].to_vec()));
        data = &rest[length..];
    }
    blocks
}

fuzz_target!(|data: &[u8]| {
    let Some((form, data)) = data.split_first() else { return };
    match form {
        b'P' => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(data).collect();
            if let Ok(chain) = chain {
                passes(&chain, KEY);
            }
        }
        b'D' => {
            let chain = blocks(data);
            passes(&chain, KEY);
            for one in &chain {
                let _ = LeafFacts::parse(one);
            }
            let _ = Anchors::from_der(chain);
        }
        b'K' => {
            passes(&[certificate(LEAF), certificate(INTERMEDIATE)], data);
        }
        _ => {}
    }
});
