//! Every target, on what is kept of it and on some thousand inputs that nobody has seen.

use std::path::Path;

use hauberk_fuzz::TARGETS;

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
            let mut random = Random(seed + 1);
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

/// Inputs from `corpus/NAME`, in the order of their names.
fn kept(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    paths
        .iter()
        .filter_map(|path| std::fs::read(path).ok())
        .collect()
}

/// SplitMix64: the same inputs at every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).unwrap_or_default()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.below(1024);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// A kept input with some bytes changed, taken out or put in.
    fn changed(&mut self, kept: &[u8]) -> Vec<u8> {
        let mut bytes = kept.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let byte = self.next().to_le_bytes()[0];
            match self.below(3) {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => bytes[at] = byte,
                _ if at < bytes.len() => {
                    bytes.remove(at);
                }
                _ => {}
            }
        }
        bytes
    }
}
