//! Header matchers, compiled.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

use hauberk_config::matcher::{HeaderMatch, HeaderMatcher};
use http::header::{self, HeaderMap, HeaderName};

use crate::routing::RequestFacts;
use crate::text::{AnyText, Text};

/// What a header of a request must be.
#[derive(Debug, Clone)]
pub struct Header {
    pub field: Field,
    matches: Matches,
    invert: bool,
    treat_missing_as_empty: bool,
}

/// Where the value is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Field {
    Method,
    /// With the query.
    Path,
    Named(HeaderName),
    /// A name that no header can have.
    Nowhere,
}

#[derive(Debug, Clone)]
enum Matches {
    Present(bool),
    Text(AnyText),
    Range { start: i64, end: i64 },
}

impl Field {
    pub fn new(name: &str) -> Self {
        match name {
            ":method" => Self::Method,
            ":path" => Self::Path,
            ":authority" => Self::Named(header::HOST),
            ":scheme" => Self::Named(HeaderName::from_static("x-forwarded-proto")),
            name => HeaderName::try_from(name).map_or(Self::Nowhere, Self::Named),
        }
    }

    pub fn value<'a>(&self, facts: &RequestFacts<'a>) -> Option<Cow<'a, str>> {
        match self {
            Self::Method => Some(facts.method.into()),
            Self::Path => Some(facts.path.into()),
            Self::Named(name) => joined(facts.headers, name),
            Self::Nowhere => None,
        }
    }
}

impl Header {
    pub fn new(matcher: &HeaderMatcher) -> Self {
        Self {
            field: Field::new(&matcher.name),
            matches: match &matcher.matches {
                HeaderMatch::Present(wanted) => Matches::Present(*wanted),
                HeaderMatch::String(text) => Matches::Text(AnyText::new([Text::new(text)])),
                HeaderMatch::Range { start, end } => Matches::Range {
                    start: *start,
                    end: *end,
                },
            },
            invert: matcher.invert,
            treat_missing_as_empty: matcher.treat_missing_as_empty,
        }
    }

    /// The same as any of several matchers that each look for a text in this field.
    pub fn any(field: Field, texts: impl IntoIterator<Item = Text>) -> Self {
        Self {
            field,
            matches: Matches::Text(AnyText::new(texts)),
            invert: false,
            treat_missing_as_empty: false,
        }
    }

    /// The text that must be there, if that is all that the matcher asks.
    pub fn text(&self) -> Option<&AnyText> {
        match &self.matches {
            Matches::Text(texts) if !self.invert && !self.treat_missing_as_empty => Some(texts),
            _ => None,
        }
    }

    pub fn fits(&self, facts: &RequestFacts<'_>) -> bool {
        self.value_fits(self.field.value(facts).as_deref())
    }

    fn value_fits(&self, value: Option<&str>) -> bool {
        let value = if self.treat_missing_as_empty {
            Some(value.unwrap_or_default())
        } else {
            value
        };
        let fits = match (&self.matches, value) {
            (Matches::Present(wanted), value) => value.is_some() == *wanted,
            // A missing header fits nothing, inverted or not (Envoy).
            (_, None) => return false,
            (Matches::Text(texts), Some(value)) => texts.fits(value),
            (Matches::Range { start, end }, Some(value)) => value
                .parse::<i64>()
                .is_ok_and(|number| (*start..*end).contains(&number)),
        };
        fits != self.invert
    }
}

impl Display for Header {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let is = if self.invert { "is not" } else { "is" };
        match &self.field {
            Field::Method => f.write_str("the method")?,
            Field::Path => f.write_str("the path with its query")?,
            Field::Named(name) if name == header::HOST => f.write_str("the host")?,
            Field::Named(name) => write!(f, "header {name}")?,
            Field::Nowhere => f.write_str("a header that no request can have")?,
        }
        match &self.matches {
            Matches::Present(true) => write!(f, " {is} there"),
            Matches::Present(false) => write!(f, " {is} absent"),
            Matches::Text(texts) => write!(f, " {is} {texts}"),
            Matches::Range { start, end } => write!(f, " {is} in {start}..{end}"),
        }
    }
}

/// Several fields of one name count as one, joined by commas. A byte that is no text must not hide a field from a rule:
/// the program gets it as well.
pub fn joined<'a>(headers: &'a HeaderMap, name: impl header::AsHeaderName) -> Option<Cow<'a, str>> {
    let mut values = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let mut all = values.next()?;
    for value in values {
        all.to_mut().push(',');
        all.to_mut().push_str(&value);
    }
    Some(all)
}
