//! Responses, read in the light of their requests.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use bytes::Bytes;
use hauberk_http1::response::{self, Asked, ResponseHead};
use hauberk_http1::{BodyLength, Malformed};

fn read(asked: Asked, text: &str) -> Result<ResponseHead, Malformed> {
    response::parse(&Bytes::copy_from_slice(text.as_bytes()), asked)
}

fn plain(text: &str) -> Result<ResponseHead, Malformed> {
    read(Asked::Plain, text)
}

#[test]
fn the_body_s_length_is_that_of_section_6_3() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let five = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
    let none = "HTTP/1.1 200 OK\r\n\r\n";
    for (asked, text, length, persistent) in [
        (Asked::Plain, chunked, BodyLength::Chunked, true),
        (Asked::Plain, five, BodyLength::Known(5), true),
        (Asked::Plain, none, BodyLength::UntilClose, false),
        (Asked::Head, five, BodyLength::NONE, true),
        (Asked::Head, chunked, BodyLength::NONE, true),
        (Asked::Head, none, BodyLength::NONE, true),
        (Asked::Connect, five, BodyLength::NONE, true),
        (
            Asked::Plain,
            "HTTP/1.1 204 No Content\r\n\r\n",
            BodyLength::NONE,
            true,
        ),
        (
            Asked::Plain,
            "HTTP/1.1 304\r\ncontent-length: 5\r\n\r\n",
            BodyLength::NONE,
            true,
        ),
        (
            Asked::Plain,
            "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\n",
            BodyLength::Known(5),
            false,
        ),
        (
            Asked::Plain,
            "HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\n",
            BodyLength::Known(5),
            true,
        ),
        (
            Asked::Plain,
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: foo, Close\r\n\r\n",
            BodyLength::Known(5),
            false,
        ),
    ] {
        let head = read(asked, text).unwrap();
        assert_eq!(
            (head.length, head.persistent),
            (length, persistent),
            "{asked:?} {text}"
        );
    }
}

/// Such a server would be taken to answer the next request with what it means as this one's body.
#[test]
fn a_body_where_there_can_be_none_ends_the_connection() {
    for text in [
        "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n",
        "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",
    ] {
        assert!(!plain(text).unwrap().persistent, "{text}");
    }
}

#[test]
fn response_splitting_and_desynchronisation() {
    for text in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding : chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\0\r\n\r\n",
        "HTTP/1.1 200 O\0K\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\nx: y\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 600 No\r\n\r\n",
        "HTTP/1.1 099 No\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "\r\n",
    ] {
        assert!(plain(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_protocol_is_switched_only_by_who_was_asked() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";
    assert!(read(Asked::Upgrade, switch).unwrap().switched);
    for asked in [Asked::Plain, Asked::Head, Asked::Connect] {
        assert_eq!(read(asked, switch).err(), Some(Malformed::UnaskedSwitch));
    }
    assert!(
        plain("HTTP/1.1 103 Early Hints\r\n\r\n")
            .unwrap()
            .is_interim()
    );
}
