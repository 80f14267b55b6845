//! Buckets by what is counted apart, as it comes up; no more than a bound of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hauberk_config::rate_limit::TokenBucket;

use crate::bucket::{Bucket, Taken};

/// All that share a size and a pace.
#[derive(Debug)]
pub struct Buckets {
    told: TokenBucket,
    most: usize,
    known: Mutex<HashMap<Box<str>, Arc<Bucket>>>,
}

impl Buckets {
    pub fn new(told: TokenBucket, most: u32) -> Self {
        Self {
            told,
            most: (most as usize).max(1),
            known: Mutex::default(),
        }
    }

    pub fn take(&self, key: &str, now: u64) -> Taken {
        self.of(key, now).take(now)
    }

    fn of(&self, key: &str, now: u64) -> Arc<Bucket> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = known.get(key) {
            return Arc::clone(bucket);
        }
        if known.len() >= self.most {
            make_room(&mut known, now);
        }
        let bucket = Arc::new(Bucket::new(self.told));
        known.insert(key.into(), Arc::clone(&bucket));
        bucket
    }
}

/// Full ones are as good as new ones. Without any a quarter goes, so that room is not made for each newcomer: whoever
/// comes under ever new names has a bucket each anyway.
fn make_room(known: &mut HashMap<Box<str>, Arc<Bucket>>, now: u64) {
    let before = known.len();
    known.retain(|_, bucket| !bucket.is_full(now));
    if known.len() == before {
        let mut place = 0_usize;
        known.retain(|_, _| {
            place += 1;
            !place.is_multiple_of(4)
        });
        if known.len() == before {
            known.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_key_has_its_own_and_their_number_is_bounded() {
        let told = TokenBucket {
            most: 2,
            fill: 1,
            interval: Duration::from_secs(3600),
        };
        let buckets = Buckets::new(told, 8);
        for key in ["a", "b"] {
            let found: Vec<bool> = (0..3).map(|_| buckets.take(key, 5).within).collect();
            assert_eq!(found, [true, true, false]);
        }
        for number in 0..1000 {
            assert!(buckets.take(&number.to_string(), 5).within);
        }
        let known = buckets.known.lock().map_or(0, |known| known.len());
        assert!(known <= 8, "{known}");
    }
}
