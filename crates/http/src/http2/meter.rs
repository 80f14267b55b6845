//! Counts HTTP/2 frames that are of no use to anybody (RFC 9113 §10.5), so that a peer cannot keep a worker busy with them.
//!
//! A connection has credit. What a peer may well send, and what costs us work without any use, takes some of it; a request, and
//! what we send in answer, gives some back, and so does time. Nothing is held back: a peer without credit is no longer served.

use std::time::Instant;

use crate::http2::frames::{Frame, Frames, Kind};

/// The most that a connection can have: 2,000 requests that are each taken back at once, since each earns half of what it costs.
const MOST_CREDIT: u32 = 20_000;
/// Given back by time alone.
const CREDIT_A_SECOND: u32 = 1_000;
/// A workload of the mesh has so many times as much: a gateway passes on over one connection what many callers take back.
const MESH_FACTOR: u32 = 10;

/// What frames cost, and what they earn.
mod price {
    /// A request; or a response, from an endpoint.
    pub const REQUEST: u32 = 10;
    /// A frame of a response; its size counts beside it, by KiB, since the peer answers bytes with WINDOW_UPDATE.
    pub const ANSWER: u32 = 4;
    pub const RESET: u32 = 20;
    pub const SETTINGS: u32 = 100;
    pub const SETTINGS_ACK: u32 = 20;
    pub const PING: u32 = 1;
    pub const WINDOW_UPDATE: u32 = 1;
    /// Nothing comes of it: PRIORITY, DATA of no byte, types that nobody knows, answers to pings.
    pub const IDLE: u32 = 4;
}

/// Whose frames are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A caller answers for what it makes us do, so for our RST_STREAM as well (CVE-2025-8671).
    Caller,
    /// The same, if the caller has proved to be a workload of the mesh.
    Workload,
    /// Our own RST_STREAM to an endpoint are the callers' doing, who share the connection.
    Endpoint,
}

/// The peer has no credit left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flood {
    /// The frame that was one too many.
    pub kind: Kind,
}

impl std::fmt::Display for Flood {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "expected frames that serve a request, found a flood of them, the last one {:?}",
            self.kind
        )
    }
}

impl std::error::Error for Flood {}

/// The account of one connection, fed with its bytes as they pass.
#[derive(Debug)]
pub struct Meter {
    peer: Peer,
    credit: u32,
    factor: u32,
    paid_until: Instant,
    received: Frames,
    sent: Frames,
}

impl Meter {
    pub fn new(peer: Peer, now: Instant) -> Self {
        let (received, sent) = match peer {
            Peer::Caller | Peer::Workload => (Frames::after_preface(), Frames::new()),
            Peer::Endpoint => (Frames::new(), Frames::after_preface()),
        };
        let factor = match peer {
            Peer::Caller => 1,
            Peer::Workload | Peer::Endpoint => MESH_FACTOR,
        };
        Self {
            peer,
            credit: MOST_CREDIT * factor,
            factor,
            paid_until: now,
            received,
            sent,
        }
    }

    /// Counts what came from the peer.
    ///
    /// # Errors
    /// [`Flood`]: the connection is to be closed.
    pub fn received(&mut self, bytes: &[u8], now: impl Fn() -> Instant) -> Result<(), Flood> {
        let mut rest = bytes;
        while let Some(frame) = self.received.next(&mut rest) {
            if frame.kind == Kind::Headers {
                self.earn(price::REQUEST);
                continue;
            }
            self.pay(frame, price_of(frame), &now)?;
        }
        Ok(())
    }

    /// Counts what was sent to the peer.
    ///
    /// # Errors
    /// [`Flood`], as for what is received.
    pub fn sent(&mut self, bytes: &[u8], now: impl Fn() -> Instant) -> Result<(), Flood> {
        let mut rest = bytes;
        while let Some(frame) = self.sent.next(&mut rest) {
            match frame.kind {
                Kind::Headers | Kind::Data => self.earn(price::ANSWER + frame.length / 1024),
                Kind::Reset if self.peer != Peer::Endpoint => {
                    self.pay(frame, price::RESET, &now)?
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn earn(&mut self, amount: u32) {
        self.credit = (self.credit + amount).min(MOST_CREDIT * self.factor);
    }

    fn pay(&mut self, frame: Frame, amount: u32, now: impl Fn() -> Instant) -> Result<(), Flood> {
        if amount > self.credit {
            // The clock is asked only when it matters.
            let now = now();
            let waited = now.saturating_duration_since(self.paid_until).as_millis();
            let earned = waited.saturating_mul(CREDIT_A_SECOND.into()) / 1000;
            self.earn(
                u32::try_from(earned)
                    .unwrap_or(MOST_CREDIT)
                    .min(MOST_CREDIT),
            );
            self.paid_until = now;
        }
        match self.credit.checked_sub(amount) {
            Some(rest) => self.credit = rest,
            None => return Err(Flood { kind: frame.kind }),
        }
        Ok(())
    }
}

fn price_of(frame: Frame) -> u32 {
    match frame.kind {
        Kind::Data if frame.says_nothing() => price::IDLE,
        Kind::Data | Kind::Headers | Kind::GoAway => 0,
        Kind::Reset => price::RESET,
        Kind::Settings if frame.is_ack() => price::SETTINGS_ACK,
        Kind::Settings => price::SETTINGS,
        Kind::Ping if frame.is_ack() => price::IDLE,
        Kind::Ping => price::PING,
        Kind::WindowUpdate => price::WINDOW_UPDATE,
        Kind::Continuation | Kind::Priority | Kind::Other => price::IDLE,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        bytes.resize(9 + usize::from(length), 0);
        bytes
    }

    struct Conversation {
        meter: Meter,
        now: Cell<Instant>,
    }

    impl Conversation {
        fn with(peer: Peer) -> Self {
            let now = Instant::now();
            let mut meter = Meter::new(peer, now);
            let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
            match peer {
                Peer::Caller | Peer::Workload => {
                    assert!(meter.received(preface, || now).is_ok());
                }
                Peer::Endpoint => assert!(meter.sent(preface, || now).is_ok()),
            }
            let now = Cell::new(now);
            Self { meter, now }
        }

        fn received(&mut self, kind: u8, flags: u8, length: u8) -> bool {
            let bytes = frame(kind, flags, length);
            self.meter.received(&bytes, || self.now.get()).is_ok()
        }

        fn sent(&mut self, kind: u8, flags: u8, length: u8) -> bool {
            let bytes = frame(kind, flags, length);
            self.meter.sent(&bytes, || self.now.get()).is_ok()
        }

        /// How many of `step` are taken, up to 100,000.
        fn taken(&mut self, mut step: impl FnMut(&mut Self) -> bool) -> u32 {
            (0..100_000).find(|_| !step(self)).unwrap_or(100_000)
        }
    }

    #[test]
    fn each_kind_of_flood_is_ended() {
        let floods = [
            ("PING", 6, 0, 8, 20_000),
            ("PING ACK", 6, 1, 8, 5_000),
            ("SETTINGS", 4, 0, 6, 200),
            ("SETTINGS ACK", 4, 1, 0, 1_000),
            ("WINDOW_UPDATE", 8, 0, 4, 20_000),
            ("PRIORITY", 2, 0, 5, 5_000),
            ("RST_STREAM", 3, 0, 4, 1_000),
            ("CONTINUATION", 9, 0, 0, 5_000),
            ("empty DATA", 0, 0, 0, 5_000),
            ("padding", 0, 8, 200, 5_000),
            ("unknown", 99, 0, 0, 5_000),
        ];
        for (name, kind, flags, length, most) in floods {
            let mut talk = Conversation::with(Peer::Caller);
            assert_eq!(
                talk.taken(|talk| talk.received(kind, flags, length)),
                most,
                "{name}"
            );
        }
    }

    #[test]
    fn requests_that_are_taken_back_at_once_are_few() {
        let mut talk = Conversation::with(Peer::Caller);
        let rapid = talk.taken(|talk| talk.received(1, 5, 20) && talk.received(3, 0, 4));
        assert_eq!(rapid, 2_000 - 1, "each earns 10 and costs 20");
        let mut talk = Conversation::with(Peer::Caller);
        let made = talk.taken(|talk| talk.received(1, 5, 20) && talk.sent(3, 0, 4));
        assert_eq!(made, 2_000 - 1, "nor may it make us do so");
        let mut talk = Conversation::with(Peer::Workload);
        let rapid = talk.taken(|talk| talk.received(1, 5, 20) && talk.received(3, 0, 4));
        assert_eq!(rapid, 20_000 - 1, "a gateway has many callers");
        let mut talk = Conversation::with(Peer::Endpoint);
        let ours = talk.taken(|talk| talk.sent(1, 5, 20) && talk.sent(3, 0, 4));
        assert_eq!(
            ours, 100_000,
            "toward an endpoint that is the callers' doing"
        );
    }

    #[test]
    fn honest_use_goes_on_for_ever() {
        let mut talk = Conversation::with(Peer::Caller);
        let unary = talk.taken(|talk| {
            // A unary call as gRPC's libraries make it, with a measuring ping and both windows opened.
            let request = talk.received(1, 4, 30) && talk.received(0, 1, 10);
            let answer = talk.sent(1, 4, 30) && talk.sent(0, 0, 10) && talk.sent(1, 5, 20);
            request
                && answer
                && talk.received(6, 0, 8)
                && talk.received(8, 0, 4)
                && talk.received(8, 0, 4)
        });
        let stream = talk.taken(|talk| {
            let told = talk.sent(0, 0, 10);
            told && talk.received(8, 0, 4) && talk.received(8, 0, 4) && talk.received(6, 0, 8)
        });
        let cancelled = talk.taken(|talk| {
            let half = talk.received(1, 5, 20) && talk.received(3, 0, 4);
            half && talk.received(1, 5, 20) && talk.sent(1, 5, 20)
        });
        assert_eq!((unary, stream, cancelled), (100_000, 100_000, 100_000));
    }

    #[test]
    fn time_gives_credit_back_but_never_more_than_at_first() {
        for (seconds, given) in [(2, 2_000), (3_600, MOST_CREDIT)] {
            let mut talk = Conversation::with(Peer::Caller);
            assert!((0..MOST_CREDIT).all(|_| talk.received(6, 0, 8)));
            talk.now.set(talk.now.get() + Duration::from_secs(seconds));
            assert_eq!(talk.taken(|talk| talk.received(6, 0, 8)), given);
        }
    }
}
