//! Which connections are traced. Decided before anything is made for it: what is not traced costs nothing.

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// The share that is traced anyway, and how often clients may ask for it.
#[derive(Debug)]
pub(super) struct Sampling {
    share: f64,
    asked: Option<DefaultDirectRateLimiter>,
}

impl Sampling {
    pub(super) fn new(share: f64, asked_per_second: u32) -> Self {
        let asked =
            NonZeroU32::new(asked_per_second).map(|rate| RateLimiter::direct(Quota::per_second(rate)));
        Self { share, asked }
    }

    /// Whether to trace a connection. `parent`: whether the client's own trace is sampled, if it is in one; `draw`: a
    /// random number from 0 to 1.
    pub(super) fn decide(&self, parent: Option<bool>, draw: f64) -> bool {
        decide(self.share, parent, draw, || self.asked.as_ref().is_some_and(|asked| asked.check().is_ok()))
    }
}

/// As a parent-based sampler, but that nobody can make the node trace everything: what clients ask for beyond the
/// rate is traced by lot, as all else.
fn decide(share: f64, parent: Option<bool>, draw: f64, within_rate: impl FnOnce() -> bool) -> bool {
    match parent {
        Some(false) => false,
        Some(true) => within_rate() || draw < share,
        None => draw < share,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_decides_within_the_rate_and_the_lot_beyond() {
        let never_asked = || -> bool { unreachable!("the rate is for sampled parents") };
        assert!(decide(0.1, None, 0.05, never_asked));
        assert!(!decide(0.1, None, 0.1, never_asked));
        assert!(!decide(1.0, Some(false), 0.0, never_asked));
        assert!(decide(0.0, Some(true), 0.5, || true));
        assert!(!decide(0.1, Some(true), 0.5, || false));
        assert!(decide(0.1, Some(true), 0.05, || false));
    }

    #[test]
    fn a_flood_of_sampled_parents_is_cut_off() {
        let sampling = Sampling::new(0.0, 3);
        let traced = (0..1000).filter(|_| sampling.decide(Some(true), 0.5)).count();
        // A slow machine may see a second go by.
        assert!((3..100).contains(&traced), "{traced}");
        assert!(!Sampling::new(0.0, 0).decide(Some(true), 0.5));
    }
}
