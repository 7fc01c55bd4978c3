#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + hour * 3600).unwrap()
}

fn parties(names: &[&str]) -> BTreeSet<Party> {
    names.iter().map(|name| Party::client(name)).collect()
}

fn facts(names: &[&str]) -> Facts {
    Facts { root_ends: at(24 * 3000), parties: Some(parties(names)), chained_until: None }
}

#[test]
fn a_new_root_issues_once_everybody_has_it_and_the_old_one_goes_once_nothing_needs_it() {
    let mut facts = facts(&["a", "b"]);
    let settled = Rotation::Settled { root: 1 };
    assert_eq!(settled.decide(&facts, at(0)), Step::Wait);
    let published = settled.begin(2, at(0)).unwrap();
    assert_eq!((published.issuing(), published.published()), (1, vec![1, 2]));
    assert_eq!(published.decide(&facts, at(1)), Step::Wait);
    let one = published.confirm(Party::client("b")).unwrap().unwrap();
    assert_eq!(one.missing(&parties(&["a", "b"])), [Party::client("a")]);
    assert_eq!(one.confirm(Party::client("b")).unwrap(), None);
    assert_eq!(one.decide(&facts, at(1)), Step::Wait);
    let both = one.confirm(Party::client("a")).unwrap().unwrap();
    // Nobody knows yet which nodes there are.
    assert_eq!(both.decide(&Facts { parties: None, ..facts.clone() }, at(1)), Step::Wait);
    assert_eq!(both.decide(&facts, at(1)), Step::Issue);

    let replacing = both.issue(at(1)).unwrap();
    assert_eq!((replacing.issuing(), replacing.published()), (2, vec![1, 2]));
    facts.chained_until = Some(at(10));
    assert_eq!(replacing.decide(&facts, at(10)), Step::Wait);
    facts.chained_until = Some(at(10) - SignedDuration::from_nanos(1));
    assert_eq!(replacing.decide(&facts, at(10)), Step::Retire);
    assert_eq!(replacing.retire(), Rotation::Settled { root: 2 });
}

#[test]
fn a_change_begins_a_year_before_the_end_and_ends_waiting_with_it() {
    let facts = facts(&["a"]);
    let settled = Rotation::Settled { root: 1 };
    let year = at(24 * (3000 - 365));
    assert_eq!(settled.decide(&facts, year), Step::Wait);
    assert_eq!(settled.decide(&facts, year + SignedDuration::from_secs(1)), Step::Begin);
    let published = settled.begin(2, year).unwrap();
    assert_eq!(published.decide(&facts, facts.root_ends - SignedDuration::from_secs(1)), Step::Wait);
    assert_eq!(published.decide(&facts, facts.root_ends), Step::Issue);
}

#[test]
fn what_does_not_fit_the_phase_is_refused_with_a_reason() {
    let settled = Rotation::Settled { root: 1 };
    let published = settled.begin(2, at(0)).unwrap();
    let replacing = published.issue(at(1)).unwrap();
    assert!(published.begin(3, at(0)).unwrap_err().contains("is being changed already"));
    assert!(replacing.begin(3, at(0)).is_err());
    assert_eq!(settled.issue(at(0)).unwrap_err(), "there is no new root to issue from");
    assert_eq!(replacing.issue(at(0)).unwrap_err(), "the new root issues already");
    assert!(settled.confirm(Party::clients()).is_err() && replacing.confirm(Party::clients()).is_err());
    assert!(settled.cancel(false).is_err());
    assert_eq!(published.cancel(false), Ok(settled.clone()));
    assert_eq!(replacing.cancel(false), Ok(settled));
    assert!(replacing.cancel(true).unwrap_err().contains("has issued already"));
}

#[test]
fn the_state_on_disk_is_stable() {
    let published = Rotation::Settled { root: 1 }.begin(2, at(0)).unwrap();
    let confirmed = published.confirm(Party::node("n1")).unwrap().unwrap();
    let text = serde_json::to_string(&confirmed).unwrap();
    assert_eq!(
        text,
        "{\"phase\":\"published\",\"root\":1,\"next\":2,\"since\":\"2027-01-15T08:00:00Z\",\
         \"confirmed\":[\"node n1\"]}"
    );
    assert_eq!(serde_json::from_str::<Rotation>(&text).unwrap(), confirmed);
}

/// What may happen from outside, in any order.
#[derive(Clone, Debug)]
enum Event {
    Begin,
    Confirm(usize),
    Force,
    Cancel,
    Issue,
    Join(usize),
    Leave(usize),
    Hours(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Begin),
        (0..4_usize).prop_map(Event::Confirm),
        Just(Event::Force),
        Just(Event::Cancel),
        Just(Event::Issue),
        (0..4_usize).prop_map(Event::Join),
        (0..4_usize).prop_map(Event::Leave),
        (1..40_i64).prop_map(Event::Hours),
    ]
}

/// A CA whose leaves live for a day, and what the world knows of it.
struct World {
    rotation: Rotation,
    now: Timestamp,
    newest: u64,
    members: BTreeSet<usize>,
    /// Members that have each root: those that confirmed it, and everybody for the first.
    trusting: BTreeSet<(usize, u64)>,
    /// Ends of leaves by root.
    leaves: Vec<(u64, Timestamp)>,
    forced: bool,
    ends: std::collections::BTreeMap<u64, Timestamp>,
}

impl World {
    fn facts(&self) -> Facts {
        let issuing = self.rotation.issuing();
        let others = self.leaves.iter().filter(|(root, _)| *root != issuing);
        Facts {
            root_ends: self.ends[&issuing],
            parties: Some(self.members.iter().map(|member| Party::client(&member.to_string())).collect()),
            chained_until: others.map(|(_, end)| *end).max(),
        }
    }

    fn begin(&mut self) {
        if let Ok(next) = self.rotation.begin(self.newest + 1, self.now) {
            self.newest += 1;
            self.ends.insert(self.newest, self.now + SignedDuration::from_hours(24 * 600));
            self.rotation = next;
        }
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Begin => self.begin(),
            Event::Confirm(member) => {
                if let Ok(Some(next)) = self.rotation.confirm(Party::client(&member.to_string())) {
                    self.rotation = next;
                    self.trusting.insert((*member, self.newest));
                }
            }
            Event::Force => {
                if let Ok(next) = self.rotation.issue(self.now) {
                    (self.rotation, self.forced) = (next, true);
                }
            }
            Event::Cancel => {
                let issuing = self.rotation.issuing();
                let has_issued = self.leaves.iter().any(|(root, _)| *root == issuing);
                if let Ok(next) = self.rotation.cancel(has_issued) {
                    self.rotation = next;
                }
            }
            Event::Issue => {
                let root = self.rotation.issuing();
                let end = (self.now + SignedDuration::from_hours(24)).min(self.ends[&root]);
                if end > self.now {
                    self.leaves.push((root, end));
                }
            }
            // Whoever joins gets what is published from the first moment on.
            Event::Join(member) => {
                if self.members.insert(*member) {
                    for root in self.rotation.published() {
                        self.trusting.insert((*member, root));
                    }
                }
            }
            Event::Leave(member) => {
                self.members.remove(member);
            }
            Event::Hours(hours) => self.now += SignedDuration::from_hours(*hours),
        }
    }

    fn step(&mut self) {
        for _ in 0..4 {
            match self.rotation.decide(&self.facts(), self.now) {
                Step::Wait => return,
                Step::Begin => self.begin(),
                Step::Issue => {
                    let facts = self.facts();
                    let missing = self.rotation.missing(facts.parties.as_ref().unwrap());
                    assert!(
                        missing.is_empty() || self.now >= facts.root_ends,
                        "issues too early: {missing:?}"
                    );
                    self.rotation = self.rotation.issue(self.now).unwrap();
                }
                Step::Retire => self.rotation = self.rotation.retire(),
            }
        }
        panic!("does not come to rest: {:?}", self.rotation);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Every valid leaf builds to a published root at all times; what issues is published; numbers only grow;
    /// and as long as nobody forces it, a member can verify every leaf.
    #[test]
    fn nothing_valid_is_cut_off(events in prop::collection::vec(event(), 1..120)) {
        let mut world = World {
            rotation: Rotation::Settled { root: 1 },
            now: at(0),
            newest: 1,
            members: BTreeSet::from([0]),
            trusting: BTreeSet::from([(0, 1)]),
            leaves: Vec::new(),
            forced: false,
            ends: [(1, at(24 * 500))].into(),
        };
        for event in &events {
            world.apply(event);
            world.step();
            let published = world.rotation.published();
            prop_assert!(published.contains(&world.rotation.issuing()));
            prop_assert!(published.len() <= 2 && published.is_sorted());
            world.leaves.retain(|(_, end)| *end >= world.now);
            for (root, _) in &world.leaves {
                prop_assert!(published.contains(root), "root-{root} is retired too early: {:?}", world.rotation);
                if !world.forced && world.members.contains(&0) {
                    prop_assert!(world.trusting.contains(&(0, *root)), "member 0 cannot verify root-{root}");
                }
            }
        }
    }
}
