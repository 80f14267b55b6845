//! A line of an access log. Written by hand, field by field, since every request has one.

use std::net::{IpAddr, SocketAddr};

use hauberk_config::access_log::AccessLogFormat;

use super::operator::{Found, Operator};
use crate::ended::Ended;

/// Bytes of a line with the usual fields.
const USUAL_LINE: usize = 768;

/// The keys of lines for which no format is stated.
const DEFAULT: [(&str, &str); 12] = [
    ("start_time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("path", "%REQ(:PATH)%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
];

/// How a line is made.
#[derive(Debug)]
pub enum Line {
    Text(Template),
    Object(Vec<Field>),
}

/// A key and its value in a JSON object.
#[derive(Debug)]
pub struct Field {
    /// What stands before the value: a brace or a comma, the key, a colon.
    lead: Vec<u8>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    /// A lone operator keeps its type: numbers stay numbers, and what is not known is null.
    Operator(Operator),
    Text(Template),
}

/// Text with operators in it.
#[derive(Debug)]
pub struct Template(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Operator(Operator),
}

impl Line {
    pub fn new(format: &AccessLogFormat) -> Self {
        match format {
            AccessLogFormat::Text(text) => Self::Text(Template::parse(text)),
            AccessLogFormat::Default => Self::object(DEFAULT.into_iter()),
            AccessLogFormat::Json(fields) => {
                let fields = fields.iter();
                Self::object(fields.map(|(key, template)| (key.as_str(), template.as_str())))
            }
        }
    }

    fn object<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let field = |(index, (key, template)): (usize, (&str, &str))| {
            let mut lead = vec![if index == 0 { b'{' } else { b',' }];
            quote(&mut lead, key);
            lead.push(b':');
            Field {
                lead,
                value: Value::parse(template),
            }
        };
        Self::Object(fields.enumerate().map(field).collect())
    }

    /// The line of `ended`, without its line feed.
    pub fn written(&self, ended: &Ended<'_>) -> Vec<u8> {
        let fields = match self {
            Self::Text(template) => return template.filled(ended).trim_end().into(),
            Self::Object(fields) => fields,
        };
        let mut line = Vec::with_capacity(USUAL_LINE);
        for field in fields {
            line.extend_from_slice(&field.lead);
            match &field.value {
                Value::Operator(operator) => write_json(&mut line, operator.find(ended)),
                Value::Text(template) => quote(&mut line, &template.filled(ended)),
            }
        }
        if fields.is_empty() {
            line.push(b'{');
        }
        line.push(b'}');
        line
    }

    pub fn wants_headers(&self) -> bool {
        match self {
            Self::Text(template) => template.wants_headers(),
            Self::Object(fields) => fields.iter().any(|field| match &field.value {
                Value::Operator(operator) => operator.wants_headers(),
                Value::Text(template) => template.wants_headers(),
            }),
        }
    }
}

impl Value {
    fn parse(template: &str) -> Self {
        let inner = template
            .strip_prefix('%')
            .and_then(|rest| rest.strip_suffix('%'));
        match inner.filter(|inner| !inner.contains('%')) {
            Some(operator) => Self::Operator(Operator::parse(operator)),
            None => Self::Text(Template::parse(template)),
        }
    }
}

impl Template {
    fn parse(text: &str) -> Self {
        let piece = |(index, part): (usize, &str)| match index % 2 {
            0 => Piece::Text(part.to_owned()),
            _ => Piece::Operator(Operator::parse(part)),
        };
        Self(text.split('%').enumerate().map(piece).collect())
    }

    fn filled(&self, ended: &Ended<'_>) -> String {
        let mut text = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(part) => text.extend_from_slice(part.as_bytes()),
                Piece::Operator(operator) => write_text(&mut text, operator.find(ended)),
            }
        }
        String::from_utf8(text).unwrap_or_default()
    }

    fn wants_headers(&self) -> bool {
        self.0
            .iter()
            .any(|piece| matches!(piece, Piece::Operator(operator) if operator.wants_headers()))
    }
}

fn write_json(line: &mut Vec<u8>, found: Found<'_>) {
    match found {
        Found::Nothing => line.extend_from_slice(b"null"),
        Found::Number(number) => write_number(line, number),
        Found::Text(text) => quote(line, &text),
        Found::Name(name) => quote(line, &name),
        found @ (Found::Address(_) | Found::Time(_)) => {
            line.push(b'"');
            write_text(line, found);
            line.push(b'"');
        }
    }
}

fn write_text(text: &mut Vec<u8>, found: Found<'_>) {
    match found {
        Found::Nothing => text.push(b'-'),
        Found::Number(number) => write_number(text, number),
        Found::Text(value) => text.extend_from_slice(value.as_bytes()),
        Found::Name(name) => text.extend_from_slice(name.as_bytes()),
        Found::Address(address) => write_address(text, address),
        Found::Time(time) => text.extend_from_slice(&time.text()),
    }
}

fn write_address(text: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    text.push(b'.');
                }
                write_number(text, octet.into());
            }
            text.push(b':');
            write_number(text, address.port().into());
        }
        IpAddr::V6(_) => text.extend_from_slice(address.to_string().as_bytes()),
    }
}

fn write_number(text: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[first..]);
}

fn quote(line: &mut Vec<u8>, text: &str) {
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    // Without a way out of the loop, so that it looks at many bytes at once.
    let plain = !text.bytes().fold(false, |seen, byte| seen | special(byte));
    if plain {
        line.push(b'"');
        line.extend_from_slice(text.as_bytes());
        line.push(b'"');
    } else {
        // Writing text into memory cannot fail.
        serde_json::to_writer(line, text).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_json_has_them() {
        for text in [
            "",
            "plain",
            "a\"b",
            "a\\b",
            "tab\tand\u{1}",
            "größe",
            "\u{7f}",
        ] {
            let mut line = Vec::new();
            quote(&mut line, text);
            assert_eq!(line, serde_json::to_vec(text).unwrap_or_default());
        }
    }

    #[test]
    fn numbers_and_addresses_are_written_as_they_are_displayed() {
        for number in [0, 7, 10, 200, 65_535, u64::MAX] {
            let mut line = Vec::new();
            write_number(&mut line, number);
            assert_eq!(line, number.to_string().into_bytes());
        }
        for address in ["10.0.200.1:8080", "[2001:db8::1]:443", "[::ffff:1.2.3.4]:1"] {
            let address: SocketAddr = address.parse().unwrap_or_else(|_| unreachable!());
            let mut line = Vec::new();
            write_address(&mut line, address);
            assert_eq!(line, address.to_string().into_bytes());
        }
    }

    #[test]
    fn a_lone_operator_is_told_from_text_with_operators() {
        assert!(matches!(
            Value::parse("%DURATION%"),
            Value::Operator(Operator::Duration)
        ));
        for text in ["%DURATION% ms", "%A%%B%", "text", "100%"] {
            assert!(matches!(Value::parse(text), Value::Text(_)), "{text}");
        }
    }
}
