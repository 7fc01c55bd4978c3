//! A swap over several nodes: every paired node holds the new generation before any serves it. Pure; instants
//! come in as arguments.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A generation on its way to be held by all.
#[derive(Clone, Debug)]
pub struct Swap {
    generation: u64,
    since: Instant,
    /// Nodes that hold it.
    prepared: BTreeSet<String>,
    /// Nodes that cannot for reasons of their own: they get it once it is committed, like one that comes late.
    excused: BTreeSet<String>,
    /// Nodes that were there before the agent started again, and are about to come back.
    awaited: BTreeSet<String>,
}

impl Swap {
    /// A swap to `generation` that waits a while for `awaited` to come back.
    #[must_use]
    pub fn new(generation: u64, awaited: BTreeSet<String>, now: Instant) -> Self {
        Self { generation, since: now, prepared: BTreeSet::new(), excused: BTreeSet::new(), awaited }
    }

    /// What is to be served.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A node holds it.
    pub fn prepared(&mut self, node: &str) {
        self.prepared.insert(node.to_owned());
    }

    /// A node cannot hold it, and that says nothing about the generation.
    pub fn excuse(&mut self, node: &str) {
        self.excused.insert(node.to_owned());
    }

    /// A node is gone, and what it held with it.
    pub fn left(&mut self, node: &str) {
        self.prepared.remove(node);
        self.excused.remove(node);
    }

    /// Whether it is time to commit: every node that is `paired` holds it or is excused. After a restart of the
    /// agent, nodes that have not come back are waited for until `patience` is over.
    #[must_use]
    pub fn is_ready<'a>(
        &self,
        paired: impl IntoIterator<Item = &'a str>,
        patience: Duration,
        now: Instant,
    ) -> bool {
        let paired: BTreeSet<&str> = paired.into_iter().collect();
        let complete = self.awaited.iter().all(|node| paired.contains(node.as_str()));
        let settled = |node: &&str| self.prepared.contains(*node) || self.excused.contains(*node);
        (complete || now >= self.since + patience) && paired.iter().all(settled)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn all_paired_nodes_must_hold_it() {
        let now = Instant::now();
        let mut swap = Swap::new(2, BTreeSet::new(), now);
        assert!(swap.is_ready([], PATIENCE, now), "nobody is there to hold it");
        assert!(!swap.is_ready(["a", "b"], PATIENCE, now));
        swap.prepared("a");
        assert!(!swap.is_ready(["a", "b"], PATIENCE, now));
        assert!(swap.is_ready(["a"], PATIENCE, now), "b is gone");
        swap.excuse("b");
        assert!(swap.is_ready(["a", "b"], PATIENCE, now));
        // What a node held was forgotten with its connection.
        swap.left("a");
        assert!(!swap.is_ready(["a", "b"], PATIENCE, now + PATIENCE));
    }

    #[test]
    fn nodes_are_waited_for_after_a_restart_but_not_for_ever() {
        let now = Instant::now();
        let mut swap = Swap::new(2, ["a".to_owned(), "b".to_owned()].into(), now);
        assert!(!swap.is_ready([], PATIENCE, now));
        swap.prepared("a");
        assert!(!swap.is_ready(["a"], PATIENCE, now));
        assert!(swap.is_ready(["a"], PATIENCE, now + PATIENCE));
        swap.prepared("b");
        assert!(swap.is_ready(["a", "b"], PATIENCE, now));
    }

    proptest! {
        /// Never ready while a paired node neither holds it nor is excused.
        #[test]
        fn never_committed_past_a_node(script in prop::collection::vec((0_u8..5, 0_usize..3), 0..40)) {
            const NODES: [&str; 3] = ["a", "b", "c"];
            let mut now = Instant::now();
            let mut swap = Swap::new(1, ["a".to_owned()].into(), now);
            let (mut paired, mut holds) = (BTreeSet::new(), BTreeSet::new());
            for (kind, node) in script {
                let node = NODES[node];
                match kind {
                    0 => { paired.insert(node); }
                    1 => { paired.remove(node); holds.remove(node); swap.left(node); }
                    2 if paired.contains(node) => { holds.insert(node); swap.prepared(node); }
                    3 if paired.contains(node) => { holds.insert(node); swap.excuse(node); }
                    _ => now += Duration::from_secs(3),
                }
                if swap.is_ready(paired.iter().copied(), PATIENCE, now) {
                    prop_assert!(paired.is_subset(&holds));
                } else {
                    let all = paired.is_subset(&holds);
                    prop_assert!(!all || (!paired.contains("a") && now < swap.since + PATIENCE));
                }
            }
        }
    }
}
