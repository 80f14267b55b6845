//! Every target, on what is kept of it and on some thousand inputs that nobody has seen.

use hauberk_fuzz::TARGETS;
use hauberk_fuzz::inputs::{Random, kept};

/// Inputs for each target, beside those that are kept.
const CASES: u64 = 2_000;

#[test]
fn what_is_kept_passes() {
    for (name, run) in TARGETS {
        for input in kept(name) {
            run(&input);
        }
    }
}

#[test]
fn what_nobody_has_seen_passes() {
    for (name, run) in TARGETS {
        let kept = kept(name);
        for seed in 0..CASES {
            let mut random = Random::new(seed + 1);
            let input =
                match kept.get(usize::try_from(seed / 2).unwrap_or_default() % kept.len().max(1)) {
                    Some(kept) if seed % 2 == 0 => random.changed(kept),
                    _ => random.bytes(),
                };
            let outcome = std::panic::catch_unwind(|| run(&input));
            assert!(
                outcome.is_ok(),
                "target {name}, seed {seed}, input {input:?}"
            );
        }
    }
}
