//! Our own value in the data file: the whole state, sealed.
//!
//! ```text
//!   magic 7 | version 1 | txid u64 | parent 32 | values 32 | body … | seal 32
//! ```
//!
//! `seal` is the SHA-256 of everything before it, `values` that of all other values of the bucket,
//! `parent` the seal of the state before. So damage is noticed; a file that Weave Net has written
//! since is told from a damaged one; and the newest state is found by following parents even when
//! no meta page leads to it.

use sha2::{Digest as _, Sha256};

use super::bolt::Values;

/// A SHA-256.
pub(super) type Digest = [u8; 32];

/// A state as it was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sealed {
    /// The transaction that wrote it.
    pub(super) txid: u64,
    /// The seal of the state before, zeros for the first.
    pub(super) parent: Digest,
    /// Its own seal.
    pub(super) seal: Digest,
    /// Whether the other values are those it was written with.
    pub(super) fits: bool,
    /// The state.
    pub(super) body: Vec<u8>,
}

/// Why a sealed state cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// It is not what was written.
    Damaged,
    /// A later program wrote it.
    Version(u8),
}

/// Seals `body` into `values`; what was sealed there before is replaced. Returns the seal.
pub(super) fn seal(values: &mut Values, txid: u64, parent: &Digest, body: &[u8]) -> Digest {
    let mut out = Vec::with_capacity(HEADER + body.len() + 32);
    out.extend_from_slice(MAGIC);
    out.push(VERSION);
    out.extend_from_slice(&txid.to_le_bytes());
    out.extend_from_slice(parent);
    out.extend_from_slice(&digest(values));
    out.extend_from_slice(body);
    let seal: Digest = Sha256::digest(&out).into();
    out.extend_from_slice(&seal);
    values.insert(KEY.to_vec(), out);
    seal
}

/// The state sealed in `values`; `None` when there is none.
pub(super) fn open(values: &Values) -> Result<Option<Sealed>, Broken> {
    let Some(bytes) = values.get(KEY) else {
        return Ok(None);
    };
    if bytes.len() < HEADER + 32 {
        return Err(Broken::Damaged);
    }
    let (sealed, seal) = bytes.split_at(bytes.len() - 32);
    let version = sealed[MAGIC.len()];
    if !sealed.starts_with(MAGIC) || Sha256::digest(sealed).as_slice() != seal {
        return Err(Broken::Damaged);
    }
    if version != VERSION {
        return Err(Broken::Version(version));
    }
    let part = |from: usize| -> Digest {
        sealed[from..from + 32]
            .try_into()
            .expect("invariant: 32 bytes are 32 bytes")
    };
    let txid = sealed[8..16]
        .try_into()
        .expect("invariant: 8 bytes are 8 bytes");
    Ok(Some(Sealed {
        txid: u64::from_le_bytes(txid),
        parent: part(16),
        seal: seal.try_into().expect("invariant: 32 bytes are 32 bytes"),
        fits: part(48) == digest(values),
        body: sealed[HEADER..].to_vec(),
    }))
}

/// The digest of all values but our own.
fn digest(values: &Values) -> Digest {
    let mut hash = Sha256::new();
    for (key, value) in values.iter().filter(|(key, _)| *key != KEY) {
        for part in [key, value] {
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            hash.update(length.to_le_bytes());
            hash.update(part);
        }
    }
    hash.finalize().into()
}

/// The key of our value; Weave Net keeps keys it does not know.
pub(super) const KEY: &[u8] = b"weave-state";
/// The version of the body and of this layout.
pub(super) const VERSION: u8 = 2;
const MAGIC: &[u8; 7] = b"WEAVEDB";
const HEADER: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        Values::from([
            (b"version".to_vec(), vec![1, 0]),
            (b"flag:a".to_vec(), vec![7]),
        ])
    }

    #[test]
    fn what_is_sealed_is_opened() {
        let mut sealed = values();

        let seal = seal(&mut sealed, 9, &[3; 32], b"body");

        let opened = open(&sealed).unwrap().unwrap();
        let expected = Sealed {
            txid: 9,
            parent: [3; 32],
            seal,
            fits: true,
            body: b"body".to_vec(),
        };
        assert_eq!(opened, expected);
        assert_eq!(open(&values()), Ok(None));
    }

    #[test]
    fn another_value_no_longer_fits() {
        let mut sealed = values();
        seal(&mut sealed, 9, &[0; 32], b"body");

        sealed.insert(b"flag:a".to_vec(), vec![8]);
        let changed = open(&sealed).unwrap().unwrap().fits;
        sealed.remove(b"flag:a".as_slice());

        assert!(!changed);
        assert!(!open(&sealed).unwrap().unwrap().fits);
    }

    #[test]
    fn any_flipped_bit_and_any_cut_breaks_the_seal() {
        let mut sealed = values();
        seal(&mut sealed, 9, &[0; 32], b"body");
        let whole = sealed[KEY].clone();

        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            sealed.insert(KEY.to_vec(), bytes);
            assert_eq!(open(&sealed), Err(Broken::Damaged), "bit {bit}");
        }
        for length in 0..whole.len() {
            sealed.insert(KEY.to_vec(), whole[..length].to_vec());
            assert_eq!(open(&sealed), Err(Broken::Damaged), "cut at {length}");
        }
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut bytes = [MAGIC.as_slice(), &[VERSION + 1], &[0; 72]].concat();
        let seal = Sha256::digest(&bytes);
        bytes.extend_from_slice(&seal);

        let opened = open(&Values::from([(KEY.to_vec(), bytes)]));

        assert_eq!(opened, Err(Broken::Version(VERSION + 1)));
    }
}
