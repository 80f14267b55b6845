//! Server name and ALPN of a TLS ClientHello (RFC 8446 §4.1.2, RFC 6066 §3, RFC 7301 §3.1). No I/O, no allocation but for
//! what is found.

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
/// A hello longer than this is refused; it may be split over several records.
const LONGEST_HELLO: usize = 16 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientHello {
    /// In lower case.
    pub server_name: Option<String>,
    pub alpn: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    NeedMore,
    NotTls,
    Complete(ClientHello),
}

/// Reads the ClientHello at the start of a connection.
pub fn parse(stream: &[u8]) -> Parsed {
    match handshake_bytes(stream) {
        Ok(Some(message)) => match hello(&message) {
            Some(hello) => Parsed::Complete(hello),
            None => Parsed::NotTls,
        },
        Ok(None) => Parsed::NeedMore,
        Err(NotTls) => Parsed::NotTls,
    }
}

struct NotTls;

/// The body of the first handshake message, put together from records; `None`: more bytes are needed.
fn handshake_bytes(mut stream: &[u8]) -> Result<Option<Vec<u8>>, NotTls> {
    let mut message = Vec::new();
    loop {
        for (index, byte) in stream.iter().take(3).enumerate() {
            let fits = match index {
                0 => *byte == HANDSHAKE,
                1 => *byte == 3,
                _ => *byte <= 4,
            };
            if !fits {
                return Err(NotTls);
            }
        }
        let Some((header, rest)) = stream.split_at_checked(5) else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length == 0 || length > LONGEST_HELLO {
            return Err(NotTls);
        }
        let available = rest.len().min(length);
        message.extend_from_slice(&rest[..available]);
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(NotTls);
        }
        if let [_, a, b, c, body @ ..] = message.as_slice() {
            let wanted = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if wanted > LONGEST_HELLO {
                return Err(NotTls);
            }
            if body.len() >= wanted {
                return Ok(Some(body[..wanted].to_vec()));
            }
        }
        if available < length {
            return Ok(None);
        }
        stream = &rest[length..];
    }
}

fn hello(message: &[u8]) -> Option<ClientHello> {
    let mut reader = Reader(message);
    reader.take(2 + 32)?;
    reader.vector8()?;
    reader.vector16()?;
    reader.vector8()?;
    let mut found = ClientHello::default();
    if reader.0.is_empty() {
        return Some(found);
    }
    let mut extensions = Reader(reader.vector16()?);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let mut body = Reader(extensions.vector16()?);
        match kind {
            SERVER_NAME => {
                let mut names = Reader(body.vector16()?);
                while !names.0.is_empty() {
                    let kind = names.take(1)?[0];
                    let name = names.vector16()?;
                    if kind == 0 {
                        found.server_name =
                            Some(std::str::from_utf8(name).ok()?.to_ascii_lowercase());
                    }
                }
            }
            ALPN => {
                let mut protocols = Reader(body.vector16()?);
                while !protocols.0.is_empty() {
                    let protocol = protocols.vector8()?;
                    found
                        .alpn
                        .push(String::from_utf8_lossy(protocol).into_owned());
                }
            }
            _ => {}
        }
    }
    Some(found)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.take(1)?[0]);
        self.take(length)
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u16()?);
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn sample() -> Vec<u8> {
        let mut extensions = extension(SERVER_NAME, b"\0\x08\0\0\x05Web.A");
        extensions.extend(extension(ALPN, b"\0\x0e\x0aistio-http\x02h2"));
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.push(0);
        body.extend([0, 2, 0x13, 1, 1, 0]);
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
        let mut message = vec![CLIENT_HELLO, 0, 0, body.len() as u8];
        message.extend(body);
        message
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        let mut stream = Vec::new();
        for part in message.chunks(size) {
            stream.extend([HANDSHAKE, 3, 1]);
            stream.extend((part.len() as u16).to_be_bytes());
            stream.extend(part);
        }
        stream
    }

    #[test]
    fn server_name_and_alpn_are_found_however_the_records_are_cut() {
        let expected = ClientHello {
            server_name: Some("web.a".into()),
            alpn: vec!["istio-http".into(), "h2".into()],
        };
        for size in [1, 3, 50, 4000] {
            assert_eq!(
                parse(&records(&sample(), size)),
                Parsed::Complete(expected.clone()),
                "records of {size}"
            );
        }
    }

    #[test]
    fn every_prefix_needs_more() {
        let stream = records(&sample(), 40);
        for length in 0..stream.len() {
            assert_eq!(parse(&stream[..length]), Parsed::NeedMore, "{length}");
        }
    }

    #[test]
    fn no_flipped_byte_makes_it_panic() {
        let stream = records(&sample(), 60);
        for index in 0..stream.len() {
            for value in 0..=255 {
                let mut bad = stream.clone();
                bad[index] = value;
                parse(&bad);
            }
        }
    }

    #[test]
    fn a_giant_hello_is_refused() {
        assert_eq!(
            parse(&[HANDSHAKE, 3, 1, 0, 4, CLIENT_HELLO, 0xff, 0, 0]),
            Parsed::NotTls
        );
    }
}
