//! Where HTTP/2 frames begin in a stream of bytes (RFC 9113 §4.1). Payloads are passed over.

/// What a caller says before its first frame (RFC 9113 §3.4).
const PREFACE_BYTES: u32 = 24;
const HEAD_BYTES: u8 = 9;

const END_STREAM_OR_ACK: u8 = 0x1;
const PADDED: u8 = 0x8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// PUSH_PROMISE, and what later documents have added.
    Other,
}

impl Kind {
    fn of(code: u8) -> Self {
        match code {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::Reset,
            4 => Self::Settings,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Other,
        }
    }
}

/// The head of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    /// Bytes of the payload.
    pub length: u32,
    flags: u8,
}

impl Frame {
    fn parse(head: [u8; HEAD_BYTES as usize]) -> Self {
        Self {
            kind: Kind::of(head[3]),
            length: u32::from_be_bytes([0, head[0], head[1], head[2]]),
            flags: head[4],
        }
    }

    /// Of SETTINGS and PING.
    pub fn is_ack(self) -> bool {
        self.flags & END_STREAM_OR_ACK != 0
    }

    /// Of DATA: it neither ends the stream nor need it have a byte but padding.
    pub fn says_nothing(self) -> bool {
        let padding_alone = self.flags & PADDED != 0 && self.length <= 256;
        (self.length == 0 || padding_alone) && self.flags & END_STREAM_OR_ACK == 0
    }
}

/// Finds the frames of one direction of a connection.
#[derive(Debug)]
pub struct Frames {
    head: [u8; HEAD_BYTES as usize],
    have: u8,
    /// Bytes up to the next head.
    pass_over: u32,
}

impl Frames {
    pub fn new() -> Self {
        Self {
            head: [0; HEAD_BYTES as usize],
            have: 0,
            pass_over: 0,
        }
    }

    /// As a caller sends them.
    pub fn after_preface() -> Self {
        Self {
            pass_over: PREFACE_BYTES,
            ..Self::new()
        }
    }

    /// The next frame whose head ends in `bytes`, which is left behind that head.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        let passed = (self.pass_over as usize).min(bytes.len());
        self.pass_over -= passed as u32;
        *bytes = &bytes[passed..];
        let frame = match (self.have, bytes.split_first_chunk()) {
            (0, Some((head, rest))) => {
                *bytes = rest;
                Frame::parse(*head)
            }
            _ => self.complete(bytes)?,
        };
        self.pass_over = frame.length;
        Some(frame)
    }

    /// Of a head that came in pieces.
    fn complete(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        while self.have < HEAD_BYTES {
            let (first, rest) = bytes.split_first()?;
            self.head[usize::from(self.have)] = *first;
            self.have += 1;
            *bytes = rest;
        }
        self.have = 0;
        Some(Frame::parse(self.head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        let head = [length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        [&head, payload].concat()
    }

    fn kinds(frames: &mut Frames, mut bytes: &[u8]) -> Vec<Kind> {
        std::iter::from_fn(|| frames.next(&mut bytes))
            .map(|frame| frame.kind)
            .collect()
    }

    #[test]
    fn frames_are_found_however_their_bytes_are_cut() {
        let mut stream = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        stream.extend(frame(4, 0, &[0; 18]));
        stream.extend(frame(1, 0x4, &[7; 300]));
        stream.extend(frame(0, 0, b""));
        stream.extend(frame(200, 0, b"x"));
        stream.extend(frame(8, 0, &[0, 0, 0, 1]));
        let expected = [
            Kind::Settings,
            Kind::Headers,
            Kind::Data,
            Kind::Other,
            Kind::WindowUpdate,
        ];
        for size in 1..stream.len() {
            let mut frames = Frames::after_preface();
            let found: Vec<_> = stream
                .chunks(size)
                .flat_map(|piece| kinds(&mut frames, piece))
                .collect();
            assert_eq!(found, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn data_that_says_nothing_is_known_by_its_head() {
        let parse = |bytes: &[u8]| Frames::new().next(&mut { bytes });
        let nothing = |bytes: Vec<u8>| parse(&bytes).is_some_and(Frame::says_nothing);
        assert!(nothing(frame(0, 0, b"")));
        assert!(nothing(frame(0, PADDED, &[255; 256])));
        assert!(!nothing(frame(0, PADDED, &[255; 257])));
        assert!(!nothing(frame(0, END_STREAM_OR_ACK, b"")));
        assert!(!nothing(frame(0, 0, b"x")));
    }
}
