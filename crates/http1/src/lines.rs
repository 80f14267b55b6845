//! Finding the empty line that ends a head, or trailers, as bytes arrive. Each byte is looked at once.

use memchr::memchr;

use crate::malformed::Malformed;

/// Bounds of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole head.
    pub head: usize,
    /// Bytes of the first line.
    pub first_line: usize,
    pub fields: usize,
}

/// How far a head has been looked through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeadSearch {
    seen: usize,
    line: usize,
    lines: usize,
}

/// Where a head lies in the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Behind an empty line that came first (§2.2 lets a server pass over it).
    pub start: usize,
    /// Behind the empty line.
    pub end: usize,
}

impl HeadSearch {
    /// Goes on in `bytes`, which are those of the last time and more. `None`: the end has not come.
    ///
    /// # Errors
    /// A line that ends without CR, or a bound that is passed.
    pub fn find(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<Found>, Malformed> {
        let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
        if self.line < start {
            self.line = start;
            self.seen = start;
        }
        while let Some(at) = memchr(b'\n', bytes.get(self.seen..).unwrap_or_default()) {
            let end = self.seen + at;
            if end == 0 || bytes[end - 1] != b'\r' || end == self.line {
                return Err(Malformed::BareLineFeed);
            }
            let length = end - 1 - self.line;
            self.seen = end + 1;
            self.line = end + 1;
            if length == 0 {
                return if self.lines == 0 {
                    Err(Malformed::RequestLine)
                } else if end + 1 > limits.head {
                    Err(Malformed::HeadTooLarge)
                } else {
                    Ok(Some(Found {
                        start,
                        end: end + 1,
                    }))
                };
            }
            if self.lines == 0 && length > limits.first_line {
                return Err(Malformed::RequestLineTooLong);
            }
            if self.lines > limits.fields {
                return Err(Malformed::TooManyFields);
            }
            self.lines += 1;
        }
        self.seen = bytes.len().max(self.seen);
        if self.lines == 0 && bytes.len() - start.min(bytes.len()) > limits.first_line {
            return Err(Malformed::RequestLineTooLong);
        }
        if bytes.len() > limits.head {
            return Err(Malformed::HeadTooLarge);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        head: 64,
        first_line: 20,
        fields: 3,
    };

    fn find(bytes: &[u8]) -> Result<Option<Found>, Malformed> {
        HeadSearch::default().find(bytes, &LIMITS)
    }

    #[test]
    fn the_end_is_found_wherever_the_bytes_are_cut() {
        let head = b"\r\nGET / HTTP/1.1\r\na: 1\r\n\r\nrest";
        for cut in 0..head.len() {
            let mut search = HeadSearch::default();
            let first = search.find(&head[..cut], &LIMITS);
            let found = match first {
                Ok(None) => search.find(head, &LIMITS),
                found => found,
            };
            assert_eq!(found, Ok(Some(Found { start: 2, end: 26 })), "{cut}");
        }
    }

    #[test]
    fn bare_lf_ends_no_line() {
        for bad in [
            &b"GET / HTTP/1.1\n"[..],
            b"GET / HTTP/1.1\r\na: 1\n\r\n",
            b"GET / HTTP/1.1\r\n\n",
            b"\nGET / HTTP/1.1\r\n",
        ] {
            assert_eq!(find(bad), Err(Malformed::BareLineFeed), "{bad:?}");
        }
    }

    #[test]
    fn bounds_hold_before_the_end_has_come() {
        assert_eq!(find(&[b'a'; 20]), Ok(None));
        assert_eq!(find(&[b'a'; 21]), Err(Malformed::RequestLineTooLong));
        let many = b"G / HTTP/1.1\r\na:1\r\na:1\r\na:1\r\na:1\r\n";
        assert_eq!(find(many), Err(Malformed::TooManyFields));
        let mut large = b"G / HTTP/1.1\r\na:".to_vec();
        large.resize(65, b'a');
        assert_eq!(find(&large), Err(Malformed::HeadTooLarge));
        assert_eq!(find(b"\r\n\r\n"), Err(Malformed::RequestLine));
    }
}
