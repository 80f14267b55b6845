//! Paths made plain before rules and routes read them, so that one place has one name: what `/%61dmin` means to a program,
//! `/a/../admin` and `/admin` have to mean to a policy too.

use std::borrow::Cow;

use hauberk_config::connection_manager::{EscapedSlashes, PathNormalization};
use http::Uri;

/// What becomes of a request's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Normalized {
    Same,
    /// Another path, with the query as it was.
    Path(String),
    /// The caller should ask for this instead.
    Redirect(String),
    /// No path that this proxy passes on.
    Reject,
}

/// Escaped slashes first, then RFC 3986 §6.2.2 (unreserved characters unescaped, dot segments removed, `\` as `/`), then
/// doubled slashes: Envoy's order.
pub fn normalized(uri: &Uri, settings: &PathNormalization) -> Normalized {
    let old = uri.path();
    if !old.starts_with('/') {
        return Normalized::Same;
    }
    let mut path = Cow::Borrowed(old);
    let mut redirect = false;
    if settings.escaped_slashes != EscapedSlashes::Keep && holds_escaped_slash(&path) {
        match settings.escaped_slashes {
            EscapedSlashes::Reject => return Normalized::Reject,
            EscapedSlashes::UnescapeAndRedirect => redirect = true,
            EscapedSlashes::UnescapeAndForward | EscapedSlashes::Keep => {}
        }
        path = Cow::Owned(unescaped(&path, |byte| matches!(byte, b'/' | b'\\')));
    }
    if settings.normalize {
        if path.contains('%') {
            path = Cow::Owned(unescaped(&path, is_unreserved));
        }
        if path.contains('\\') {
            path = Cow::Owned(path.replace('\\', "/"));
        }
        if path.contains("/.") {
            path = Cow::Owned(without_dots(&path));
        }
    }
    if settings.merge_slashes {
        while path.contains("//") {
            path = Cow::Owned(path.replace("//", "/"));
        }
    }
    if path == old {
        return Normalized::Same;
    }
    let mut path = path.into_owned();
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    if redirect {
        Normalized::Redirect(path)
    } else {
        Normalized::Path(path)
    }
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn holds_escaped_slash(path: &str) -> bool {
    path.as_bytes()
        .windows(3)
        .any(|triple| matches!(escaped(triple), Some(b'/' | b'\\')))
}

/// The byte that `%XX` stands for, if that is what it is.
fn escaped(triple: &[u8]) -> Option<u8> {
    let &[b'%', high, low] = triple else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Puts in place the escaped ASCII characters that `wanted` picks.
fn unescaped(path: &str, wanted: impl Fn(u8) -> bool) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        match rest.as_bytes().get(..3).and_then(escaped) {
            Some(byte) if byte.is_ascii() && wanted(byte) => {
                plain.push(char::from(byte));
                rest = &rest[3..];
            }
            _ => {
                plain.push('%');
                rest = &rest[1..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

/// RFC 3986 §5.2.4: what leads above the root ends at the root.
fn without_dots(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "." => {}
            ".." => {
                segments.pop();
            }
            part => {
                segments.push(part);
                continue;
            }
        }
        if last {
            segments.push("");
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: PathNormalization = PathNormalization {
        normalize: true,
        merge_slashes: true,
        escaped_slashes: EscapedSlashes::UnescapeAndForward,
    };

    fn path(text: &str, settings: PathNormalization) -> Normalized {
        normalized(&Uri::try_from(text).unwrap_or_default(), &settings)
    }

    #[test]
    fn one_place_has_one_name() {
        for text in [
            "/%61dmin/x",
            "/a/../admin/x",
            "/a/%2e%2E/admin/x",
            "/a/.%2e/admin/./x",
            "//admin//x",
            "/admin%2fx",
            "/admin%5Cx",
            "/a%2F..%2fadmin/x",
            "/../../admin/x",
        ] {
            assert_eq!(
                path(text, PLAIN),
                Normalized::Path("/admin/x".into()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_plain_stays() {
        for text in [
            "/",
            "/a/b?q=%61/../b",
            "/a%20b",
            "/a%25b",
            "/%zz",
            "/a..b/.c",
            "*",
        ] {
            assert_eq!(path(text, PLAIN), Normalized::Same, "{text}");
        }
    }

    #[test]
    fn escaped_slashes_are_kept_refused_or_redirected() {
        let with = |escaped_slashes| PathNormalization {
            escaped_slashes,
            ..PathNormalization::default()
        };
        let text = "/a%2Fb?q=1";
        assert_eq!(path(text, with(EscapedSlashes::Keep)), Normalized::Same);
        assert_eq!(path(text, with(EscapedSlashes::Reject)), Normalized::Reject);
        assert_eq!(
            path(text, with(EscapedSlashes::UnescapeAndRedirect)),
            Normalized::Redirect("/a/b?q=1".into())
        );
    }

    #[test]
    fn nothing_changes_twice() {
        let alphabet = [
            "/", ".", "%2e", "%2F", "%5c", "a", "%61", "%", "2", "//", "%25",
        ];
        for seed in 0_usize..20_000 {
            let mut number = seed;
            let mut text = String::from("/");
            while number > 0 {
                text.push_str(alphabet[number % alphabet.len()]);
                number /= alphabet.len();
            }
            let once = match path(&text, PLAIN) {
                Normalized::Path(path) => path,
                _ => text.clone(),
            };
            let dots = once.split('/').any(|part| part == "." || part == "..");
            assert!(!dots, "{text} became {once}");
        }
    }
}
