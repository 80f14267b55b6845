//! How calls to a host went, and whether it is to be ejected for it (Envoy, "Outlier detection").

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use hauberk_config::cluster::{OutlierDetection, Rate};

/// How a call to a host went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A response began. Its status; of a gRPC call that has failed, the status that HTTP has for that.
    Answered(u16),
    /// A connection was made, and the answer is still to come.
    Connected,
    /// A TCP connection was made: nothing more is known of it.
    Joined,
    /// No connection, or one that broke before an answer.
    Failed,
    /// Neither came in time.
    TimedOut,
}

/// Counts of one host, of all workers together.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    errors: AtomicU32,
    gateway_errors: AtomicU32,
    local_failures: AtomicU32,
    calls: Tally,
    local: Tally,
}

/// Within the current interval.
#[derive(Debug, Default)]
struct Tally {
    total: AtomicU32,
    good: AtomicU32,
}

/// A host's calls in an interval, and the percentage of successes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    calls: u32,
    successes: f64,
}

impl Tally {
    fn count(&self, good: bool) {
        self.total.fetch_add(1, Relaxed);
        if good {
            self.good.fetch_add(1, Relaxed);
        }
    }

    /// Begins anew.
    fn close(&self) -> Share {
        let (calls, good) = (self.total.swap(0, Relaxed), self.good.swap(0, Relaxed));
        Share {
            calls,
            successes: f64::from(good.min(calls)) * 100.0 / f64::from(calls.max(1)),
        }
    }
}

impl Verdicts {
    /// Takes note of an outcome. Returns the chance in percent with which the host is to be ejected for its row of
    /// failures, if that is full.
    pub fn note(&self, outcome: Outcome, detection: &OutlierDetection) -> Option<u8> {
        let split = detection.split_local_origin_errors;
        match outcome {
            Outcome::Answered(status) => self.answered(status, detection),
            Outcome::Connected | Outcome::Joined if split => {
                self.local_failures.store(0, Relaxed);
                self.local.count(true);
                None
            }
            Outcome::Connected => None,
            Outcome::Joined => self.answered(200, detection),
            Outcome::Failed | Outcome::TimedOut if split => {
                self.local.count(false);
                full(
                    &self.local_failures,
                    detection.consecutive_local_origin_failure,
                    detection.enforcing_consecutive_local_origin_failure,
                )
            }
            Outcome::Failed => self.answered(503, detection),
            Outcome::TimedOut => self.answered(504, detection),
        }
    }

    fn answered(&self, status: u16, detection: &OutlierDetection) -> Option<u8> {
        let failed = status >= 500;
        self.calls.count(!failed);
        if !failed {
            self.forget_answers();
            return None;
        }
        let gateway = if matches!(status, 502..=504) {
            full(
                &self.gateway_errors,
                detection.consecutive_gateway_failure,
                detection.enforcing_consecutive_gateway_failure,
            )
        } else {
            self.gateway_errors.store(0, Relaxed);
            None
        };
        let any = full(
            &self.errors,
            detection.consecutive_5xx,
            detection.enforcing_consecutive_5xx,
        );
        gateway.max(any)
    }

    fn forget_answers(&self) {
        // A store dirties the cache line that all workers read: nearly always there is nothing to forget.
        for row in [&self.errors, &self.gateway_errors] {
            if row.load(Relaxed) > 0 {
                row.store(0, Relaxed);
            }
        }
    }

    /// An ejected host begins anew.
    pub fn forget_row(&self) {
        self.forget_answers();
        self.local_failures.store(0, Relaxed);
    }

    /// Of answers, and of connecting; counts begin anew.
    pub fn close_interval(&self) -> [Share; 2] {
        [self.calls.close(), self.local.close()]
    }
}

/// One more of a row; says with which chance to act once it has reached its length.
fn full(row: &AtomicU32, length: u32, enforcing: u8) -> Option<u8> {
    let now = row.fetch_add(1, Relaxed) + 1;
    (length > 0 && now >= length && enforcing > 0).then_some(enforcing)
}

/// Of a cluster's hosts, those whose rates are to eject them: their places, and the chance in percent.
pub(crate) fn outliers(shares: &[Share], rule: &Rate) -> Vec<(usize, u8)> {
    let mut out = Vec::new();
    let counted = |least: u32| {
        let told = shares.iter().enumerate();
        told.filter(move |(_, share)| share.calls > 0 && share.calls >= least)
    };
    let compared = counted(rule.success_rate_request_volume).count();
    if rule.enforcing_success_rate > 0
        && compared > 0
        && compared >= rule.success_rate_minimum_hosts as usize
    {
        let rates = || counted(rule.success_rate_request_volume).map(|(_, share)| share.successes);
        let mean = rates().sum::<f64>() / compared as f64;
        let variance = rates().map(|rate| (rate - mean).powi(2)).sum::<f64>() / compared as f64;
        let threshold = mean - variance.sqrt() * f64::from(rule.success_rate_stdev_factor) / 1000.0;
        let below = counted(rule.success_rate_request_volume)
            .filter(|(_, share)| share.successes < threshold);
        out.extend(below.map(|(place, _)| (place, rule.enforcing_success_rate)));
    }
    let counting = counted(rule.failure_percentage_request_volume).count();
    if rule.enforcing_failure_percentage > 0
        && counting >= rule.failure_percentage_minimum_hosts as usize
    {
        let limit = f64::from(rule.failure_percentage_threshold);
        let above = counted(rule.failure_percentage_request_volume)
            .filter(|(_, share)| 100.0 - share.successes >= limit);
        out.extend(above.map(|(place, _)| (place, rule.enforcing_failure_percentage)));
    }
    out
}

#[cfg(test)]
mod tests {
    use Outcome::{Answered, Connected, Failed, TimedOut};

    use super::*;

    fn detection() -> OutlierDetection {
        OutlierDetection {
            consecutive_5xx: 3,
            enforcing_consecutive_5xx: 100,
            consecutive_gateway_failure: 2,
            enforcing_consecutive_gateway_failure: 100,
            consecutive_local_origin_failure: 2,
            enforcing_consecutive_local_origin_failure: 100,
            ..OutlierDetection::default()
        }
    }

    fn row(detection: &OutlierDetection, outcomes: &[Outcome]) -> Vec<bool> {
        let verdicts = Verdicts::default();
        let note = |outcome: &Outcome| verdicts.note(*outcome, detection).is_some();
        outcomes.iter().map(note).collect()
    }

    #[test]
    fn each_row_is_counted_by_itself_and_ended_by_a_success() {
        let plain = [
            Answered(500),
            Answered(500),
            Answered(200),
            Answered(500),
            Answered(500),
            Answered(500),
        ];
        assert_eq!(
            row(&detection(), &plain),
            [false, false, false, false, false, true]
        );
        let gateway = [Answered(503), Answered(500), Answered(502), Answered(504)];
        assert_eq!(
            row(&detection(), &gateway),
            [false, false, true, true],
            "a 500 ends a row of gateway errors"
        );
        assert_eq!(
            row(&detection(), &[Answered(404), Failed, TimedOut]),
            [false, false, true]
        );
    }

    #[test]
    fn failures_of_this_side_are_a_row_of_their_own_where_they_are_split() {
        let split = OutlierDetection {
            split_local_origin_errors: true,
            ..detection()
        };
        assert_eq!(
            row(&split, &[Failed, Answered(500), TimedOut]),
            [false, false, true]
        );
        assert_eq!(
            row(&split, &[Failed, Connected, TimedOut]),
            [false, false, false]
        );
        let off = OutlierDetection {
            enforcing_consecutive_local_origin_failure: 0,
            ..split
        };
        assert_eq!(row(&off, &[Failed, Failed, Failed]), [false, false, false]);
    }

    #[test]
    fn the_one_far_below_the_others_stands_out() {
        let rule = Rate {
            enforcing_success_rate: 100,
            success_rate_minimum_hosts: 5,
            success_rate_request_volume: 10,
            success_rate_stdev_factor: 1900,
            ..Rate::default()
        };
        let shares = |worst: f64, calls: u32| {
            let successes = [99.0, 100.0, 98.0, 99.0, worst];
            successes.map(|successes| Share { calls, successes })
        };
        assert_eq!(outliers(&shares(20.0, 10), &rule), [(4, 100)]);
        assert_eq!(outliers(&shares(97.0, 10), &rule), []);
        assert_eq!(
            outliers(&shares(20.0, 9), &rule),
            [],
            "too few calls to judge by"
        );
        assert_eq!(
            outliers(&shares(20.0, 10)[1..], &rule),
            [],
            "too few hosts to compare"
        );
        let rule = Rate {
            enforcing_failure_percentage: 50,
            failure_percentage_threshold: 80,
            failure_percentage_minimum_hosts: 1,
            failure_percentage_request_volume: 5,
            ..Rate::default()
        };
        assert_eq!(outliers(&shares(20.0, 5), &rule), [(4, 50)]);
        assert_eq!(outliers(&shares(20.1, 5), &rule), []);
    }
}
