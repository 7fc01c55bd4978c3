//! CRLs: whatever is accepted is what the authority signed; whatever is read is read to its end.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use sealwire_agent::revocation::Subject;
use sealwire_agent::revocation::crl::{Crl, Word};
use sealwire_agent::revocation::subject::subjects;
use sealwire_fuzz::{INTERMEDIATE, LEAF, ROOT, certificate, timestamp};
use sealwire_proto::anchors::Anchors;

const SEEDS: [&[u8]; 3] = [
    include_bytes!("../seeds/crl/empty"),
    include_bytes!("../seeds/crl/revoked"),
    include_bytes!("../seeds/crl/sharded"),
];

/// The leaf, as whose revocation is asked for.
static ASKED: LazyLock<Arc<Subject>> = LazyLock::new(|| {
    let anchors = Anchors::from_der([certificate(ROOT)]).expect("the root is one");
    let chain = [certificate(LEAF), certificate(INTERMEDIATE)];
    Arc::new(subjects(&chain, &anchors).into_iter().next().expect("the leaf can be asked for"))
});

static GENUINE: LazyLock<Vec<Crl<'static>>> = LazyLock::new(|| {
    let genuine = SEEDS.map(|seed| accepted(seed).expect("a seed is genuine"));
    let revoked = genuine.iter().filter(|crl| matches!(word(crl), Some(Word::Revoked { .. }))).count();
    assert_eq!(revoked, 2, "two seeds revoke the leaf");
    genuine.into()
});

fn accepted(data: &[u8]) -> Option<Crl<'_>> {
    let crl = Crl::parse(data).ok()?;
    crl.verify(&ASKED.issuer).ok()?;
    crl.check_time(timestamp()).ok()?;
    Some(crl)
}

fn word(crl: &Crl<'_>) -> Option<Word> {
    crl.words(&[Arc::clone(&ASKED)]).ok()?.remove(&ASKED.id)
}

fuzz_target!(|data: &[u8]| {
    if let Some(crl) = accepted(data) {
        let original = GENUINE.iter().find(|genuine| genuine.signed == crl.signed);
        let original = original.unwrap_or_else(|| panic!("forged: {crl:?}"));
        assert_eq!(word(&crl), word(original));
    }
    let Ok(crl) = Crl::parse(data) else { return };
    // Each entry takes bytes of it.
    assert!(crl.entries().count() <= data.len());
    for entry in crl.entries().map_while(Result::ok) {
        let _ = (entry.at(), entry.reason());
    }
    let _ = word(&crl);
    for genuine in &*GENUINE {
        let _ = crl.check_follows(genuine, "kept.crl");
        let _ = genuine.check_follows(&crl, "kept.crl");
    }
});
