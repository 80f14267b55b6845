//! Why a message is refused.

use std::fmt;

/// What was found in place of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    BareLineFeed,
    RequestLine,
    RequestLineTooLong,
    StatusLine,
    Method,
    Target,
    /// A version that is not HTTP/1.0 or HTTP/1.1.
    Version,
    HeadTooLarge,
    TooManyFields,
    FoldedLine,
    FieldWithoutColon,
    FieldName,
    FieldValue,
    Host,
    SeveralHosts,
    ContentLength,
    SeveralContentLengths,
    LengthAndChunked,
    TransferEncoding,
    /// A transfer coding that is well spelt and not `chunked`.
    UnknownTransferCoding,
    /// `transfer-encoding` in a message of HTTP/1.0.
    ChunkedHttp10,
    /// CONNECT, or a wish to change the protocol, with a body.
    BodyBeforeTunnel,
    Expectation,
    ChunkSize,
    ChunkExtension,
    ChunkEnd,
    TrailersTooLarge,
    /// The peer closed within a message.
    Truncated,
    /// A switch of protocols that nobody asked for.
    UnaskedSwitch,
    /// More interim responses than anybody needs.
    InterimResponses,
}

impl Malformed {
    /// The status for a request of this kind (RFC 9110 §15.5, RFC 6585 §5).
    pub fn status(self) -> u16 {
        match self {
            Self::RequestLineTooLong => 414,
            Self::Expectation => 417,
            Self::HeadTooLarge | Self::TooManyFields => 431,
            Self::UnknownTransferCoding => 501,
            _ => 400,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::BareLineFeed => "expected CR LF at the end of a line, found LF alone",
            Self::RequestLine => "expected METHOD TARGET HTTP/1.1, found another first line",
            Self::RequestLineTooLong => "the request line is longer than may be",
            Self::StatusLine => "expected HTTP/1.1 STATUS REASON, found another first line",
            Self::Method => "expected a token as method",
            Self::Target => {
                "expected a path, an http or https URI, HOST:PORT of CONNECT or * of OPTIONS"
            }
            Self::Version => "expected HTTP/1.0 or HTTP/1.1",
            Self::HeadTooLarge => "the head is larger than may be",
            Self::TooManyFields => "there are more fields than may be",
            Self::FoldedLine => "expected a field at the start of a line, found white space",
            Self::FieldWithoutColon => "expected NAME: VALUE, found no colon",
            Self::FieldName => "expected a token as field name, with the colon right behind it",
            Self::FieldValue => "found a control character in a field's value",
            Self::Host => "expected HOST or HOST:PORT in the host field",
            Self::SeveralHosts => "expected one host field, found several",
            Self::ContentLength => "expected decimal digits as content-length",
            Self::SeveralContentLengths => "expected one content-length, found several",
            Self::LengthAndChunked => "found both content-length and transfer-encoding",
            Self::TransferEncoding => "expected one transfer-encoding: chunked",
            Self::UnknownTransferCoding => "no transfer coding but chunked is known",
            Self::ChunkedHttp10 => "found transfer-encoding in a message of HTTP/1.0",
            Self::BodyBeforeTunnel => "found a body where the protocol is to change",
            Self::Expectation => "no expectation but 100-continue can be met",
            Self::ChunkSize => "expected hexadecimal digits as a chunk's size, at most 16",
            Self::ChunkExtension => "a chunk's extension is too long or has control characters",
            Self::ChunkEnd => "expected CR LF behind a chunk",
            Self::TrailersTooLarge => "trailers are larger than may be",
            Self::Truncated => "the peer closed within a message",
            Self::UnaskedSwitch => "found a switch of protocols that was not asked for",
            Self::InterimResponses => "found more interim responses than may be",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text())
    }
}

impl std::error::Error for Malformed {}
