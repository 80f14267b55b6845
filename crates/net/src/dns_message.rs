//! DNS queries answered from the table (RFC 1035, RFC 2308, RFC 6891). No I/O.

use std::net::IpAddr;

use hauberk_config::dns::DnsTable;

/// Answers over UDP without EDNS fit in this (RFC 1035 §4.2.1).
pub const SHORT_ANSWER: usize = 512;
/// Most that is sent over UDP, whatever the client offers: no fragments.
const LONGEST_DATAGRAM: usize = 1232;

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;
const TYPE_ANY: u16 = 255;
const CLASS_IN: u16 = 1;

const FORMAT_ERROR: u8 = 1;
const NAME_ERROR: u8 = 3;
const NOT_IMPLEMENTED: u8 = 4;
const REFUSED: u8 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    Udp,
    Tcp,
}

struct Question<'a> {
    /// Lower case, no final dot.
    name: String,
    kind: u16,
    class: u16,
    /// The question section as it came.
    bytes: &'a [u8],
}

/// The answer to `query`; `None` if nothing should be sent (not a query, or too short to answer). `rotation` turns the
/// order of addresses, so that callers spread.
pub fn answer(
    table: &DnsTable,
    query: &[u8],
    carrier: Carrier,
    rotation: usize,
) -> Option<Vec<u8>> {
    let header: &[u8; HEADER] = query.first_chunk()?;
    let is_response = header[2] & 0x80 != 0;
    if is_response {
        return None;
    }
    let opcode = header[2] >> 3 & 0x0f;
    if opcode != 0 {
        return Some(reply(header, NOT_IMPLEMENTED, &[]));
    }
    let Some((question, rest)) = question(query) else {
        return Some(reply(header, FORMAT_ERROR, &[]));
    };
    let limit = match carrier {
        Carrier::Tcp => usize::from(u16::MAX),
        Carrier::Udp => offered_size(header, rest).map_or(SHORT_ANSWER, |size| {
            usize::from(size).clamp(SHORT_ANSWER, LONGEST_DATAGRAM)
        }),
    };
    Some(resolve(table, header, &question, limit, rotation))
}

fn resolve(
    table: &DnsTable,
    header: &[u8; HEADER],
    question: &Question<'_>,
    limit: usize,
    rotation: usize,
) -> Vec<u8> {
    if question.class != CLASS_IN {
        return reply(header, REFUSED, question.bytes);
    }
    let Some(record) = table.lookup(&question.name) else {
        return reply(header, NAME_ERROR, question.bytes);
    };
    let mut message = reply(header, 0, question.bytes);
    let wanted = |address: &&IpAddr| match question.kind {
        TYPE_A => address.is_ipv4(),
        TYPE_AAAA => address.is_ipv6(),
        TYPE_ANY => true,
        _ => false,
    };
    let addresses: Vec<&IpAddr> = record.addresses.iter().filter(wanted).collect();
    let seconds = u32::try_from(record.time_to_live.as_secs()).unwrap_or(u32::MAX);
    let mut count: u16 = 0;
    for index in 0..addresses.len() {
        let address = addresses[(index + rotation) % addresses.len()];
        let (kind, octets) = match address {
            IpAddr::V4(v4) => (TYPE_A, v4.octets().to_vec()),
            IpAddr::V6(v6) => (TYPE_AAAA, v6.octets().to_vec()),
        };
        if message.len() + 12 + octets.len() > limit || count == u16::MAX {
            // Truncated: the client asks again over TCP.
            message[2] |= 0x02;
            break;
        }
        // The name is a pointer to the question's.
        message.extend([0xc0, HEADER as u8]);
        message.extend(kind.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        message.extend(seconds.to_be_bytes());
        message.extend((octets.len() as u16).to_be_bytes());
        message.extend(octets);
        count += 1;
    }
    message[6..8].copy_from_slice(&count.to_be_bytes());
    message
}

/// Header and question of an answer with `code` and no records.
fn reply(query: &[u8; HEADER], code: u8, question: &[u8]) -> Vec<u8> {
    let recursion_desired = query[2] & 0x01;
    let mut message = vec![query[0], query[1], 0x84 | recursion_desired, 0x80 | code];
    message.extend(u16::from(!question.is_empty()).to_be_bytes());
    message.extend([0; 6]);
    message.extend(question);
    message
}

/// The one question, and what follows it.
fn question(query: &[u8]) -> Option<(Question<'_>, &[u8])> {
    if query.get(4..6)? != [0, 1] {
        return None;
    }
    let mut name = String::new();
    let mut at = HEADER;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        // A pointer makes no sense in the only name there is; RFC 1035 §2.3.4 limits labels and names.
        if length > 63 || name.len() + length > 254 {
            return None;
        }
        let label = query.get(at..at + length)?;
        if !name.is_empty() {
            name.push('.');
        }
        for byte in label {
            if !byte.is_ascii_graphic() || *byte == b'.' {
                return None;
            }
            name.push(char::from(byte.to_ascii_lowercase()));
        }
        at += length;
    }
    let tail = query.get(at..at + 4)?;
    let end = at + 4;
    let question = Question {
        name,
        kind: u16::from_be_bytes([tail[0], tail[1]]),
        class: u16::from_be_bytes([tail[2], tail[3]]),
        bytes: &query[HEADER..end],
    };
    Some((question, &query[end..]))
}

/// The datagram size that the client's OPT record offers, if that is its first additional record.
fn offered_size(header: &[u8; HEADER], rest: &[u8]) -> Option<u16> {
    let only_additional = header[6..10] == [0; 4] && header[10..12] != [0; 2];
    let &[0, a, b, c, d, ..] = rest else {
        return None;
    };
    (only_additional && u16::from_be_bytes([a, b]) == TYPE_OPT).then(|| u16::from_be_bytes([c, d]))
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests fail by panicking")]
mod tests {
    use std::time::Duration;

    use hauberk_config::dns::DnsRecord;

    use super::*;

    fn table() -> DnsTable {
        let record = |count: u8| DnsRecord {
            addresses: (1..=count)
                .map(|last| IpAddr::from([10, 0, 0, last]))
                .collect(),
            time_to_live: Duration::from_secs(30),
        };
        let mut table = DnsTable::default();
        table.records.insert("web.bank".into(), record(1));
        table.records.insert("many.bank".into(), record(200));
        table
    }

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(CLASS_IN.to_be_bytes());
        bytes
    }

    fn ask(name: &str, kind: u16, carrier: Carrier) -> Vec<u8> {
        answer(&table(), &query(name, kind), carrier, 0).expect("an answer")
    }

    fn counts(message: &[u8]) -> (u8, u16, bool) {
        (
            message[3] & 0x0f,
            u16::from_be_bytes([message[6], message[7]]),
            message[2] & 2 != 0,
        )
    }

    #[test]
    fn a_known_name_has_its_address_and_no_other_kind() {
        let message = ask("WEB.bank", TYPE_A, Carrier::Udp);
        assert_eq!(counts(&message), (0, 1, false));
        assert!(message.ends_with(&[0, 0, 0, 30, 0, 4, 10, 0, 0, 1]));
        assert_eq!(
            counts(&ask("web.bank", TYPE_AAAA, Carrier::Udp)),
            (0, 0, false)
        );
    }

    #[test]
    fn an_unknown_name_does_not_exist() {
        assert_eq!(counts(&ask("no.bank", TYPE_A, Carrier::Udp)), (3, 0, false));
    }

    #[test]
    fn a_long_answer_is_cut_over_udp_only() {
        let message = ask("many.bank", TYPE_A, Carrier::Udp);
        assert!(message.len() <= SHORT_ANSWER && counts(&message).2);
        assert_eq!(
            counts(&ask("many.bank", TYPE_A, Carrier::Tcp)),
            (0, 200, false)
        );
    }

    #[test]
    fn no_cut_or_flipped_query_makes_it_panic() {
        let whole = query("web.bank", TYPE_A);
        for index in 0..whole.len() {
            answer(&table(), &whole[..index], Carrier::Udp, 0);
            for value in 0..=255 {
                let mut bad = whole.clone();
                bad[index] = value;
                answer(&table(), &bad, Carrier::Udp, 1);
            }
        }
    }

    #[test]
    fn responses_are_not_answered() {
        let mut bytes = query("web.bank", TYPE_A);
        bytes[2] |= 0x80;
        assert_eq!(answer(&table(), &bytes, Carrier::Udp, 0), None);
    }
}
