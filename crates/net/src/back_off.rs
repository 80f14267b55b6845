//! How long to wait before the next attempt to connect: twice as long each time, bounded, and jittered so that proxies do
//! not come back in step.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

const LEAST: Duration = Duration::from_millis(50);
const MOST: Duration = Duration::from_secs(5);
/// A connection that lasted so long was a good one: the next wait is the least again.
const STEADY: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct BackOff {
    wait: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self::new()
    }
}

impl BackOff {
    pub fn new() -> Self {
        Self { wait: LEAST }
    }

    /// The wait after a connection that lasted for `lasted`: between half and all of the bound reached so far.
    pub fn after(&mut self, lasted: Duration) -> Duration {
        if lasted >= STEADY {
            self.wait = LEAST;
        }
        let bound = self.wait;
        self.wait = (bound * 2).min(MOST);
        let share = (RandomState::new().hash_one(()) % 1_000) as f64 / 1_000.0;
        bound / 2 + (bound / 2).mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_start_over_after_a_steady_connection() {
        let mut back_off = BackOff::new();
        for bound in [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000].map(Duration::from_millis) {
            let wait = back_off.after(Duration::ZERO);
            assert!(bound / 2 <= wait && wait <= bound, "{wait:?} of {bound:?}");
        }
        assert!(back_off.after(STEADY) <= LEAST);
    }
}
