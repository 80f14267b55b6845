//! String matchers, compiled: what a text must look like.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};

use hauberk_config::matcher::{StringMatcher, StringPattern};
use regex::Regex;

use crate::glob::Glob;

/// One matcher.
#[derive(Debug, Clone)]
pub struct Text {
    shape: Shape,
    /// ASCII case is ignored; the shape's literal is in lower case then.
    folds: bool,
}

#[derive(Debug, Clone)]
enum Shape {
    Exact(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Contains(Box<str>),
    Glob(Glob, Box<str>),
    Regex(Box<Regex>),
    /// A pattern that does not compile (the decoder lets none in) fits nothing.
    Never,
}

/// A literal that every text which fits has in a place where an index can look for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Landmark<'a> {
    Exact(&'a str),
    Prefix(&'a str),
    Suffix(&'a str),
}

impl Text {
    pub fn new(matcher: &StringMatcher) -> Self {
        let folds = matcher.ignore_case;
        let literal = |text: &str| -> Box<str> {
            if folds {
                text.to_ascii_lowercase().into()
            } else {
                text.into()
            }
        };
        let shape = match &matcher.pattern {
            StringPattern::Exact(text) => Shape::Exact(literal(text)),
            StringPattern::Prefix(text) => Shape::Prefix(literal(text)),
            StringPattern::Suffix(text) => Shape::Suffix(literal(text)),
            StringPattern::Contains(text) => Shape::Contains(literal(text)),
            StringPattern::Regex(pattern) => return Self::regex(pattern),
        };
        Self { shape, folds }
    }

    /// A pattern that the whole text must match.
    pub fn regex(pattern: &str) -> Self {
        let shape = match Glob::parse(pattern) {
            Some(glob) => Shape::Glob(glob, pattern.into()),
            None => regex(pattern).map_or(Shape::Never, |regex| Shape::Regex(Box::new(regex))),
        };
        Self {
            shape,
            folds: false,
        }
    }

    pub fn fits(&self, text: &str) -> bool {
        match &self.shape {
            Shape::Exact(wanted) if self.folds => text.eq_ignore_ascii_case(wanted),
            Shape::Exact(wanted) => text == &**wanted,
            Shape::Prefix(wanted) => self.folded(text).starts_with(&**wanted),
            Shape::Suffix(wanted) => self.folded(text).ends_with(&**wanted),
            Shape::Contains(wanted) => self.folded(text).contains(&**wanted),
            Shape::Glob(glob, pattern) if glob.minds_line_feeds() && text.contains('\n') => {
                crate::pattern::fits(pattern, text)
            }
            Shape::Glob(glob, _) => glob.fits(text),
            Shape::Regex(regex) => regex.is_match(text),
            Shape::Never => false,
        }
    }

    /// `None`: any text may fit.
    pub fn landmark(&self) -> Option<Landmark<'_>> {
        let landmark = match &self.shape {
            Shape::Exact(text) => Landmark::Exact(text),
            Shape::Prefix(text) => Landmark::Prefix(text),
            Shape::Suffix(text) => Landmark::Suffix(text),
            Shape::Glob(glob, _) => Landmark::Prefix(glob.prefix()),
            Shape::Contains(_) | Shape::Regex(_) | Shape::Never => return None,
        };
        (!matches!(landmark, Landmark::Prefix("") | Landmark::Suffix(""))).then_some(landmark)
    }

    pub fn folds(&self) -> bool {
        self.folds
    }

    /// Only case that does not count costs a copy.
    fn folded<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.folds {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        }
    }
}

impl Display for Text {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.shape {
            Shape::Exact(text) => write!(f, "{text:?}")?,
            Shape::Prefix(text) => write!(f, "{text:?} at the start")?,
            Shape::Suffix(text) => write!(f, "{text:?} at the end")?,
            Shape::Contains(text) => write!(f, "{text:?} somewhere")?,
            Shape::Glob(_, pattern) => write!(f, "/{pattern}/")?,
            Shape::Regex(regex) => write!(f, "/{}/", regex.as_str())?,
            Shape::Never => f.write_str("nothing")?,
        }
        if self.folds {
            f.write_str(" in any case")
        } else {
            Ok(())
        }
    }
}

/// Any of several matchers: the plain ones by hash, however many.
#[derive(Debug, Clone, Default)]
pub struct AnyText {
    exact: HashSet<Box<str>>,
    others: Vec<Text>,
}

impl AnyText {
    pub fn new(texts: impl IntoIterator<Item = Text>) -> Self {
        let mut any = Self::default();
        for text in texts {
            match text.shape {
                Shape::Exact(literal) if !text.folds => {
                    any.exact.insert(literal);
                }
                _ => any.others.push(text),
            }
        }
        any
    }

    pub fn fits(&self, text: &str) -> bool {
        self.exact.contains(text) || self.others.iter().any(|one| one.fits(text))
    }

    /// A landmark and whether case is ignored, of each matcher; `None`: one of them has none.
    pub fn landmarks(&self) -> Option<Vec<(Landmark<'_>, bool)>> {
        let exact = self
            .exact
            .iter()
            .map(|text| Some((Landmark::Exact(text), false)));
        let others = self
            .others
            .iter()
            .map(|one| Some((one.landmark()?, one.folds)));
        exact.chain(others).collect()
    }
}

impl Display for AnyText {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut exact: Vec<&str> = self.exact.iter().map(|text| &**text).collect();
        exact.sort_unstable();
        let exact = exact.iter().map(|text| format!("{text:?}"));
        let all: Vec<String> = exact
            .chain(self.others.iter().map(ToString::to_string))
            .collect();
        f.write_str(&all.join(" or "))
    }
}

/// `None`: it is no regular expression.
pub fn regex(pattern: &str) -> Option<Regex> {
    Regex::new(&format!("^(?:{pattern})$"))
        .inspect_err(|error| tracing::error!(pattern, %error, "not a regular expression; it matches nothing"))
        .ok()
}
