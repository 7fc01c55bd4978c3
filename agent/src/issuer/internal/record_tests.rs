#![allow(clippy::unwrap_used)]

use super::super::tests::memory_dir;
use super::*;
use crate::store::faults;

const BY: AuthorityId = AuthorityId::Intermediate(3);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn serial(number: u128) -> Serial {
    (0x40_u128 << 120 | number).to_be_bytes()
}

fn open(dir: &tempfile::TempDir) -> Record {
    Record::open(dir.path().join("record.log"), SignedDuration::from_secs(100)).unwrap()
}

fn revocation(second: i64) -> Revocation {
    Revocation { at: at(second), reason: 1 }
}

#[test]
fn what_is_noted_is_known_after_a_restart() {
    let dir = memory_dir();
    let record = open(&dir);
    record.issued(serial(1), BY, at(1000)).unwrap();
    record.issued(serial(2), BY, at(2000)).unwrap();
    record.revoke(serial(2), BY, at(2000), revocation(50)).unwrap();
    // A second revocation changes nothing.
    record.revoke(serial(2), BY, at(2000), revocation(60)).unwrap();
    for record in [record, open(&dir)] {
        assert_eq!(record.find(&serial(1)), Some(Entry { by: BY, not_after: at(1000), revoked: None }));
        assert_eq!(record.revoked_by(BY), [(serial(2), revocation(50))]);
        assert_eq!(record.revoked_by(AuthorityId::Root(3)), []);
        assert_eq!(record.last_end(|by| by == BY), Some(at(2000)));
        assert_eq!(record.last_end(|by| by != BY), None);
        assert_eq!(record.find(&serial(3)), None);
        assert_eq!(record.find(&serial(1)[..15]), None);
    }
}

#[test]
fn a_line_cut_short_is_dropped_and_written_over() {
    let dir = memory_dir();
    let path = dir.path().join("record.log");
    open(&dir).issued(serial(1), BY, at(1000)).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(&path, [&whole[..], &whole[..cut]].concat()).unwrap();
        let record = open(&dir);
        record.issued(serial(2), BY, at(1000)).unwrap();
        assert!(record.find(&serial(1)).is_some() && open(&dir).find(&serial(2)).is_some(), "{cut}");
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2, "{cut}");
    }
}

#[test]
fn lines_that_cannot_be_read_are_kept_aside() {
    let dir = memory_dir();
    let path = dir.path().join("record.log");
    open(&dir).issued(serial(1), BY, at(1000)).unwrap();
    let whole = std::fs::read_to_string(&path).unwrap();
    let damaged = format!("isXued nonsense\n{whole}");
    std::fs::write(&path, &damaged).unwrap();
    assert!(open(&dir).find(&serial(1)).is_some());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    let aside = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains(".damaged-"));
    assert_eq!(std::fs::read_to_string(aside.unwrap()).unwrap(), damaged);
}

#[test]
fn what_ended_is_forgotten_after_the_grace_and_the_file_stays_small() {
    let dir = memory_dir();
    let record = open(&dir);
    for number in 0..1500 {
        record.issued(serial(number), BY, at(1000)).unwrap();
    }
    record.issued(serial(9999), BY, at(5000)).unwrap();
    record.prune(at(1100)).unwrap();
    assert!(record.find(&serial(1)).is_some());
    record.prune(at(1101)).unwrap();
    assert!(record.find(&serial(1)).is_none() && record.find(&serial(9999)).is_some());
    assert_eq!(std::fs::read_to_string(dir.path().join("record.log")).unwrap().lines().count(), 1);
    record.issued(serial(10_000), BY, at(5000)).unwrap();
    let again = open(&dir);
    assert!(again.find(&serial(9999)).is_some() && again.find(&serial(10_000)).is_some());
}

#[test]
fn a_crash_at_any_effect_forgets_nothing_that_was_answered() {
    for crash in 0.. {
        let dir = memory_dir();
        open(&dir).issued(serial(1), BY, at(1000)).unwrap();
        let script = faults::crash_at(crash);
        let answered = {
            let record = open(&dir);
            let mut answered = Vec::new();
            for number in 2..5 {
                if record.issued(serial(number), BY, at(1000)).is_ok() {
                    answered.push(number);
                }
            }
            let revoked = record.revoke(serial(1), BY, at(1000), revocation(9)).is_ok();
            (answered, revoked)
        };
        let effects = script.end();
        let record = open(&dir);
        assert!(record.find(&serial(1)).is_some(), "crash at {crash} of {effects:?}");
        for number in answered.0 {
            assert!(record.find(&serial(number)).is_some(), "crash at {crash}: {number} is forgotten");
        }
        if answered.1 {
            assert_eq!(record.revoked(), 1, "crash at {crash}: the revocation is forgotten");
        }
        record.issued(serial(7), BY, at(1000)).unwrap();
        assert!(open(&dir).find(&serial(7)).is_some());
        if effects.len() <= crash {
            assert!(crash > 8, "{effects:?}");
            return;
        }
    }
}
