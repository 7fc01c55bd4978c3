//! What the targets have in common: an authority that `fuzz/seeds/make` made, whose keys nobody has any more.

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, UnixTime};

/// The leaf, for `fuzz.example`.
pub const LEAF: &[u8] = include_bytes!("seeds/fixtures/leaf.der");
/// Its key (PKCS#8).
pub const KEY: &[u8] = include_bytes!("seeds/fixtures/leaf.pkcs8");
/// What signed the leaf.
pub const INTERMEDIATE: &[u8] = include_bytes!("seeds/fixtures/intermediate.der");
/// What signed the intermediate.
pub const ROOT: &[u8] = include_bytes!("seeds/fixtures/root.der");

/// A name that the leaf is for.
pub const NAME: &str = "fuzz.example";

/// 2027-01-01: everything above is valid then.
const NOW: u32 = 1_798_761_600;

/// When everything is judged.
pub fn now() -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW.into()))
}

/// The same.
pub fn timestamp() -> Timestamp {
    Timestamp::from_second(NOW.into()).expect("it is within range")
}

/// As the checks want it.
pub fn certificate(der: &'static [u8]) -> CertificateDer<'static> {
    CertificateDer::from(der)
}
