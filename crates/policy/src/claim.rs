//! What filters found out about a request (dynamic metadata), such as the claims of its token, and matchers of it.

use std::sync::Arc;

use hauberk_config::rbac::{MetadataMatch, MetadataMatcher};
use hauberk_route::{Landmark, Text};
use serde_json::Value;

/// Dynamic metadata of one filter.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    pub filter: Arc<str>,
    pub values: Value,
}

impl Metadata {
    /// The value at `path`, if `filter` wrote this.
    pub fn at(&self, filter: &str, path: &[String]) -> Option<&Value> {
        if *self.filter != *filter {
            return None;
        }
        path.iter()
            .try_fold(&self.values, |value, key| value.get(key))
    }
}

/// A matcher of metadata, compiled.
#[derive(Debug)]
pub struct Claim {
    pub filter: String,
    pub path: Vec<String>,
    value: Wanted,
    invert: bool,
}

#[derive(Debug)]
enum Wanted {
    Present(bool),
    Null,
    Bool(bool),
    Text(Text),
    /// The value is a list with such an element.
    OneOf(Box<Wanted>),
    Or(Vec<Wanted>),
}

impl Claim {
    pub fn new(matcher: &MetadataMatcher) -> Self {
        Self {
            filter: matcher.filter.clone(),
            path: matcher.path.clone(),
            value: Wanted::new(&matcher.value),
            invert: matcher.invert,
        }
    }

    pub fn fits(&self, metadata: Option<&Metadata>) -> bool {
        let found = metadata.and_then(|metadata| metadata.at(&self.filter, &self.path));
        self.value.fits(found) != self.invert
    }

    /// Literals of which one must be in the value or in its elements; `None`: something else may fit as well.
    pub fn landmarks(&self) -> Option<Vec<(Landmark<'_>, bool)>> {
        let mut found = Vec::new();
        (!self.invert && self.value.landmarks(&mut found)).then_some(found)
    }
}

impl Wanted {
    fn new(stated: &MetadataMatch) -> Self {
        match stated {
            MetadataMatch::Present(present) => Self::Present(*present),
            MetadataMatch::Null => Self::Null,
            MetadataMatch::Bool(wanted) => Self::Bool(*wanted),
            MetadataMatch::String(matcher) => Self::Text(Text::new(matcher)),
            MetadataMatch::OneOf(wanted) => Self::OneOf(Box::new(Self::new(wanted))),
            MetadataMatch::Or(any) => Self::Or(any.iter().map(Self::new).collect()),
        }
    }

    fn fits(&self, found: Option<&Value>) -> bool {
        match self {
            Self::Present(present) => found.is_some() == *present,
            Self::Null => found.is_some_and(Value::is_null),
            Self::Bool(wanted) => found.and_then(Value::as_bool) == Some(*wanted),
            Self::Text(text) => found
                .and_then(Value::as_str)
                .is_some_and(|found| text.fits(found)),
            Self::OneOf(wanted) => found
                .and_then(Value::as_array)
                .is_some_and(|list| list.iter().any(|one| wanted.fits(Some(one)))),
            Self::Or(any) => any.iter().any(|wanted| wanted.fits(found)),
        }
    }

    /// False: something fits that no literal tells.
    fn landmarks<'a>(&'a self, found: &mut Vec<(Landmark<'a>, bool)>) -> bool {
        match self {
            Self::Present(_) | Self::Null | Self::Bool(_) => false,
            Self::Text(text) => match text.landmark() {
                Some(landmark) => {
                    found.push((landmark, text.folds()));
                    true
                }
                None => false,
            },
            Self::OneOf(wanted) => wanted.landmarks(found),
            Self::Or(any) => any.iter().all(|wanted| wanted.landmarks(found)),
        }
    }
}

/// Each text in a value, or in its elements.
pub fn texts<'a>(value: &'a Value, each: &mut dyn FnMut(&'a str)) {
    match value {
        Value::String(text) => each(text),
        Value::Array(list) => {
            for one in list {
                texts(one, each);
            }
        }
        _ => {}
    }
}
