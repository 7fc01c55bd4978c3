//! OCSP responses: whatever is accepted is one that the authority signed.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sealwire_fuzz::{INTERMEDIATE, LEAF, certificate, now};
use sealwire_proto::ocsp::{Verified, verify};

static GENUINE: LazyLock<Vec<Verified>> = LazyLock::new(|| {
    let seeds: [&[u8]; 5] = [
        include_bytes!("../seeds/ocsp/good"),
        include_bytes!("../seeds/ocsp/delegated"),
        include_bytes!("../seeds/ocsp/nonce"),
        include_bytes!("../seeds/ocsp/revoked"),
        include_bytes!("../seeds/ocsp/unknown"),
    ];
    seeds.map(|seed| check(seed).expect("a seed is genuine")).into()
});

fn check(response: &[u8]) -> Option<Verified> {
    verify(response, &certificate(LEAF), &certificate(INTERMEDIATE), now()).ok()
}

fuzz_target!(|data: &[u8]| {
    if let Some(accepted) = check(data) {
        assert!(GENUINE.contains(&accepted), "forged: {accepted:?}");
    }
    // And the certificates that it is about, as a CA may send them.
    let strange = rustls_pki_types::CertificateDer::from(data);
    let genuine = include_bytes!("../seeds/ocsp/good");
    let _ = verify(genuine, &strange, &certificate(INTERMEDIATE), now());
    let _ = verify(genuine, &certificate(LEAF), &strange, now());
});
