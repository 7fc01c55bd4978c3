//! Deltas: one that is made makes its target, is smaller than it, and is text between texts; one that is applied is
//! anything.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wss_node::wire::fossil::{apply, create};

fuzz_target!(|data: &[u8]| {
    let Some((split, texts)) = data.split_first() else { return };
    let (base, target) = texts.split_at(texts.len() * usize::from(*split) / 256);
    let _ = apply(base, target, 1 << 16);
    let Some(delta) = create(base, target) else { return };
    assert!(delta.len() < target.len());
    assert_eq!(apply(base, &delta, target.len()).as_deref(), Ok(target));
    if std::str::from_utf8(base).is_ok() && std::str::from_utf8(target).is_ok() {
        assert!(std::str::from_utf8(&delta).is_ok());
    }
});
