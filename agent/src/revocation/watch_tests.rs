#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use sealwire_proto::ocsp::Verified;

use super::*;
use crate::delivery::Staple;
use crate::revocation::crl::{self, Outcome};
use crate::revocation::ocsp;
use crate::revocation::subject::subjects;
use crate::revocation::test_ca::{CRL, OCSP, TestCa, anchors};

const HOUR: i64 = 3600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn watch() -> Watch {
    let bounds = Bounds { min: SignedDuration::from_mins(1), max: SignedDuration::from_hours(6) };
    Watch::new(Settings { bounds, unknown_after: SignedDuration::from_hours(12), seed: 3 })
}

fn key(name: &str) -> ChainKey {
    (name.into(), 1)
}

/// Leaves without a chain above them, so that many are made in no time: subjects by hand.
fn leaf(number: u32, ocsp: bool, crls: &[&str]) -> Subject {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&number.to_le_bytes());
    Subject {
        id,
        which: crate::revocation::Which::Leaf,
        der: None,
        serial: number.to_be_bytes().to_vec(),
        issuer: Arc::new(Issuer { id: [9; 32], der: Vec::new().into() }),
        responders: if ocsp { vec![OCSP.to_owned()] } else { Vec::new() },
        points: crls.iter().map(|url| (*url).to_owned()).collect(),
        notes: Vec::new(),
    }
}

fn crl_outcome(this: i64, next: i64, words: &[(&Subject, Word)]) -> Outcome {
    let words = words.iter().map(|(subject, word)| (subject.id, word.clone())).collect();
    let answer = crl::Answer { this_update: at(this), next_update: at(next), words };
    Outcome { answer: Some(answer), error: None }
}

fn ocsp_answer(status: Status, this: i64, next: i64) -> Result<ocsp::Answer, String> {
    let second = |offset| at(offset).as_second();
    let verified = Verified {
        status,
        this_update: second(this),
        next_update: Some(second(next)),
        produced_at: second(this),
        delegated: false,
        nonce: None,
    };
    Ok(ocsp::Answer {
        response: format!("{status:?} {this} {next}").into_bytes(),
        verified,
        url: OCSP.to_owned(),
    })
}

fn down() -> Result<ocsp::Answer, String> {
    Err(format!("{OCSP} cannot be reached"))
}

fn crl_id_of(url: &str) -> CrlId {
    crl_id(url, &[9; 32])
}

fn is_good(watch: &mut Watch, name: &str, now: i64) -> bool {
    matches!(watch.judge(&key(name), at(now)).unwrap().verdict, Verdict::Good { .. })
}

#[test]
fn ten_thousand_certificates_of_one_crl_are_one_question_and_then_silence() {
    let mut watch = watch();
    let leaves: Vec<_> = (0..10_000).map(|number| leaf(number, false, &[CRL])).collect();
    for (number, leaf) in leaves.iter().enumerate() {
        watch.follow(&key(&format!("c{number}")), vec![leaf.clone()], true, None, at(0));
    }
    let asks = watch.take(at(0), 8, 8);
    let [Ask::Crl { subjects, url, .. }] = &asks[..] else { unreachable!("{}", asks.len()) };
    assert_eq!((subjects.len(), url.as_str()), (10_000, CRL));
    assert_eq!(watch.wake(true, true), None, "nothing else to do until it is answered");
    let words: Vec<_> = leaves.iter().map(|leaf| (leaf, Word::Good)).collect();
    let touched = watch.crl_answered(&crl_id_of(CRL), crl_outcome(0, 48 * HOUR, &words), at(1));
    assert_eq!(touched.len(), 10_000);
    for key in &touched {
        assert!(matches!(watch.judge(key, at(1)).unwrap().verdict, Verdict::Good { .. }));
    }
    let wake = watch.wake(true, true).unwrap();
    assert!(wake >= at(4 * HOUR) && wake <= at(6 * HOUR + 1), "{wake}");
    assert!(watch.take(at(HOUR), 8, 8).is_empty());
    // One of them is renewed: the new leaf alone is looked up, on the disk, soon.
    watch.unfollow(&key("c7"));
    let renewed = leaf(20_000, false, &[CRL]);
    watch.follow(&("c7".into(), 2), vec![renewed], true, None, at(HOUR));
    assert!(watch.take(at(HOUR), 8, 8).is_empty(), "those who come together are answered together");
    let asks = watch.take(at(HOUR + 2), 8, 8);
    assert!(matches!(&asks[..], [Ask::Crl { fetch: false, .. }]), "{}", asks.len());
}

#[test]
fn one_good_source_is_enough_and_one_revoked_outweighs_all() {
    let mut watch = watch();
    let leaf = leaf(1, true, &[CRL, "http://crl.test/2"]);
    watch.follow(&key("web"), vec![leaf.clone()], true, None, at(0));
    assert_eq!(watch.take(at(0), 9, 9).len(), 3);
    let judged = watch.judge(&key("web"), at(0)).unwrap();
    assert_eq!(
        (judged.since, judged.verdict),
        (at(0), Verdict::Unknown { since: at(0), why: "the leaf: no answer yet".into() })
    );
    watch.ocsp_answered(&leaf.id, down(), at(1));
    let shard = Outcome { answer: None, error: Some("http://crl.test/2 answers 404".into()) };
    watch.crl_answered(&crl_id_of("http://crl.test/2"), shard, at(1));
    watch.crl_answered(&crl_id_of(CRL), crl_outcome(0, HOUR, &[(&leaf, Word::Good)]), at(1));
    let verdict = watch.judge(&key("web"), at(1)).unwrap().verdict;
    assert_eq!(verdict, Verdict::Good { source: CRL.into(), until: at(HOUR) });

    let revoked = Status::Revoked { at: at(-5).as_second(), reason: Some(1) };
    watch.ocsp_answered(&leaf.id, ocsp_answer(revoked, 0, HOUR), at(2));
    let Verdict::Revoked(finding) = watch.judge(&key("web"), at(2)).unwrap().verdict else { unreachable!() };
    assert_eq!(
        finding.to_string(),
        "the leaf is revoked since 2027-01-15T07:59:55Z (keyCompromise), says http://ocsp.test/r"
    );
}

#[test]
fn an_intermediate_counts_like_the_leaf_and_is_asked_about_once() {
    let root = TestCa::root("root");
    let between = root.intermediate("between", 7, None, &["http://crl.test/root"]);
    let mut watch = watch();
    for (number, name) in [(1, "a"), (2, "b")] {
        let chain = [between.leaf(number, None, &[CRL]), between.der.clone()];
        watch.follow(&key(name), subjects(&chain, &anchors(&[&root])), true, None, at(0));
    }
    let asks = watch.take(at(0), 9, 9);
    assert_eq!(asks.len(), 2, "the CRL of the leaves, and the one of the intermediate");
    for ask in asks {
        let Ask::Crl { id, subjects, .. } = ask else { unreachable!() };
        let words: Vec<_> = subjects
            .iter()
            .map(|subject| {
                let revoked = Word::Revoked { at: at(-9), reason: None };
                (&**subject, if subject.is_ca() { revoked } else { Word::Good })
            })
            .collect();
        watch.crl_answered(&id, crl_outcome(0, HOUR, &words), at(1));
    }
    for name in ["a", "b"] {
        let Verdict::Revoked(finding) = watch.judge(&key(name), at(1)).unwrap().verdict else {
            unreachable!()
        };
        assert_eq!(finding.which.to_string(), "the intermediate CN=between");
    }
}

#[test]
fn a_crl_of_another_shard_leaves_the_certificate_unknown() {
    let mut watch = watch();
    let leaf = leaf(1, false, &[CRL]);
    watch.follow(&key("web"), vec![leaf.clone()], true, None, at(0));
    watch.take(at(0), 9, 9);
    watch.crl_answered(&crl_id_of(CRL), crl_outcome(0, HOUR, &[(&leaf, Word::OutOfScope("other"))]), at(1));
    let verdict = watch.judge(&key("web"), at(1)).unwrap().verdict;
    assert!(matches!(&verdict, Verdict::Unknown { why, .. } if why.contains("other")), "{verdict:?}");
}

#[test]
fn what_held_lapses_at_its_end_and_that_is_when_the_loop_wakes() {
    let mut watch = watch();
    let leaf = leaf(1, false, &[CRL]);
    watch.follow(&key("web"), vec![leaf.clone()], true, None, at(0));
    watch.take(at(0), 9, 9);
    watch.crl_answered(&crl_id_of(CRL), crl_outcome(0, HOUR, &[(&leaf, Word::Good)]), at(1));
    assert!(is_good(&mut watch, "web", 1));
    watch.take(at(HOUR / 2 + 400), 9, 9);
    let failed = Outcome { answer: None, error: Some("down".into()) };
    watch.crl_answered(&crl_id_of(CRL), failed, at(HOUR / 2 + 400));
    assert!(is_good(&mut watch, "web", HOUR / 2 + 400), "the last answer still holds");
    assert_eq!(watch.lapsed(at(HOUR - 1)), []);
    assert_eq!(watch.lapsed(at(HOUR)), [key("web")]);
    let judged = watch.judge(&key("web"), at(HOUR)).unwrap();
    assert_eq!(judged.since, at(HOUR), "unknown since the end of the last answer");
    // And once more when it is worth telling.
    assert_eq!(watch.lapsed(at(HOUR + 12 * HOUR)), [key("web")]);
}

#[test]
fn peer_defect_6_an_expired_staple_is_never_presented() {
    let mut watch = watch();
    let leaf = leaf(1, true, &[]);
    watch.follow(&key("web"), vec![leaf.clone()], true, None, at(0));
    watch.take(at(0), 9, 9);
    let (_, stapled) = watch.ocsp_answered(&leaf.id, ocsp_answer(Status::Good, 0, HOUR), at(1));
    assert_eq!(stapled, [key("web")]);
    watch.judge(&key("web"), at(1));
    assert!(watch.staple(&key("web"), at(1)).is_some());
    // The responder stays down.
    let mut now = 1;
    while let Some(wake) = watch.wake(true, true)
        && now < 2 * HOUR
    {
        // Jitter has fractions of a second.
        now = wake.as_second() + i64::from(wake.subsec_nanosecond() > 0) - at(0).as_second();
        for key in watch.lapsed(at(now)) {
            watch.judge(&key, at(now));
        }
        assert_eq!(watch.staple(&key("web"), at(now)).is_some(), now < HOUR, "at {now}");
        for _ in watch.take(at(now), 9, 9) {
            watch.ocsp_answered(&leaf.id, down(), at(now));
        }
    }
    let missing = watch.unstapled(&key("web"), at(now)).unwrap();
    assert_eq!((missing.since, missing.had), (at(HOUR), true));
}

#[test]
fn a_good_staple_outlives_worse_answers() {
    let mut watch = watch();
    let leaf = leaf(1, true, &[]);
    watch.follow(&key("web"), vec![leaf.clone()], true, None, at(0));
    watch.take(at(0), 9, 9);
    watch.ocsp_answered(&leaf.id, ocsp_answer(Status::Good, 100, HOUR), at(101));
    let first = watch.staple(&key("web"), at(101)).unwrap();
    for worse in [down(), ocsp_answer(Status::Unknown, 200, HOUR), ocsp_answer(Status::Good, 50, 9 * HOUR)] {
        let (_, stapled) = watch.ocsp_answered(&leaf.id, worse, at(300));
        assert_eq!(stapled, []);
        assert!(is_good(&mut watch, "web", 300));
        assert_eq!(watch.staple(&key("web"), at(300)), Some(Arc::clone(&first)));
    }
    watch.ocsp_answered(&leaf.id, ocsp_answer(Status::Good, 200, 2 * HOUR), at(301));
    assert_ne!(watch.staple(&key("web"), at(301)), Some(first), "a newer one takes its place");
    // Known to be revoked: the good answer from before is not presented.
    let revoked = Status::Revoked { at: at(350).as_second(), reason: None };
    watch.ocsp_answered(&leaf.id, ocsp_answer(revoked, 400, 2 * HOUR), at(401));
    watch.judge(&key("web"), at(401));
    assert_eq!(watch.staple(&key("web"), at(401)), None);
}

#[test]
fn a_staple_from_before_a_restart_is_presented_and_not_fetched_again() {
    let mut watch = watch();
    let leaf = leaf(1, true, &[]);
    let staple = Arc::new(Staple::new(b"kept".to_vec(), at(HOUR)));
    let kept = Kept { staple: Arc::clone(&staple), this_update: at(-60) };
    watch.follow(&key("web"), vec![leaf], true, Some(kept), at(0));
    assert!(is_good(&mut watch, "web", 0));
    assert_eq!(watch.staple(&key("web"), at(0)), Some(staple));
    assert!(watch.take(at(0), 9, 9).is_empty());
    let wake = watch.wake(true, true).unwrap();
    assert!(wake > at(HOUR / 2 - 400) && wake < at(HOUR / 2 + 400), "half of its validity: {wake}");
}

#[test]
fn off_means_that_no_responder_is_asked() {
    let mut watch = watch();
    watch.follow(&key("web"), vec![leaf(1, true, &[])], false, None, at(0));
    assert!(watch.take(at(0), 9, 9).is_empty());
    assert_eq!(watch.judge(&key("web"), at(0)).unwrap().verdict, Verdict::Unasked { notes: Vec::new() });
    assert_eq!(watch.unstapled(&key("web"), at(99 * HOUR)), None);
}

#[test]
fn places_are_kept_and_what_waits_for_one_does_not_wake_anybody() {
    let mut watch = watch();
    for number in 0..5 {
        let urls = [format!("http://crl.test/{number}")];
        let urls: Vec<_> = urls.iter().map(String::as_str).collect();
        watch.follow(&key(&format!("c{number}")), vec![leaf(number, true, &urls)], true, None, at(0));
    }
    let asks = watch.take(at(0), 2, 3);
    let crls = asks.iter().filter(|ask| matches!(ask, Ask::Crl { .. })).count();
    assert_eq!((crls, asks.len()), (2, 5));
    assert_eq!(watch.wake(false, false), None);
    assert_eq!(watch.wake(true, false), Some(at(0)));
    assert_eq!(watch.take(at(0), 9, 9).len(), 5);
}

/// What may happen to three chains that share sources.
#[derive(Clone, Debug)]
enum Happening {
    Follow(usize),
    Unfollow(usize),
    Pass(i64),
    Answer { kind: u8, until: i64 },
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        (0..3_usize).prop_map(Happening::Follow),
        (0..3_usize).prop_map(Happening::Unfollow),
        (0..5 * HOUR).prop_map(Happening::Pass),
        (0..6_u8, -HOUR..8 * HOUR).prop_map(|(kind, until)| Happening::Answer { kind, until }),
    ];
    proptest::collection::vec(one, 0..60)
}

proptest! {
    /// Whatever is answered in whatever order: no staple past its end, no verdict "good" past every answer, each
    /// question under way once, and nothing left when nobody is followed any more.
    #[test]
    fn random_walks_keep_the_promises(walk in happenings()) {
        let mut watch = watch();
        let chains = [leaf(1, true, &[CRL]), leaf(2, true, &[CRL, "http://crl.test/2"]), leaf(3, false, &[])];
        let mut now = 0;
        let mut open: Vec<Ask> = Vec::new();
        for step in walk {
            match step {
                Happening::Follow(n) => {
                    watch.follow(&key(&n.to_string()), vec![chains[n].clone()], true, None, at(now));
                }
                Happening::Unfollow(n) => watch.unfollow(&key(&n.to_string())),
                Happening::Pass(span) => now += span,
                Happening::Answer { kind, until } => {
                    open.extend(watch.take(at(now), 9, 9));
                    let ids: Vec<_> = open.iter().map(|ask| match ask {
                        Ask::Crl { id, .. } => *id,
                        Ask::Ocsp(subject) => subject.id,
                    }).collect();
                    let mut once = ids.clone();
                    once.sort_unstable();
                    once.dedup();
                    // A question that was forgotten and begun anew may be under way twice; nothing else may.
                    prop_assert!(ids.len() <= 2 * once.len() + 8);
                    match open.pop() {
                        None => {}
                        Some(Ask::Crl { id, subjects, .. }) => {
                            let word = match kind {
                                0 | 1 => Word::Good,
                                2 => Word::Revoked { at: at(0), reason: None },
                                _ => Word::OutOfScope("x"),
                            };
                            let words: Vec<_> = subjects.iter().map(|one| (&**one, word.clone())).collect();
                            let outcome = if kind == 5 {
                                Outcome { answer: None, error: Some("no".into()) }
                            } else {
                                crl_outcome(now - 10, now + until.max(1), &words)
                            };
                            watch.crl_answered(&id, outcome, at(now));
                        }
                        Some(Ask::Ocsp(subject)) => {
                            let answer = match kind {
                                0..=2 => ocsp_answer(Status::Good, now - 10, now + until.max(1)),
                                3 => ocsp_answer(Status::Unknown, now - 10, now + until.max(1)),
                                _ => down(),
                            };
                            watch.ocsp_answered(&subject.id, answer, at(now));
                        }
                    }
                }
            }
            for key in watch.lapsed(at(now)) {
                watch.judge(&key, at(now));
            }
            for n in 0..3 {
                let key = key(&n.to_string());
                let Some(judged) = watch.judge(&key, at(now)) else { continue };
                if let Verdict::Good { until, .. } = judged.verdict {
                    prop_assert!(until > at(now));
                }
                prop_assert!(judged.since <= at(now));
                let staple = watch.staple(&key, at(now));
                prop_assert!(staple.is_none_or(|staple| staple.next_update > at(now)));
                prop_assert!(watch.wake(true, true).is_some() || !open.is_empty() || n == 2);
            }
        }
        for n in 0..3 {
            watch.unfollow(&key(&n.to_string()));
        }
        prop_assert_eq!(watch.wake(true, true), None);
        prop_assert!(watch.watched.is_empty() && watch.crls.is_empty() && watch.responders.is_empty());
        drop(open);
        prop_assert!(watch.lapses.is_empty() && watch.issuers.values().all(|issuer| issuer.strong_count() <= chains.len()));
    }
}
