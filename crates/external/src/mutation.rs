//! Changes of headers that an answer asks for. What would change where a message goes, how long it is or who its caller
//! is stays as it was, whoever asks.

use envoy_types::pb::envoy::config::core::v3 as core;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Changes in the order in which they are made; removals come last.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mutations {
    changes: Vec<Change>,
    removals: Vec<HeaderName>,
    /// Changes that cannot be made, and are not.
    pub refused: usize,
}

#[derive(Debug, PartialEq, Eq)]
struct Change {
    name: HeaderName,
    value: HeaderValue,
    action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Overwrite,
    OverwriteIfPresent,
    AddIfAbsent,
    /// Behind what is there, or as the first.
    Append,
    /// Behind what is there; nothing where nothing is.
    AppendIfPresent,
}

impl Mutations {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.removals.is_empty()
    }

    pub fn change(&mut self, name: &str, value: &[u8], action: Action) {
        match (changeable(name), HeaderValue::from_bytes(value)) {
            (Some(name), Ok(value)) => self.changes.push(Change {
                name,
                value,
                action,
            }),
            _ => self.refused += 1,
        }
    }

    pub fn remove(&mut self, name: &str) {
        match changeable(name) {
            Some(name) => self.removals.push(name),
            None => self.refused += 1,
        }
    }

    /// As Envoy reads its own message; `append` is what an append without `append_action` means.
    pub fn options(&mut self, told: &[core::HeaderValueOption], append: Action) {
        use core::header_value_option::HeaderAppendAction as A;
        for option in told {
            let Some(header) = &option.header else {
                self.refused += 1;
                continue;
            };
            let value = if header.raw_value.is_empty() {
                header.value.as_bytes()
            } else {
                &header.raw_value
            };
            #[allow(deprecated)]
            let old = option.append.as_ref().map(|append| append.value);
            let action = match (old, A::try_from(option.append_action)) {
                (Some(true), _) => append,
                (Some(false), _) => Action::Overwrite,
                (None, Ok(A::AppendIfExistsOrAdd)) => Action::Append,
                (None, Ok(A::AddIfAbsent)) => Action::AddIfAbsent,
                (None, Ok(A::OverwriteIfExistsOrAdd)) => Action::Overwrite,
                (None, Ok(A::OverwriteIfExists)) => Action::OverwriteIfPresent,
                (None, Err(_)) => {
                    self.refused += 1;
                    continue;
                }
            };
            if header.value.is_empty()
                && header.raw_value.is_empty()
                && !option.keep_empty_value
                && action == Action::Append
            {
                continue;
            }
            self.change(&header.key, value, action);
        }
    }

    pub fn apply(&self, headers: &mut HeaderMap) {
        for Change {
            name,
            value,
            action,
        } in &self.changes
        {
            let present = headers.contains_key(name);
            match action {
                Action::Overwrite => {
                    headers.insert(name, value.clone());
                }
                Action::OverwriteIfPresent if present => {
                    headers.insert(name, value.clone());
                }
                Action::AddIfAbsent if !present => {
                    headers.insert(name, value.clone());
                }
                Action::Append => {
                    headers.append(name, value.clone());
                }
                Action::AppendIfPresent if present => {
                    headers.append(name, value.clone());
                }
                Action::OverwriteIfPresent | Action::AddIfAbsent | Action::AppendIfPresent => {}
            }
        }
        for name in &self.removals {
            headers.remove(name);
        }
    }
}

/// A header's name, if an answer may change it: no pseudo-header, nothing of one connection (RFC 9110 §7.6.1), of the
/// message's length or of the caller's proved identity.
fn changeable(name: &str) -> Option<HeaderName> {
    let name = HeaderName::try_from(name).ok()?;
    let fixed = matches!(
        name.as_str(),
        "keep-alive" | "proxy-connection" | "x-forwarded-client-cert"
    );
    let framing = [
        header::HOST,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    (!fixed && !framing.contains(&name)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(make: impl FnOnce(&mut Mutations)) -> (Vec<String>, usize) {
        let mut headers = HeaderMap::new();
        headers.insert("a", HeaderValue::from_static("1"));
        headers.insert("host", HeaderValue::from_static("h"));
        let mut mutations = Mutations::default();
        make(&mut mutations);
        mutations.apply(&mut headers);
        let text = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}={}", value.to_str().unwrap_or("?"))
        };
        (headers.iter().map(text).collect(), mutations.refused)
    }

    #[test]
    fn each_action_does_what_it_is_called() {
        for (action, present, absent) in [
            (Action::Overwrite, "a=2 host=h", "a=1 host=h b=2"),
            (Action::OverwriteIfPresent, "a=2 host=h", "a=1 host=h"),
            (Action::AddIfAbsent, "a=1 host=h", "a=1 host=h b=2"),
            (Action::Append, "a=1 a=2 host=h", "a=1 host=h b=2"),
            (Action::AppendIfPresent, "a=1 a=2 host=h", "a=1 host=h"),
        ] {
            for (name, expected) in [("A", present), ("b", absent)] {
                let (found, refused) = changed(|one| one.change(name, b"2", action));
                assert_eq!(
                    (found.join(" ").as_str(), refused),
                    (expected, 0),
                    "{action:?}"
                );
            }
        }
        let (found, _) = changed(|one| one.remove("A"));
        assert_eq!(found, ["host=h"]);
    }

    #[test]
    fn what_steers_a_message_is_not_changed() {
        for name in [
            ":path",
            ":status",
            "",
            "a b",
            "a\r\nb",
            "Host",
            "Connection",
            "content-length",
            "TE",
            "transfer-encoding",
            "upgrade",
            "keep-alive",
            "proxy-connection",
            "trailer",
            "X-Forwarded-Client-Cert",
        ] {
            let (found, refused) = changed(|one| {
                one.change(name, b"2", Action::Overwrite);
                one.remove(name);
            });
            assert_eq!(
                (found, refused),
                (vec!["a=1".into(), "host=h".into()], 2),
                "{name:?}"
            );
        }
        for value in [&b"x\r\nset-cookie: y"[..], b"x\ny", b"x\ry", b"x\0y"] {
            let (found, refused) = changed(|one| one.change("a", value, Action::Overwrite));
            assert_eq!((found, refused), (vec!["a=1".into(), "host=h".into()], 1));
        }
    }
}
