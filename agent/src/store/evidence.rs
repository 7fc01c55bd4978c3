//! What a CA issued and the gate refused, for people: the chain with the reason above it. Keys are not kept.

use std::path::Path;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

use super::{StoreError, durable, pem_of};

const DIR: &str = "rejected";

/// A CA that keeps doing it fills no disk.
const KEPT: usize = 5;

/// Writes one, and removes the oldest; returns where it is.
pub(super) fn keep(
    dir: &Path,
    chain: &[CertificateDer<'_>],
    reason: &str,
    at: Timestamp,
) -> Result<std::path::PathBuf, StoreError> {
    let dir = dir.join(DIR);
    durable::create_dir(&dir)?;
    // Sorts by age; two in one second would be the same order twice.
    let path = dir.join(format!("{:012}.pem", at.as_second()));
    let text = format!("Refused at {at}: {}\n{}", reason.replace(['\n', '-'], " "), pem_of(chain));
    durable::write(&path, text.as_bytes(), 0o600)?;
    let mut all: Vec<_> = std::fs::read_dir(&dir)
        .map_err(StoreError::system("list", &dir))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "pem"))
        .collect();
    all.sort();
    for old in &all[..all.len().saturating_sub(KEPT)] {
        durable::remove(old)?;
    }
    Ok(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn the_newest_few_are_kept_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let leaf = CertificateParams::new(["b.example".to_owned()])
            .unwrap()
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap();
        let mut last = None;
        for second in 1..=8 {
            let at = Timestamp::from_second(second).unwrap();
            last = Some(keep(dir.path(), &[leaf.der().clone()], "NAME_MISMATCH: ---x\ny", at).unwrap());
        }
        assert_eq!(std::fs::read_dir(dir.path().join(DIR)).unwrap().count(), KEPT);
        let text = std::fs::read_to_string(last.unwrap()).unwrap();
        assert!(text.starts_with("Refused at 1970-01-01T00:00:08Z: NAME_MISMATCH:    x y\n"), "{text}");
        assert_eq!(crate::store::chain_from_pem(text.as_bytes()).unwrap(), [leaf.der().clone()]);
    }
}
