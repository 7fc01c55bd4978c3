#![allow(clippy::unwrap_used)]

use super::super::message::tests::{at, message};
use super::*;
use crate::incident::book::Event;
use crate::store::faults;

fn ids(spool: &Spool) -> Vec<String> {
    spool.waiting().messages.iter().map(|entry| entry.message.id()).collect()
}

fn opened(number: usize) -> Message {
    message(&format!("{number}"), Event::Opened)
}

#[test]
fn messages_survive_a_restart_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    for number in 0..12 {
        assert_eq!(spool.push(&opened(number)).unwrap(), None);
    }
    let (first, _) = spool.first().unwrap();
    spool.remove(first).unwrap();
    let before = ids(&spool);
    let again = Spool::open(dir.path()).unwrap();
    assert_eq!(ids(&again), before);
    assert_eq!(before.len(), 11);
    // A new one comes last, whatever was removed.
    again.push(&opened(99)).unwrap();
    assert_eq!(ids(&Spool::open(dir.path()).unwrap()).last().unwrap(), "99-opened");
}

#[test]
fn the_same_news_waits_once() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    spool.push(&opened(1)).unwrap();
    let again = Spool::open(dir.path()).unwrap();
    again.push(&opened(1)).unwrap();
    again.push(&message("1", Event::Resolved)).unwrap();
    assert_eq!(ids(&again), ["1-opened", "1-resolved"]);
}

#[test]
fn the_oldest_makes_room_and_what_is_too_old_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    for number in 0..MOST_WAITING {
        spool.push(&opened(number)).unwrap();
    }
    let lost = spool.push(&opened(MOST_WAITING)).unwrap();
    assert_eq!(lost, Some(opened(0)));
    assert_eq!(spool.len(), MOST_WAITING);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), MOST_WAITING);
    let queued = opened(1).at;
    assert_eq!(spool.expired(queued.checked_add(LONGEST_WAIT).unwrap()), None);
    let late = queued.checked_add(LONGEST_WAIT + SignedDuration::from_secs(1)).unwrap();
    assert_eq!(spool.expired(late).unwrap().1, opened(1));
    assert_eq!(spool.expired(at(0)), None, "a clock that was set back makes nothing old");
}

#[test]
fn what_could_not_be_written_waits_in_memory_and_is_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    let broken = faults::crash_at(0);
    for number in 0..3 {
        spool.push(&opened(number)).unwrap_err();
    }
    spool.store().unwrap_err();
    broken.end();
    // One was sent meanwhile.
    spool.remove(0).unwrap();
    assert_eq!(ids(&spool), ["1-opened", "2-opened"]);
    assert_eq!(Spool::open(dir.path()).unwrap().len(), 0);
    spool.store().unwrap();
    assert_eq!(ids(&Spool::open(dir.path()).unwrap()), ["1-opened", "2-opened"]);
}

#[test]
fn a_damaged_file_holds_up_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path()).unwrap();
    for number in 0..3 {
        spool.push(&opened(number)).unwrap();
    }
    std::fs::write(file(dir.path(), 1), b"{").unwrap();
    std::fs::write(dir.path().join("000000000007.json.tmp"), b"half").unwrap();
    assert_eq!(ids(&Spool::open(dir.path()).unwrap()), ["0-opened", "2-opened"]);
}

/// Dies at each effect on the disk in turn: after a restart a message whose push returned is there, one that was
/// removed is not, and what was under way is whole or absent.
#[test]
fn it_may_die_at_any_instant() {
    for crash_at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let traced = faults::crash_at(crash_at);
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        let mut finished = false;
        if let Ok(spool) = Spool::open(&dir.path().join("alerts/webhook.x")) {
            let mut steps = || -> Result<(), StoreError> {
                for number in 0..3 {
                    spool.push(&opened(number))?;
                    added.push(format!("{number}-opened"));
                }
                let (first, message) = spool.first().unwrap();
                spool.remove(first)?;
                removed.push(message.id());
                spool.push(&message_four())?;
                added.push(message_four().id());
                Ok(())
            };
            finished = steps().is_ok();
        }
        let effects = traced.end();
        let found = ids(&Spool::open(&dir.path().join("alerts/webhook.x")).unwrap());
        let missing = added.iter().filter(|id| !found.contains(id) && !removed.contains(id)).count();
        // The one that was being removed when it died may be gone.
        assert!(missing <= usize::from(!finished && added.len() == 3), "{crash_at} {effects:?}: {found:?}");
        assert!(removed.iter().all(|id| !found.contains(id)), "{crash_at}: {found:?}");
        assert!(found.len() <= added.len() + 1 && found.is_sorted(), "{crash_at}: {found:?}");
        if finished {
            assert!(crash_at > 20, "every step was died at");
            break;
        }
    }
}

fn message_four() -> Message {
    message("4", Event::Resolved)
}
