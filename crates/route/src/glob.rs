//! Regular expressions that are only literals and wildcards, as control planes write them for namespaces and path
//! templates (`spiffe://[^/]+/ns/bank/sa/[^/]+`), matched without a regular expression's automaton.

/// Literals, `[^/]+` or `[^/]*` before a slash or the end, and `.+` or `.*` anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    /// From the start of the text, as far as what fits is determined.
    head: Vec<Step>,
    /// Runs of anything, each with the literal after it; the last literal ends the text.
    tail: Vec<(Anything, Box<str>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Literal(Box<str>),
    /// Up to the next slash or the end.
    Segment {
        may_be_empty: bool,
    },
}

/// Any characters but line feeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Anything {
    may_be_empty: bool,
}

impl Glob {
    /// `None`: the pattern says more than that.
    pub fn parse(pattern: &str) -> Option<Self> {
        let mut glob = Self {
            head: Vec::new(),
            tail: Vec::new(),
        };
        let mut literal = String::new();
        let mut rest = pattern;
        while let Some(character) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("[^/]") {
                let (may_be_empty, after) = repeated(after)?;
                let determined = after.is_empty() || after.starts_with('/');
                if !determined || !glob.tail.is_empty() {
                    return None;
                }
                glob.end_literal(&mut literal);
                glob.head.push(Step::Segment { may_be_empty });
                rest = after;
            } else if let Some(after) = rest.strip_prefix('.') {
                let (may_be_empty, after) = repeated(after)?;
                glob.end_literal(&mut literal);
                glob.tail.push((Anything { may_be_empty }, "".into()));
                rest = after;
            } else if let Some(after) = rest.strip_prefix('\\') {
                let escaped = after.chars().next().filter(char::is_ascii_punctuation)?;
                literal.push(escaped);
                rest = &after[1..];
            } else if "^$|()[]{}?*+".contains(character) {
                return None;
            } else {
                literal.push(character);
                rest = &rest[character.len_utf8()..];
            }
        }
        glob.end_literal(&mut literal);
        Some(glob)
    }

    fn end_literal(&mut self, literal: &mut String) {
        let text = std::mem::take(literal);
        if let Some((_, after)) = self.tail.last_mut() {
            *after = text.into();
        } else if !text.is_empty() {
            self.head.push(Step::Literal(text.into()));
        }
    }

    /// Whether runs of anything are in it, which no line feed may be in.
    pub fn minds_line_feeds(&self) -> bool {
        !self.tail.is_empty()
    }

    /// What every text that fits begins with.
    pub fn prefix(&self) -> &str {
        match self.head.first() {
            Some(Step::Literal(text)) => text,
            _ => "",
        }
    }

    /// Whether the whole of `text` fits; it has no line feed in it if [`Self::minds_line_feeds`].
    pub fn fits(&self, text: &str) -> bool {
        let mut rest = text;
        for step in &self.head {
            match step {
                Step::Literal(literal) => match rest.strip_prefix(&**literal) {
                    Some(after) => rest = after,
                    None => return false,
                },
                Step::Segment { may_be_empty } => {
                    let end = rest.find('/').unwrap_or(rest.len());
                    if end == 0 && !may_be_empty {
                        return false;
                    }
                    rest = &rest[end..];
                }
            }
        }
        let Some(((last, end), middle)) = self.tail.split_last() else {
            return rest.is_empty();
        };
        for (anything, literal) in middle {
            // The first place is the best one: what comes after it has the most room.
            let Some(from) = anything.skip(rest) else {
                return false;
            };
            match from.find(&**literal) {
                Some(at) => rest = &from[at + literal.len()..],
                None => return false,
            }
        }
        last.skip(rest).is_some_and(|rest| rest.ends_with(&**end))
    }
}

impl Anything {
    /// The text after the least that this run takes.
    fn skip(self, text: &str) -> Option<&str> {
        if self.may_be_empty {
            return Some(text);
        }
        let first = text.chars().next()?;
        Some(&text[first.len_utf8()..])
    }
}

/// The quantifier `+` or `*` at the start: whether nothing fits, and the rest.
fn repeated(text: &str) -> Option<(bool, &str)> {
    let (may_be_empty, rest) = match text.strip_prefix('*') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+')?),
    };
    // A second quantifier changes the first.
    (!rest.starts_with(['?', '*', '+', '{'])).then_some((may_be_empty, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    /// All texts of up to `length` characters of `alphabet`.
    fn texts(alphabet: &[&str], length: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut last = all.clone();
        for _ in 0..length {
            last = last
                .iter()
                .flat_map(|text| alphabet.iter().map(move |one| format!("{text}{one}")))
                .collect();
            all.extend(last.iter().cloned());
        }
        all
    }

    #[test]
    fn a_glob_fits_what_its_pattern_fits() {
        let candidates = texts(&["a", "b", "/", "é"], 4);
        let mut globs = 0;
        for pattern in texts(&["a", "b", "/", "[^/]+", "[^/]*", ".+", ".*", "\\."], 4) {
            let Some(glob) = Glob::parse(&pattern) else {
                continue;
            };
            globs += 1;
            let regex = Regex::new(&format!("^(?:{pattern})$")).unwrap_or_else(|_| panic!());
            for text in &candidates {
                assert_eq!(
                    glob.fits(text),
                    regex.is_match(text),
                    "{pattern} on {text:?}"
                );
                assert!(!glob.fits(text) || text.starts_with(glob.prefix()));
            }
        }
        assert!(globs > 1000, "{globs}");
    }

    #[test]
    fn what_says_more_is_no_glob() {
        for pattern in [
            "a|b", "(a)", "a+", "[^/]+a", "[^/]{2}", "a.b", ".+?", "^a", "\\d", ".*[^/]+", "a?",
            "[^/]+?",
        ] {
            assert_eq!(Glob::parse(pattern), None, "{pattern}");
        }
        assert!(Glob::parse("spiffe://[^/]+/ns/bank/sa/[^/]+").is_some());
        assert!(Glob::parse(".*/ns/bank/.*").is_some());
    }
}
