//! A token bucket as one number: the time at which it would be full again (ITU-T I.371, the virtual scheduling algorithm).

use std::sync::atomic::{AtomicU64, Ordering};

use hauberk_config::rate_limit::TokenBucket;

/// Fills at an even pace, not by leaps at the end of an interval.
#[derive(Debug)]
pub struct Bucket {
    most: u64,
    /// Nanoseconds for a token, in 1/1024.
    pace: u128,
    /// Nanoseconds of the clock at which it is full.
    full_at: AtomicU64,
}

/// What came of taking a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub within: bool,
    pub most: u64,
    /// Whole tokens left.
    pub remaining: u64,
    /// Nanoseconds until the next token.
    pub next: u64,
}

const PARTS: u128 = 1024;

impl Bucket {
    pub fn new(told: TokenBucket) -> Self {
        Self {
            most: told.most.max(1).into(),
            pace: (told.interval.as_nanos() * PARTS / u128::from(told.fill.max(1))).max(1),
            full_at: AtomicU64::new(0),
        }
    }

    /// Rounded up, so that no more is given than was told.
    fn nanoseconds(&self, tokens: u64) -> u64 {
        u64::try_from((u128::from(tokens) * self.pace).div_ceil(PARTS)).unwrap_or(u64::MAX)
    }

    /// Takes a token, if there is one. `now` is nanoseconds of a clock that does not go back.
    pub fn take(&self, now: u64) -> Taken {
        let token = self.nanoseconds(1).max(1);
        let whole = token.saturating_mul(self.most);
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let from = full_at.max(now);
            let after = from.saturating_add(token);
            if after - now > whole {
                return Taken {
                    within: false,
                    most: self.most,
                    remaining: 0,
                    next: after - now - whole,
                };
            }
            match self.full_at.compare_exchange_weak(
                full_at,
                after,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    let left = (whole - (after - now)) / token;
                    return Taken {
                        within: true,
                        most: self.most,
                        remaining: left,
                        next: if left == 0 { token } else { 0 },
                    };
                }
                Err(found) => full_at = found,
            }
        }
    }

    /// Whether it is full: as good as a new one.
    pub fn is_full(&self, now: u64) -> bool {
        self.full_at.load(Ordering::Relaxed) <= now
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn bucket(most: u32, fill: u32, interval: Duration) -> Bucket {
        Bucket::new(TokenBucket {
            most,
            fill,
            interval,
        })
    }

    #[test]
    fn it_gives_what_it_holds_and_then_what_it_gains() {
        let bucket = bucket(3, 10, Duration::from_secs(1));
        let now = 7 * SECOND;
        let left: Vec<u64> = (0..3).map(|_| bucket.take(now).remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        let refused = bucket.take(now);
        assert_eq!((refused.within, refused.next), (false, SECOND / 10));
        assert!(!bucket.take(now + SECOND / 10 - 1).within);
        assert!(bucket.take(now + SECOND / 10).within);
        assert!(!bucket.take(now + SECOND / 10).within);
        assert!(!bucket.is_full(now + SECOND / 3) && bucket.is_full(now + SECOND));
        let again = now + 100 * SECOND;
        assert_eq!((0..9).filter(|_| bucket.take(again).within).count(), 3);
    }

    #[test]
    fn over_a_long_time_it_gives_what_it_was_told_whatever_the_numbers() {
        for (most, fill, interval) in [
            (1, 1, Duration::from_millis(50)),
            (5, 7, Duration::from_secs(3)),
            (1000, 3_000_000, Duration::from_secs(1)),
            (u32::MAX, 1, Duration::from_secs(3600)),
        ] {
            let bucket = bucket(most, fill, interval);
            let step = (interval.as_nanos() as u64 / u64::from(fill)).max(1) / 3 + 1;
            let (mut now, mut given) = (SECOND, 0_u64);
            for _ in 0..30_000 {
                now += step;
                given += u64::from(bucket.take(now).within);
            }
            let span = u128::from(now - SECOND);
            let gained = span * u128::from(fill) / interval.as_nanos();
            let most_given = gained + u128::from(most) + 1;
            let least = gained.min(30_000) * 99 / 100;
            assert!(
                u128::from(given) <= most_given
                    && u128::from(given) >= least.min(most_given) * 9 / 10,
                "{given} of {gained} with {most}"
            );
        }
    }

    #[test]
    fn threads_share_it() {
        let bucket = bucket(1000, 1, Duration::from_secs(3600));
        let given: usize = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| bucket.take(SECOND).within).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|one| one.join().unwrap_or(0)).sum()
        });
        assert_eq!(given, 1000);
    }
}
