//! Many rules, each with a literal that it needs somewhere in one text: which of them a given text may fit.

use std::collections::HashMap;

use crate::prefixes::Prefixes;
use crate::text::Landmark;

/// Numbers of rules by the literal that they need.
#[derive(Debug)]
pub struct Index {
    plain: Case,
    folded: Case,
}

#[derive(Debug)]
struct Case {
    exact: HashMap<Box<str>, Vec<u32>>,
    prefixes: Prefixes<u32>,
    /// Spelled backwards.
    suffixes: Prefixes<u32>,
}

impl Index {
    /// Each entry: the literal, whether case is ignored (the literal is in lower case then), the rule's number.
    pub fn new<'a>(entries: impl IntoIterator<Item = (Landmark<'a>, bool, u32)>) -> Self {
        let (folded, plain): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(_, folds, _)| *folds);
        Self {
            plain: Case::new(plain),
            folded: Case::new(folded),
        }
    }

    /// Adds the rules that `text` may fit, in no order, some of them more than once.
    pub fn find(&self, text: &str, found: &mut Vec<u32>) {
        self.plain.find(text, found);
        if !self.folded.is_empty() {
            self.folded.find(&text.to_ascii_lowercase(), found);
        }
    }
}

impl Case {
    fn new(entries: Vec<(Landmark<'_>, bool, u32)>) -> Self {
        let mut exact: HashMap<Box<str>, Vec<u32>> = HashMap::new();
        let (mut prefixes, mut suffixes) = (Vec::new(), Vec::new());
        for (landmark, _, rule) in entries {
            match landmark {
                Landmark::Exact(text) => exact.entry(text.into()).or_default().push(rule),
                Landmark::Prefix(text) => prefixes.push((text.as_bytes().to_vec(), rule)),
                Landmark::Suffix(text) => suffixes.push((backwards(text), rule)),
            }
        }
        Self {
            exact,
            prefixes: Prefixes::new(prefixes),
            suffixes: Prefixes::new(suffixes),
        }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty() && self.suffixes.is_empty()
    }

    fn find(&self, text: &str, found: &mut Vec<u32>) {
        if !self.exact.is_empty()
            && let Some(rules) = self.exact.get(text)
        {
            found.extend(rules);
        }
        if !self.prefixes.is_empty() {
            found.extend(self.prefixes.of(text.as_bytes()).flatten());
        }
        if !self.suffixes.is_empty() {
            found.extend(self.suffixes.of(&backwards(text)).flatten());
        }
    }
}

fn backwards(text: &str) -> Vec<u8> {
    text.bytes().rev().collect()
}
