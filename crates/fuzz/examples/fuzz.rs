//! `fuzz SECONDS [TARGET…]`: new inputs for each target, so long. What fails is kept in its folder, where `make test` finds
//! it again, and ends this with exit code 1.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hauberk_fuzz::TARGETS;
use hauberk_fuzz::inputs::{Random, folder, kept};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(seconds) = arguments.next().and_then(|text| text.parse().ok()) else {
        eprintln!("usage: fuzz SECONDS [TARGET…]");
        return ExitCode::from(2);
    };
    let wanted: Vec<String> = arguments.collect();
    let mut failed = false;
    for (name, run) in TARGETS {
        if wanted.is_empty() || wanted.iter().any(|one| one == name) {
            failed |= !fuzz(name, run, Duration::from_secs(seconds));
        }
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Whether nothing failed.
fn fuzz(name: &str, run: fn(&[u8]), time: Duration) -> bool {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = since.map_or(0, |since| since.as_nanos() as u64);
    let (mut random, kept) = (Random::new(seed), kept(name));
    let (started, mut cases) = (Instant::now(), 0_u64);
    while started.elapsed() < time {
        let from = random.below(kept.len() + 1);
        let input = kept
            .get(from)
            .map_or_else(|| random.bytes(), |kept| kept.clone());
        let input = if from < kept.len() {
            random.changed(&input)
        } else {
            input
        };
        cases += 1;
        if std::panic::catch_unwind(|| run(&input)).is_err() {
            let path = folder(name).join(format!("found-{seed:016x}-{cases}"));
            let written =
                std::fs::create_dir_all(folder(name)).and_then(|()| std::fs::write(&path, &input));
            eprintln!("{name}: failed; kept as {} ({written:?})", path.display());
            return false;
        }
    }
    println!("{name}: {cases} inputs, seed {seed}");
    true
}
