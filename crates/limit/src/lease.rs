//! A share of a limit that a service knows, asked for before it is used, so that no request waits for the service.
//!
//! A request takes a hit of the share. When half of the share is used more is asked for, in the background. Until the
//! first share has come (at the start, and when a window of the service's began) a few requests pass on trust; they are
//! asked for together with the share. Where the service says that the limit is reached, requests are refused until its
//! window ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Requests that pass on trust while the limit is not known yet.
const TRUST: u32 = 8;
/// The largest share.
const MOST: u32 = 1024;
/// How large a part of the limit a share may be: what it leaves unused is lost to the others.
const PART: u32 = 20;
/// A share that is used up sooner is too small.
const BRISK: Duration = Duration::from_millis(200);
/// How long a share holds, and a refusal, where the service does not say.
const WINDOW: Duration = Duration::from_secs(1);
/// Before a service that did not answer is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// What the service answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub within: bool,
    pub limit: Option<u32>,
    pub remaining: u32,
    pub reset: Option<Duration>,
}

/// What a request may do, and what the service is to be asked for now, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub within: bool,
    /// Hits.
    pub ask: Option<u32>,
    pub limit: Option<u32>,
    pub remaining: u32,
    /// Until the service's window ends.
    pub reset: Duration,
}

#[derive(Debug)]
pub struct Lease(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Hits that may be used until `until`.
    share: u32,
    until: Option<Instant>,
    /// Hits of the share when it came.
    given: u32,
    came: Option<Instant>,
    /// Passed on trust, and not asked for yet.
    owed: u32,
    /// On trust since the last answer.
    trusted: u32,
    asking: bool,
    /// The limit is reached until then.
    reached: Option<Instant>,
    /// The service did not answer; it is asked again then.
    away: Option<Instant>,
    size: u32,
    limit: Option<u32>,
    /// What the service had left beside our share.
    beyond: u32,
    used: Instant,
}

impl Lease {
    fn new(now: Instant) -> Self {
        Self(Mutex::new(State {
            share: 0,
            until: None,
            given: 0,
            came: None,
            owed: 0,
            trusted: 0,
            asking: false,
            reached: None,
            away: None,
            size: 1,
            limit: None,
            beyond: 0,
            used: now,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a hit. `deny`: refuse while the service does not answer.
    pub fn take(&self, now: Instant, deny: bool) -> Wanted {
        let mut state = self.state();
        state.used = now;
        let within = state.take(now, deny);
        let ask = state.ask(now);
        let end = state.reached.or(state.until);
        Wanted {
            within,
            ask,
            limit: state.limit,
            remaining: if within {
                state.beyond.saturating_add(state.share)
            } else {
                0
            },
            reset: end.map_or(Duration::ZERO, |end| end.saturating_duration_since(now)),
        }
    }

    /// What came of asking for `hits`; `None`: no answer.
    pub fn settle(&self, now: Instant, hits: u32, answer: Option<Answer>) {
        let mut state = self.state();
        state.asking = false;
        let Some(answer) = answer else {
            state.away = Some(now + PAUSE);
            return;
        };
        state.away = None;
        let owed = state.owed.min(hits);
        state.owed -= owed;
        state.trusted = 0;
        state.limit = answer.limit.or(state.limit);
        state.beyond = answer.remaining;
        let end = now + answer.reset.unwrap_or(WINDOW);
        if answer.within {
            let brisk = state.came.is_some_and(|came| now - came < BRISK);
            state.resize(brisk);
            state.share += hits - owed;
            state.given = state.share;
            state.came = Some(now);
            state.until = Some(end);
            state.reached = None;
        } else {
            state.reached = Some(end);
            state.size = (state.size / 2).max(1);
        }
    }
}

impl State {
    fn take(&mut self, now: Instant, deny: bool) -> bool {
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
            self.share = 0;
        }
        if self.reached.is_some_and(|reached| reached <= now) {
            self.reached = None;
        }
        if self.share > 0 {
            self.share -= 1;
            return true;
        }
        if self.reached.is_some() {
            return false;
        }
        if self.away.is_some() {
            self.owed = if deny {
                0
            } else {
                self.owed.saturating_add(1).min(MOST)
            };
            return !deny;
        }
        if self.trusted >= self.trust() {
            return false;
        }
        self.trusted += 1;
        self.owed += 1;
        true
    }

    /// While nothing is known of a window that has begun.
    fn trust(&self) -> u32 {
        self.limit.map_or(TRUST, |limit| (limit / PART).max(1))
    }

    fn ask(&mut self, now: Instant) -> Option<u32> {
        let full = self.share > self.given / 2;
        let later = |at: Option<Instant>| at.is_some_and(|at| at > now);
        if self.asking || full || later(self.reached) || later(self.away) {
            return None;
        }
        self.asking = true;
        Some(self.owed.saturating_add(self.size).max(1))
    }

    /// A share that is used up at once is doubled, within its part of the limit.
    fn resize(&mut self, brisk: bool) {
        let wanted = if brisk { self.size * 2 } else { self.size };
        let most = self
            .limit
            .map_or(MOST, |limit| (limit / PART).clamp(1, MOST));
        self.size = wanted.clamp(1, most);
    }
}

/// The leases of one limit, by descriptor; no more than a bound of them.
#[derive(Debug)]
pub struct Leases {
    most: usize,
    known: Mutex<HashMap<Box<str>, Arc<Lease>>>,
}

impl Leases {
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            known: Mutex::default(),
        }
    }

    /// The lease of a descriptor. Where there are too many, the half that was used longest ago is given up.
    pub fn of(&self, key: &str, now: Instant) -> Arc<Lease> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lease) = known.get(key) {
            return Arc::clone(lease);
        }
        if known.len() >= self.most {
            let mut used: Vec<Instant> = known.values().map(|one| one.state().used).collect();
            used.sort_unstable();
            let median = used[used.len() / 2];
            known.retain(|_, lease| lease.state().used > median);
        }
        let lease = Arc::new(Lease::new(now));
        known.insert(key.into(), Arc::clone(&lease));
        lease
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A service with so many hits in each window, and a proxy that asks it.
    struct World {
        now: Instant,
        limit: u32,
        window: Duration,
        ends: Instant,
        hits: u32,
    }

    impl World {
        fn new(limit: u32) -> Self {
            let now = Instant::now();
            let window = Duration::from_secs(60);
            Self {
                now,
                limit,
                window,
                ends: now + window,
                hits: 0,
            }
        }

        fn advance(&mut self, time: Duration) {
            self.now += time;
            while self.now >= self.ends {
                self.ends += self.window;
                self.hits = 0;
            }
        }

        fn answer(&mut self, hits: u32) -> Answer {
            self.hits = self.hits.saturating_add(hits);
            Answer {
                within: self.hits <= self.limit,
                limit: Some(self.limit),
                remaining: self.limit.saturating_sub(self.hits),
                reset: Some(self.ends - self.now),
            }
        }
    }

    #[test]
    fn a_limit_is_kept_and_nearly_all_of_it_is_used() {
        for limit in [1, 5, 20, 100, 5000] {
            let mut world = World::new(limit);
            let lease = Lease::new(world.now);
            for _ in 0..3 {
                let mut passed = 0;
                for _ in 0..limit * 2 + 10 {
                    let wanted = lease.take(world.now, true);
                    passed += u32::from(wanted.within);
                    // The answer comes before the next request.
                    if let Some(hits) = wanted.ask {
                        let answer = world.answer(hits);
                        lease.settle(world.now, hits, Some(answer));
                    }
                    world.advance(Duration::from_micros(100));
                }
                assert!(passed <= limit, "{passed} of {limit}");
                assert!(passed >= limit - limit / 7, "{passed} of {limit}");
                world.advance(Duration::from_secs(60));
            }
        }
    }

    #[test]
    fn what_passes_before_an_answer_is_bounded_and_asked_for() {
        let mut world = World::new(1000);
        let lease = Lease::new(world.now);
        let found: Vec<Wanted> = (0..100).map(|_| lease.take(world.now, true)).collect();
        let passed = found.iter().filter(|one| one.within).count();
        assert_eq!(passed as u32, TRUST);
        let asked: Vec<u32> = found.iter().filter_map(|one| one.ask).collect();
        assert_eq!(asked, [2], "one question at a time");
        let answer = world.answer(2);
        lease.settle(world.now, 2, Some(answer));
        let wanted = lease.take(world.now, true);
        let ask = Some(TRUST - 2 + 1 + 1);
        assert_eq!(wanted.ask, ask, "what passed, this one too, and one more");
    }

    #[test]
    fn without_an_answer_it_is_as_told_and_the_service_is_asked_again_after_a_pause() {
        for deny in [true, false] {
            let now = Instant::now();
            let lease = Lease::new(now);
            let hits = lease.take(now, deny).ask;
            assert_eq!(hits, Some(2));
            lease.settle(now, 2, None);
            let later = now + PAUSE / 2;
            let found: Vec<Wanted> = (0..50).map(|_| lease.take(later, deny)).collect();
            assert!(
                found
                    .iter()
                    .all(|one| one.within != deny && one.ask.is_none())
            );
            assert!(lease.take(now + PAUSE, deny).ask.is_some());
            let answer = Answer {
                within: true,
                limit: Some(1000),
                remaining: 900,
                reset: None,
            };
            lease.settle(now + PAUSE, 60, Some(answer));
            assert!(lease.take(now + PAUSE, deny).within);
        }
    }

    #[test]
    fn a_share_does_not_outlive_its_window() {
        let mut world = World::new(1000);
        let lease = Lease::new(world.now);
        let hits = lease.take(world.now, true).ask;
        let answer = world.answer(100);
        lease.settle(world.now, hits.unwrap_or(0) + 98, Some(answer));
        world.advance(Duration::from_secs(61));
        let wanted = lease.take(world.now, true);
        assert!(
            wanted.within && wanted.ask.is_some(),
            "on trust, and asked for anew"
        );
    }

    #[test]
    fn their_number_is_bounded() {
        let leases = Leases::new(10);
        let mut now = Instant::now();
        for number in 0..1000 {
            now += Duration::from_millis(1);
            leases.of(&number.to_string(), now).take(now, true);
        }
        assert!(leases.known.lock().map_or(0, |known| known.len()) <= 10);
    }
}
