#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SETTLE: SignedDuration = SignedDuration::from_mins(5);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn book() -> Book {
    Book::new(Kept::default(), 7, SETTLE)
}

/// Through JSON, as by a restart.
fn restarted(book: &Book) -> Book {
    let text = serde_json::to_string(&book.keep()).unwrap();
    Book::new(serde_json::from_str(&text).unwrap(), 7, SETTLE)
}

fn events(news: &[(Incident, Event)]) -> Vec<(&str, Event)> {
    news.iter().map(|(incident, event)| (incident.about.as_str(), *event)).collect()
}

#[test]
fn one_incident_from_open_to_resolved() {
    let mut book = book();
    assert_eq!(book.raise(Kind::Refused, "web", at(0), "one"), Raised::Opened);
    assert_eq!(book.unwritten(), Unwritten::Transition);
    assert_eq!(events(&book.tell()), [("web", Event::Opened)]);
    book.written();
    assert_eq!(book.raise(Kind::Refused, "web", at(5), "two"), Raised::Updated);
    assert_eq!(book.unwritten(), Unwritten::Update);
    let open = book.open().next().unwrap().clone();
    assert_eq!((open.text.as_str(), open.count, open.since, open.updated), ("two", 2, at(0), at(5)));

    assert_eq!(book.clear(Kind::Refused, "web", at(10)).unwrap().id, open.id);
    assert!(book.clear(Kind::Refused, "web", at(11)).is_none(), "over once");
    assert_eq!(book.open().count(), 0);
    assert_eq!(book.next(), Some(at(310)));
    book.settle(at(309));
    assert_eq!(book.tell(), [], "it has not settled");
    book.settle(at(310));
    let news = book.tell();
    assert_eq!(events(&news), [("web", Event::Resolved)]);
    assert_eq!((news[0].0.id.as_str(), news[0].0.over), (open.id.as_str(), Some(at(10))));
    assert_eq!(book.past().count(), 1);

    // Later on it is another one.
    assert_eq!(book.raise(Kind::Refused, "web", at(311), "again"), Raised::Opened);
    assert_ne!(book.open().next().unwrap().id, open.id);
}

#[test]
fn flapping_is_one_incident_and_told_once() {
    let mut book = book();
    book.raise(Kind::Unproven, "web", at(0), "first");
    let id = book.open().next().unwrap().id.clone();
    assert_eq!(book.tell().len(), 1);
    for round in 1..50 {
        let now = at(round * 60);
        book.clear(Kind::Unproven, "web", now);
        book.settle(now);
        assert_eq!(book.raise(Kind::Unproven, "web", at(round * 60 + 30), "again"), Raised::Reopened);
        assert_eq!(book.tell(), []);
    }
    let open = book.open().next().unwrap();
    assert_eq!((open.id.as_str(), open.count, open.since), (id.as_str(), 50, at(0)));
}

#[test]
fn what_was_not_told_before_a_crash_is_told_after_it() {
    let mut book = book();
    book.raise(Kind::Disk, "state directory", at(0), "full");
    // On disk as it was before receivers were told.
    let mut again = restarted(&book);
    assert_eq!(events(&again.tell()), [("state directory", Event::Opened)]);
    assert_eq!(restarted(&again).tell(), []);
    again.clear(Kind::Disk, "state directory", at(1));
    again.settle(at(1000));
    let mut last = restarted(&again);
    assert_eq!(events(&last.tell()), [("state directory", Event::Resolved)]);
    assert_eq!(restarted(&last).tell(), []);
}

#[test]
fn a_clock_set_back_delays_no_resolution_for_ever() {
    let mut book = book();
    book.raise(Kind::Disk, "x", at(1_000_000), "full");
    book.clear(Kind::Disk, "x", at(1_000_000));
    book.settle(at(100));
    book.settle(at(400));
    assert_eq!(book.past().count(), 1);
}

#[test]
fn there_is_a_limit_and_warnings_do_not_use_up_that_of_critical_ones() {
    let mut book = book();
    for number in 0..MOST_OPEN + 10 {
        book.raise(Kind::ExpiresSoon, &format!("c{number}"), at(0), "soon");
    }
    assert_eq!(book.open().count(), MOST_OPEN);
    assert_eq!(book.raise(Kind::Unproven, "other", at(0), ""), Raised::Full);
    assert_eq!(book.raise(Kind::ExpiresSoon, "c1", at(0), "still"), Raised::Updated);
    assert_eq!(book.raise(Kind::Expired, "c1", at(0), "gone"), Raised::Opened);
    for number in 0..MOST_OPEN {
        book.clear(Kind::ExpiresSoon, &format!("c{number}"), at(0));
    }
    book.settle(at(1000));
    assert_eq!(book.past().count(), MOST_OPEN, "nobody was told yet");
    book.tell();
    book.settle(at(1000));
    assert_eq!(book.past().count(), REMEMBERED);
}

#[test]
fn long_texts_are_cut_between_characters() {
    let mut book = book();
    let long = "ä".repeat(2000);
    book.raise(Kind::Disk, &long, at(0), &long);
    assert!(book.says(Kind::Disk, &long, &long));
    let open = book.open().next().unwrap();
    assert_eq!((open.about.len(), open.text.len()), (MAX_ABOUT_BYTES, MAX_TEXT_BYTES));
    assert!(book.clear(Kind::Disk, &long, at(1)).is_some());
}

#[derive(Clone, Debug)]
enum Happening {
    Raise(usize),
    Clear(usize),
    Pass(i64),
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0..6_usize).prop_map(Happening::Raise),
        (0..6_usize).prop_map(Happening::Clear),
        (0..400_i64).prop_map(Happening::Pass),
        Just(Happening::Restart),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_each_incident_is_told_once_in_order(
        happenings in proptest::collection::vec(happening(), 1..200),
    ) {
        let mut book = book();
        let mut now = 0;
        let mut told: BTreeMap<String, Vec<Event>> = BTreeMap::new();
        let about = |number: usize| (Kind::ALL[number % 3 + 6], ["a", "b"][number % 2]);
        let mut wrong = [false; 6];
        for happening in happenings {
            match happening {
                Happening::Raise(number) => {
                    let (kind, subject) = about(number);
                    let fresh = !book.current().any(|one| (one.kind, one.about.as_str()) == (kind, subject));
                    let raised = book.raise(kind, subject, at(now), "text");
                    prop_assert_eq!(raised == Raised::Opened, fresh);
                    wrong[number] = true;
                }
                Happening::Clear(number) => {
                    let (kind, subject) = about(number);
                    prop_assert_eq!(book.clear(kind, subject, at(now)).is_some(), wrong[number]);
                    wrong[number] = false;
                }
                Happening::Pass(seconds) => now += seconds,
                Happening::Restart => book = restarted(&book),
            }
            book.settle(at(now));
            for (incident, event) in book.tell() {
                told.entry(incident.id).or_default().push(event);
            }
            prop_assert_eq!(book.open().count(), wrong.iter().filter(|wrong| **wrong).count());
            prop_assert!(book.past().count() <= REMEMBERED);
            for incident in book.current() {
                prop_assert_eq!(&told[&incident.id][..], &[Event::Opened]);
            }
        }
        now += 300;
        for number in 0..6 {
            let (kind, subject) = about(number);
            book.clear(kind, subject, at(now));
        }
        book.settle(at(now + 300));
        for (incident, event) in book.tell() {
            told.entry(incident.id).or_default().push(event);
        }
        prop_assert!(told.values().all(|events| events[..] == [Event::Opened, Event::Resolved]), "{told:?}");
    }
}
