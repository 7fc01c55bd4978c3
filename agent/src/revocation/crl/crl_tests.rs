#![allow(clippy::unwrap_used)]

use jiff::SignedDuration;

use super::*;
use crate::revocation::subject::subjects;
use crate::revocation::test_ca::{CRL, CrlSays, TestCa, TestNet, anchors};

struct Case {
    ca: TestCa,
    net: TestNet,
    cache: Cache,
    subject: Arc<Subject>,
    now: Timestamp,
    dir: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let ca = TestCa::root("ca");
        let leaf = ca.leaf(7, None, &[CRL]);
        let subject = Arc::new(subjects(&[leaf], &anchors(&[&ca])).remove(0));
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        Self { ca, net: TestNet::default(), cache, subject, now: Timestamp::now(), dir }
    }

    async fn ask(&self, fetch: bool) -> Outcome {
        self.ask_at(fetch, self.now).await
    }

    async fn ask_at(&self, fetch: bool, now: Timestamp) -> Outcome {
        let question = Question {
            id: crl_id(CRL, &self.subject.issuer.id),
            url: CRL.to_owned(),
            issuer: Arc::clone(&self.subject.issuer),
            subjects: vec![Arc::clone(&self.subject)],
            fetch,
            timeout: Duration::from_secs(1),
            max_bytes: 4096,
        };
        ask(question, &self.net, self.cache.clone(), now).await
    }

    fn publish(&self, number: u64, revoked: &[u64]) {
        self.net.serve(CRL, self.ca.crl(&CrlSays { number, ..CrlSays::at(self.now, revoked) }));
    }

    fn word(&self, outcome: &Outcome) -> Word {
        outcome.answer.as_ref().unwrap().words[&self.subject.id].clone()
    }
}

#[tokio::test]
async fn what_is_on_disk_serves_until_it_is_due() {
    let case = Case::new();
    case.publish(1, &[]);
    assert_eq!(case.word(&case.ask(false).await), Word::Good);
    case.publish(2, &[7]);
    assert_eq!(case.word(&case.ask(false).await), Word::Good, "read from the disk");
    assert_eq!(case.net.requests(), 1);
    assert!(matches!(case.word(&case.ask(true).await), Word::Revoked { .. }));
    assert_eq!(case.net.requests(), 2);
    // Once it has ended, the disk is no help.
    case.net.fail(CRL);
    let later = case.now + SignedDuration::from_hours(2);
    let outcome = case.ask_at(false, later).await;
    assert_eq!((outcome.answer, case.net.requests()), (None, 3));
    assert!(outcome.error.unwrap().starts_with(CRL));
}

#[tokio::test]
async fn an_outage_leaves_the_last_answer_as_long_as_it_holds() {
    let case = Case::new();
    case.publish(1, &[]);
    case.ask(true).await;
    for bad in [None, Some(b"<html>".to_vec()), Some(TestCa::root("ca").crl(&CrlSays::at(case.now, &[])))] {
        match bad {
            None => case.net.fail(CRL),
            Some(body) => case.net.serve(CRL, body),
        }
        let outcome = case.ask(true).await;
        assert_eq!(case.word(&outcome), Word::Good);
        assert!(outcome.error.is_some());
    }
}

#[tokio::test]
async fn an_older_crl_is_refused_after_a_restart_too() {
    let case = Case::new();
    case.publish(5, &[7]);
    assert!(matches!(case.word(&case.ask(true).await), Word::Revoked { .. }));
    case.publish(4, &[]);
    let outcome = case.ask(true).await;
    assert!(matches!(case.word(&outcome), Word::Revoked { .. }), "the newer one still counts");
    let error = outcome.error.unwrap();
    assert!(error.contains("older than one seen before") && error.contains("revocation/crl/"), "{error}");
    // The message says what to remove.
    let file = Cache::file(&crl_id(CRL, &case.subject.issuer.id));
    std::fs::remove_file(case.dir.path().join(file)).unwrap();
    assert_eq!(case.word(&case.ask(true).await), Word::Good);
}

#[tokio::test]
async fn one_that_is_too_long_is_not_read() {
    let case = Case::new();
    case.publish(1, &(0..200).collect::<Vec<_>>());
    let outcome = case.ask(true).await;
    assert_eq!(outcome.answer, None);
    assert!(outcome.error.unwrap().contains("more than 4096 bytes"));
}

#[tokio::test]
async fn a_file_that_was_changed_says_nothing() {
    let case = Case::new();
    case.publish(1, &[]);
    case.ask(true).await;
    let path = case.dir.path().join(Cache::file(&crl_id(CRL, &case.subject.issuer.id)));
    std::fs::write(&path, TestCa::root("ca").crl(&CrlSays { number: 99, ..CrlSays::at(case.now, &[]) }))
        .unwrap();
    assert_eq!(case.word(&case.ask(false).await), Word::Good, "fetched anew, whatever number the file had");
    assert_eq!(case.net.requests(), 2);
}

#[test]
fn what_nobody_asks_for_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(dir.path());
    cache.retain(std::iter::empty()).unwrap();
    cache.save(&[1; 32], b"one").unwrap();
    cache.save(&[2; 32], b"two").unwrap();
    std::fs::write(dir.path().join("revocation/crl/x.crl.tmp"), "half").unwrap();
    cache.retain(std::iter::once([2; 32])).unwrap();
    assert_eq!(cache.load(&[1; 32], 9).unwrap(), None);
    assert_eq!(cache.load(&[2; 32], 9).unwrap().unwrap(), b"two");
    assert_eq!(cache.load(&[2; 32], 2).unwrap(), None, "longer than what is read");
    assert_eq!(std::fs::read_dir(dir.path().join("revocation/crl")).unwrap().count(), 1);
}
