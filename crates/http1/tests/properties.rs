//! What holds for any bytes, tried with many that are made at random from a fixed seed.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use bytes::Bytes;
use hauberk_http1::encode::{self, Connection, Framing};
use hauberk_http1::response::{self, Asked};
use hauberk_http1::{BodyLength, Decoder, HeadSearch, Limits, Malformed, Piece, request};
use http::HeaderMap;

const LIMITS: Limits = Limits {
    head: 4096,
    first_line: 1024,
    fields: 20,
};

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn pick<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
        from[self.below(from.len())]
    }
}

/// Parts of which heads are made, good and bad.
const PARTS: &[&[u8]] = &[
    b"GET ",
    b"POST ",
    b"/ ",
    b"/a?b ",
    b"http://h/ ",
    b"* ",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\0",
    b":",
    b": ",
    b"host: h\r\n",
    b"content-length: 3\r\n",
    b"transfer-encoding: chunked\r\n",
    b"content-length",
    b"transfer-encoding",
    b"chunked",
    b"connection: close\r\n",
    b"connection: upgrade\r\n",
    b"upgrade: websocket\r\n",
    b"x: y\r\n",
    b"5",
    b"+",
    b",",
    b"\x80",
    b"expect: 100-continue\r\n",
];

const CHUNKS: &[&[u8]] = &[
    b"0",
    b"1",
    b"3",
    b"a",
    b"F",
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b";",
    b";x=y",
    b"abc",
    b" ",
    b"x: y\r\n",
    b"0\r\n\r\n",
    b"3\r\nabc\r\n",
    b"content-length: 3\r\n",
];

fn made(random: &mut Random, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=random.below(14) {
        bytes.extend_from_slice(random.pick(parts));
    }
    bytes
}

/// A head is understood the same way wherever the network cuts it.
#[test]
fn cuts_change_nothing() {
    let mut random = Random(7);
    for _ in 0..20_000 {
        let mut bytes = made(&mut random, PARTS);
        bytes.extend_from_slice(b"\r\n\r\n");
        let whole = HeadSearch::default().find(&bytes, &LIMITS);
        let mut search = HeadSearch::default();
        let mut found = Ok(None);
        let mut at = 0;
        while at < bytes.len() && found == Ok(None) {
            at = (at + 1 + random.below(5)).min(bytes.len());
            found = search.find(&bytes[..at], &LIMITS);
        }
        assert_eq!(found, whole, "{:?}", String::from_utf8_lossy(&bytes));
    }
}

/// Whatever is accepted has one length, and what is written of it is read as the same again.
#[test]
fn what_is_accepted_is_written_and_read_as_the_same() {
    let mut random = Random(11);
    let mut accepted = 0;
    for _ in 0..60_000 {
        let mut bytes = b"POST / HTTP/1.1\r\nhost: h\r\n".to_vec();
        if random.below(4) == 0 {
            bytes.clear();
        }
        bytes.extend(made(&mut random, PARTS));
        bytes.extend_from_slice(b"\r\n\r\n");
        let Ok(Some(found)) = HeadSearch::default().find(&bytes, &LIMITS) else {
            continue;
        };
        let head = Bytes::copy_from_slice(&bytes[found.start..found.end]);
        // No head, of a request or a response, makes the parsers panic.
        let _ = response::parse(&head, Asked::Plain);
        let Ok(first) = request::parse(&head) else {
            continue;
        };
        accepted += 1;
        let framing = match first.length {
            BodyLength::Known(0) => Framing::Unsaid,
            BodyLength::Known(length) => Framing::Length(length),
            BodyLength::Chunked => Framing::Chunked,
            BodyLength::UntilClose => panic!("a request does not last until its caller closes"),
        };
        let target = first.uri.to_string();
        let mut out = Vec::new();
        let said = Connection::Unsaid;
        encode::request_head(
            &mut out,
            &first.method,
            &target,
            &first.headers,
            framing,
            said,
        );
        let out = Bytes::from(out);
        let framed = |name: &str| {
            out.windows(name.len())
                .filter(|part| part.eq_ignore_ascii_case(name.as_bytes()))
                .count()
        };
        let lengths = framed("\ncontent-length:") + framed("\ntransfer-encoding:");
        assert_eq!(lengths, usize::from(framing != Framing::Unsaid), "{out:?}");
        if first.version == http::Version::HTTP_11 {
            let second = request::parse(&out).unwrap();
            assert_eq!((second.method, second.length), (first.method, first.length));
        }
    }
    assert!(accepted > 1000, "only {accepted} heads were accepted");
}

/// A chunked body gives the same bytes, or fails, wherever it is cut.
#[test]
fn chunks_are_read_alike_in_pieces() {
    fn read(cuts: &[&[u8]]) -> Result<(Vec<u8>, bool, usize), Malformed> {
        let mut decoder = Decoder::new(BodyLength::Chunked);
        let mut body = Vec::new();
        let mut over = 0;
        let mut ended = false;
        for cut in cuts {
            let mut input = Bytes::copy_from_slice(cut);
            while !ended {
                match decoder.next(&mut input)? {
                    Some(Piece::Data(data)) => body.extend_from_slice(&data),
                    Some(Piece::Trailers(_)) => {}
                    Some(Piece::End) => ended = true,
                    None => break,
                }
            }
            over += input.len();
        }
        Ok((body, ended, over))
    }
    let mut random = Random(13);
    let mut ends = 0;
    for _ in 0..60_000 {
        let bytes = made(&mut random, CHUNKS);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        let cut = 1 + random.below(4);
        let some: Vec<&[u8]> = bytes.chunks(cut).collect();
        let whole = read(&[&bytes]);
        assert_eq!(
            read(&single),
            whole,
            "{:?}",
            String::from_utf8_lossy(&bytes)
        );
        assert_eq!(read(&some), whole, "{:?}", String::from_utf8_lossy(&bytes));
        ends += usize::from(matches!(whole, Ok((_, true, _))));
    }
    assert!(ends > 500, "only {ends} bodies came to an end");
}

/// What is chunked comes out again as it was.
#[test]
fn chunks_are_written_and_read() {
    let mut random = Random(17);
    for _ in 0..500 {
        let mut out = Vec::new();
        let mut body = Vec::new();
        for _ in 0..random.below(6) {
            let data = vec![b'x'; 1 + random.below(70_000)];
            encode::chunk_head(&mut out, data.len());
            out.extend_from_slice(&data);
            out.extend_from_slice(encode::CHUNK_END);
            body.extend_from_slice(&data);
        }
        encode::last_chunk(&mut out, Some(&HeaderMap::new()), None);
        let mut input = Bytes::from(out);
        let mut decoder = Decoder::new(BodyLength::Chunked);
        let mut read = Vec::new();
        while let Some(Piece::Data(data)) = decoder.next(&mut input).unwrap() {
            read.extend_from_slice(&data);
        }
        assert!(read == body && input.is_empty());
    }
}
