//! Generations of drills: presented to handshakes that offer the drill's protocol, and to nobody else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::served::Served;

/// A drill takes seconds. One whose end was never told must not stay.
pub(crate) const LASTS: Duration = Duration::from_secs(60);

/// The shadows at one instant, by certificate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shadows {
    set: Arc<ArcSwap<BTreeMap<String, Shadow>>>,
}

#[derive(Clone, Debug)]
struct Shadow {
    served: Arc<Served>,
    until: Instant,
}

impl Shadows {
    /// Presents a generation from the next drill's handshake on, for at most [`LASTS`].
    pub(crate) fn present(&self, served: Arc<Served>, now: Instant) {
        let shadow = Shadow { served, until: now + LASTS };
        self.set.rcu(|set| {
            let mut set = BTreeMap::clone(set);
            set.insert(shadow.served.certificate.clone(), shadow.clone());
            set
        });
    }

    /// Ends the shadow of one generation.
    pub(crate) fn discard(&self, certificate: &str, generation: u64) {
        self.retain(|shadow| {
            (&*shadow.served.certificate, shadow.served.generation) != (certificate, generation)
        });
    }

    /// Ends those whose time is over.
    pub(crate) fn sweep(&self, now: Instant) {
        self.retain(|shadow| now < shadow.until);
    }

    /// Ends all.
    pub(crate) fn clear(&self) {
        self.retain(|_| false);
    }

    fn retain(&self, stays: impl Fn(&Shadow) -> bool) {
        if self.set.load().values().all(&stays) {
            return;
        }
        self.set.rcu(|set| {
            let mut set = BTreeMap::clone(set);
            set.retain(|_, shadow| stays(shadow));
            set
        });
    }

    /// The shadow for a name; for clients that name no server, any.
    pub(crate) fn find(&self, name: Option<&str>, now: Instant) -> Option<Arc<Served>> {
        let set = self.set.load();
        let mut current = set.values().filter(|shadow| now < shadow.until).map(|shadow| &shadow.served);
        match name {
            None => current.next(),
            Some(name) => current.find(|served| covers(&served.leaf.names, name)),
        }
        .cloned()
    }
}

/// Whether a name is among names and wildcards.
fn covers(names: &[String], name: &str) -> bool {
    let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
    names.iter().any(|have| {
        have.eq_ignore_ascii_case(name)
            || wildcard.as_ref().is_some_and(|wildcard| have.eq_ignore_ascii_case(wildcard))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::validate::tests::{bundle_for, checked};

    fn found(shadows: &Shadows, name: &str, now: Instant) -> Option<(String, u64)> {
        shadows.find(Some(name), now).map(|served| (served.certificate.clone(), served.generation))
    }

    #[test]
    fn a_shadow_is_found_by_its_names_until_it_is_discarded() {
        let (shadows, now) = (Shadows::default(), Instant::now());
        shadows.present(Arc::new(checked(&bundle_for("one", 3, &["a.example", "*.w.example"]))), now);
        shadows.present(Arc::new(checked(&bundle_for("two", 4, &["b.example"]))), now);
        assert_eq!(found(&shadows, "A.example", now), Some(("one".into(), 3)));
        assert_eq!(found(&shadows, "x.w.example", now), Some(("one".into(), 3)));
        assert_eq!(found(&shadows, "y.x.w.example", now), None);
        assert_eq!(shadows.find(None, now).map(|served| served.generation), Some(3));
        shadows.discard("one", 2);
        assert!(found(&shadows, "a.example", now).is_some(), "another generation");
        shadows.discard("one", 3);
        assert_eq!(found(&shadows, "a.example", now), None);
        assert_eq!(found(&shadows, "b.example", now), Some(("two".into(), 4)));
        shadows.clear();
        assert!(shadows.set.load().is_empty());
    }

    #[test]
    fn a_shadow_ends_by_itself() {
        let (shadows, now) = (Shadows::default(), Instant::now());
        shadows.present(Arc::new(checked(&bundle_for("one", 1, &["a.example"]))), now);
        let last = now + LASTS - Duration::from_millis(1);
        assert!(found(&shadows, "a.example", last).is_some());
        assert!(found(&shadows, "a.example", now + LASTS).is_none());
        shadows.sweep(now + LASTS);
        assert!(shadows.set.load().is_empty(), "and its key is not kept");
    }
}
