//! Regular expressions, compiled once a worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use regex::Regex;

/// Patterns kept; more than a configuration has.
const MOST: usize = 1024;

thread_local! {
    static COMPILED: RefCell<HashMap<String, Option<Rc<Regex>>>> = RefCell::default();
}

/// `None`: it is no regular expression.
fn compiled(pattern: &str) -> Option<Rc<Regex>> {
    COMPILED.with_borrow_mut(|compiled| {
        if let Some(known) = compiled.get(pattern) {
            return known.clone();
        }
        if compiled.len() >= MOST {
            compiled.clear();
        }
        let new = Regex::new(pattern).ok().map(Rc::new);
        if new.is_none() {
            tracing::error!(pattern, "not a regular expression; it matches nothing");
        }
        compiled.insert(pattern.to_owned(), new.clone());
        new
    })
}

/// Whether `pattern` matches the whole of `text`.
pub fn fits(pattern: &str, text: &str) -> bool {
    compiled(&format!("^(?:{pattern})$")).is_some_and(|regex| regex.is_match(text))
}

/// Replaces all matches; `\\1` in `substitution` is a group (RE2).
pub fn replace(pattern: &str, text: &str, substitution: &str) -> String {
    let Some(regex) = compiled(pattern) else {
        return text.to_owned();
    };
    let mut template = String::with_capacity(substitution.len());
    let mut characters = substitution.chars();
    while let Some(character) = characters.next() {
        match character {
            '$' => template.push_str("$$"),
            '\\' => match characters.next() {
                Some(digit) if digit.is_ascii_digit() => {
                    template.push_str(&format!("${{{digit}}}"))
                }
                Some(other) => template.push(other),
                None => {}
            },
            other => template.push(other),
        }
    }
    regex.replace_all(text, template.as_str()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_text_must_match() {
        assert!(fits(
            ".*/ns/bank/.*",
            "spiffe://cluster.local/ns/bank/sa/web"
        ));
        assert!(!fits("a|b", "ab"));
        assert!(!fits("(", "("));
    }

    #[test]
    fn groups_are_put_back() {
        assert_eq!(replace("^/v(\\d+)/(.*)$", "/v1/a$", "/\\2/\\1"), "/a$/1");
    }
}
