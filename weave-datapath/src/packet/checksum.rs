//! The internet checksum (RFC 1071).

/// Checksum of `bytes`, ready to be written: zero over bytes that contain their own checksum.
#[must_use]
pub fn of(bytes: &[u8]) -> u16 {
    !fold(sum(0, bytes))
}

/// Adds `bytes` to a partial sum. All but the last piece of one packet need an even length.
#[must_use]
pub fn sum(start: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut total = start;
    for word in words {
        total += u64::from(u32::from_be_bytes(*word));
    }
    let (pairs, odd) = rest.as_chunks::<2>();
    for pair in pairs {
        total += u64::from(u16::from_be_bytes(*pair));
    }
    if let [last] = odd {
        total += u64::from(*last) << 8;
    }
    total
}

/// A partial sum as 16 bits, with the carries added in.
#[must_use]
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded below 2^16")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(0, &bytes)), 0xddf2);
        assert_eq!(of(&[]), 0xffff);
        assert_eq!(of(&[0xff]), 0x00ff);
    }

    proptest! {
        #[test]
        fn equal_to_adding_pair_by_pair(bytes in prop::collection::vec(any::<u8>(), 0..99), at in 0..50_usize) {
            let naive = bytes.chunks(2).map(|pair| {
                u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))
            }).sum();
            let at = (at * 2).min(bytes.len() / 2 * 2);
            prop_assert_eq!(fold(sum(sum(0, &bytes[..at]), &bytes[at..])), fold(naive));
        }
    }
}
