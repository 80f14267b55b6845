//! A hash that is the same in every proxy and every version of it, so that all agree on who serves a key. FNV-1a
//! (draft-eastlake-fnv), its bits mixed by the finalizer of SplitMix64, since FNV's upper bits alone are poor.

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Nobody may rely on it against an adversary: callers can find keys that meet on one host.
pub fn hash(bytes: &[u8], seed: u64) -> u64 {
    let raw = bytes.iter().fold(OFFSET ^ mix(seed), |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(PRIME)
    });
    mix(raw)
}

pub fn mix(value: u64) -> u64 {
    let mixed = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
