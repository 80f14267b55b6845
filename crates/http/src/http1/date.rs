//! The `date` field (RFC 9110 §6.6.1), written once a second for each thread.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use hauberk_telemetry::timestamp::Calendar;

thread_local! {
    static LAST: RefCell<(u64, [u8; 29])> = const { RefCell::new((0, [b' '; 29])) };
}

/// Hands the date of now over, as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn with_date<T>(use_it: impl FnOnce(&[u8]) -> T) -> T {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    LAST.with_borrow_mut(|(written, text)| {
        if *written != seconds {
            *text = imf_fixdate(seconds);
            *written = seconds;
        }
        use_it(text)
    })
}

/// RFC 9110 §5.6.7.
fn imf_fixdate(seconds: u64) -> [u8; 29] {
    const DAYS: &[u8] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let Calendar { year, month, day } = Calendar::of(seconds / 86_400);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let weekday = 3 * (seconds / 86_400 % 7) as usize;
    let month = 3 * (month as usize - 1);
    text[..3].copy_from_slice(&DAYS[weekday..weekday + 3]);
    text[8..11].copy_from_slice(&MONTHS[month..month + 3]);
    for (place, number) in [
        (5..7, day),
        (12..16, year),
        (17..19, seconds / 3600 % 24),
        (20..22, seconds / 60 % 60),
        (23..25, seconds % 60),
    ] {
        let mut rest = number;
        for digit in text[place].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        ] {
            assert_eq!(&imf_fixdate(seconds), text.as_bytes());
        }
    }
}
