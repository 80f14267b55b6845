//! gRPC over HTTP/2, as far as a question needs it: a message's frame, and whether an answer is one.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::HeaderMap;
use prost::Message;

/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// `message` in its frame, not compressed.
pub fn framed<M: Message>(message: &M) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(PREFIX + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // A BytesMut grows as it is written to.
    message.encode_raw(&mut out);
    out.freeze()
}

/// The message of a unary answer's body.
///
/// # Errors
/// There is not one whole message, it is compressed, or it is no `M`.
pub fn unframed<M: Message + Default>(mut body: Bytes) -> Result<M, String> {
    match next(&mut body)? {
        Some(message) if body.is_empty() => {
            M::decode(message).map_err(|error| format!("a malformed message: {error}"))
        }
        Some(_) => Err("expected one message, found more".into()),
        None => Err("expected one message, found less".into()),
    }
}

/// Takes the first message, if all of it has come.
///
/// # Errors
/// It is compressed.
pub fn next(body: &mut Bytes) -> Result<Option<Bytes>, String> {
    let Some((prefix, _)) = body.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err("expected a message that is not compressed".into());
    }
    let end = PREFIX + u32::from_be_bytes(length) as usize;
    if body.len() < end {
        return Ok(None);
    }
    Ok(Some(body.split_to(end).slice(PREFIX..)))
}

/// Whether the call went well, by its trailers, or by its headers where they are all there is.
///
/// # Errors
/// The status that is not OK, or that there is none.
pub fn succeeded(headers: &HeaderMap, trailers: Option<&HeaderMap>) -> Result<(), String> {
    let found = [trailers, Some(headers)];
    let mut found = found.into_iter().flatten();
    let Some(fields) = found.find(|fields| fields.contains_key("grpc-status")) else {
        return Err("the answer has no grpc-status".into());
    };
    let text = |name: &str| {
        let value = fields.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    match text("grpc-status").as_str() {
        "0" => Ok(()),
        status => Err(format!("grpc-status {status}: {}", text("grpc-message"))),
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::google::protobuf::StringValue;
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_message_comes_back_and_nothing_else_is_taken_for_one() {
        let message = StringValue {
            value: "hello".into(),
        };
        let frame = framed(&message);
        assert_eq!(unframed::<StringValue>(frame.clone()), Ok(message));
        for length in 0..frame.len() {
            assert!(unframed::<StringValue>(frame.slice(..length)).is_err());
        }
        let mut twice = frame.to_vec();
        twice.extend_from_slice(&frame);
        assert!(unframed::<StringValue>(twice.into()).is_err());
        let mut compressed = frame.to_vec();
        compressed[0] = 1;
        assert!(unframed::<StringValue>(compressed.into()).is_err());
    }

    #[test]
    fn a_status_stands_in_trailers_or_alone() {
        let with = |status: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", HeaderValue::from_static(status));
            headers
        };
        let none = HeaderMap::new();
        assert_eq!(succeeded(&none, Some(&with("0"))), Ok(()));
        assert_eq!(succeeded(&with("0"), None), Ok(()));
        assert!(succeeded(&with("0"), Some(&with("14"))).is_err());
        assert!(succeeded(&none, Some(&none)).is_err());
    }
}
