//! What became of a container, in a file that outlives every process.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(tag = "phase", rename_all = "lowercase")]
pub enum State {
    Running {
        /// Host PID of the container's init.
        pid: i32,
        /// Host PID of the monitor.
        monitor: i32,
        /// The specification it runs from.
        spec: PathBuf,
        started_at: String,
    },
    Exited {
        exit_code: i32,
        /// The signal that ended it, 0 if none did.
        signal: i32,
        started_at: String,
        finished_at: String,
        /// `Completed`, `Error`, `OOMKilled` or `StartError`.
        reason: String,
        message: String,
    },
}

impl State {
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).map_err(|e| Error::io("read the state", path, &e))?;
        serde_json::from_slice(&text)
            .map_err(|e| Error::new(format!("state {}: {e}", path.display())))
    }

    /// Replaces the file as one step, so that a reader sees the old state or the new one.
    pub fn write(&self, path: &Path) -> Result<()> {
        let temporary = path.with_extension("tmp");
        let text = serde_json::to_vec(self).map_err(|e| Error::new(format!("state: {e}")))?;
        let written = (|| {
            let mut file = File::create(&temporary)?;
            file.write_all(&text)?;
            file.sync_data()?;
            fs::rename(&temporary, path)
        })();
        written.map_err(|e| Error::io("write the state", path, &e))
    }
}

/// Room on disk for a container's last state, taken before it starts: a disk that fills up costs no exit code.
pub struct Room {
    file: File,
    place: PathBuf,
    state: PathBuf,
}

impl Room {
    const BYTES: usize = 4096;

    pub fn take(state: &Path) -> Result<Self> {
        let place = state.with_extension("end");
        let made = (|| {
            let mut file = File::create(&place)?;
            file.write_all(&[b' '; Self::BYTES])?;
            file.sync_data()?;
            Ok(file)
        })();
        let file = made.map_err(|e| Error::io("take room for the exit code at", &place, &e))?;
        let state = state.to_owned();
        Ok(Room { file, place, state })
    }

    /// Replaces the state as one step. The text is written over the room; what is left of it are spaces, as JSON allows.
    pub fn write(&self, state: &State) -> Result<()> {
        let mut text = serde_json::to_vec(state).map_err(|e| Error::new(format!("state: {e}")))?;
        if text.len() < Self::BYTES {
            text.resize(Self::BYTES, b' ');
        }
        self.file
            .write_all_at(&text, 0)
            .and_then(|()| self.file.sync_data())
            .and_then(|()| fs::rename(&self.place, &self.state))
            .map_err(|e| Error::io("write the state", &self.state, &e))
    }
}

/// The time now, RFC 3339 in UTC with nanoseconds, as the CRI log format has it.
pub fn now() -> String {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format_time(elapsed.as_secs(), elapsed.subsec_nanos())
}

fn format_time(seconds: u64, nanoseconds: u32) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let rest = seconds % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{nanoseconds:09}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// The Gregorian date of a number of days since 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::format_time;

    #[test]
    fn times_are_written_as_rfc_3339_has_them() {
        assert_eq!(format_time(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(
            format_time(951_782_400, 5),
            "2000-02-29T00:00:00.000000005Z"
        );
        assert_eq!(
            format_time(1_767_225_599, 999_999_999),
            "2025-12-31T23:59:59.999999999Z"
        );
    }
}
