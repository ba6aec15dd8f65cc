//! Gob's primitives: variable-length integers and length-prefixed bytes.
//!
//! Reading never goes past the slice and never allocates. For a type that both sides know, a reader
//! can be written straight on a [`Cursor`]: [`Decoder::next_shaped`](super::Decoder::next_shaped).

use super::Error;

/// A reading position in a slice of gob bytes.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// At the start of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// An unsigned integer: 0–127 as one byte, else one byte 256 − n and n bytes big-endian.
    ///
    /// # Errors
    /// [`Error::UnexpectedEof`]; [`Error::IntegerTooLong`] if it takes more than eight bytes.
    #[inline]
    pub fn uint(&mut self) -> Result<u64, Error> {
        let (&first, rest) = self.rest.split_first().ok_or(Error::UnexpectedEof)?;
        if first < 0x80 {
            self.rest = rest;
            return Ok(u64::from(first));
        }
        let width = usize::from(first.wrapping_neg());
        if width > 8 {
            return Err(Error::IntegerTooLong);
        }
        if let Some(digits) = rest.first_chunk::<8>() {
            self.rest = &rest[width..];
            return Ok(u64::from_be_bytes(*digits) >> (64 - 8 * width));
        }
        let (digits, rest) = rest.split_at_checked(width).ok_or(Error::UnexpectedEof)?;
        self.rest = rest;
        Ok(digits
            .iter()
            .fold(0, |value, &digit| value << 8 | u64::from(digit)))
    }

    /// A signed integer: bit 0 tells whether the other bits are complemented.
    ///
    /// # Errors
    /// As [`Cursor::uint`].
    pub fn int(&mut self) -> Result<i64, Error> {
        let raw = self.uint()?;
        let half = (raw >> 1).cast_signed();
        Ok(if raw & 1 == 0 { half } else { !half })
    }

    /// The bits of a double, bytes reversed.
    ///
    /// # Errors
    /// As [`Cursor::uint`].
    pub fn float(&mut self) -> Result<f64, Error> {
        Ok(f64::from_bits(self.uint()?.swap_bytes()))
    }

    /// A length-prefixed byte string.
    ///
    /// # Errors
    /// As [`Cursor::uint`]; [`Error::LengthBeyondMessage`] if there are fewer bytes.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let length = self.uint()?;
        self.take(length).ok_or(Error::LengthBeyondMessage(length))
    }

    /// A number of elements, each of which takes at least one byte.
    ///
    /// # Errors
    /// As [`Cursor::uint`]; [`Error::LengthBeyondMessage`] if there are fewer bytes than elements.
    pub fn count(&mut self) -> Result<usize, Error> {
        let count = self.uint()?;
        usize::try_from(count)
            .ok()
            .filter(|&count| count <= self.rest.len())
            .ok_or(Error::LengthBeyondMessage(count))
    }

    /// A length-prefixed message of a stream.
    pub(crate) fn message(&mut self) -> Result<Self, Error> {
        let length = self.uint()?;
        self.take(length).map(Self::new).ok_or(Error::UnexpectedEof)
    }

    /// The next `N` bytes, if there are so many; the cursor stays where it is.
    #[must_use]
    pub const fn peek<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.rest.first_chunk()
    }

    /// Moves past some bytes, at most to the end.
    pub fn skip(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    /// Whether everything has been read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(taken)
    }
}

/// Appends an unsigned integer in its shortest form.
#[inline]
pub fn put_uint(out: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        out.extend_from_slice(&value.to_be_bytes()[7..]);
        return;
    }
    let zeros = value.leading_zeros() / 8;
    let [.., marker] = zeros.wrapping_sub(8).to_be_bytes();
    let mut bytes = [marker; 9];
    bytes[1..].copy_from_slice(&(value << (8 * zeros)).to_be_bytes());
    out.extend_from_slice(&bytes);
    out.truncate(out.len() - zeros as usize);
}

/// Appends a signed integer.
pub fn put_int(out: &mut Vec<u8>, value: i64) {
    let doubled = value.cast_unsigned() << 1;
    put_uint(out, if value < 0 { !doubled } else { doubled });
}

/// Appends a length-prefixed byte string.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_uint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const UINTS: [(u64, &[u8]); 7] = [
        (0, &[0]),
        (127, &[0x7f]),
        (128, &[0xff, 0x80]),
        (255, &[0xff, 0xff]),
        (256, &[0xfe, 1, 0]),
        (0x0a00_0000_0001, &[0xfa, 0x0a, 0, 0, 0, 0, 1]),
        (u64::MAX, &[0xf8, 255, 255, 255, 255, 255, 255, 255, 255]),
    ];
    const INTS: [(i64, &[u8]); 5] = [
        (-65, &[0xff, 0x81]),
        (65, &[0xff, 0x82]),
        (-64, &[0x7f]),
        (i64::MIN, &[0xf8, 255, 255, 255, 255, 255, 255, 255, 255]),
        (i64::MAX, &[0xf8, 255, 255, 255, 255, 255, 255, 255, 254]),
    ];

    #[test]
    fn integers_are_written_and_read_back() {
        for (value, bytes) in UINTS {
            let mut out = Vec::new();
            put_uint(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(Cursor::new(bytes).uint(), Ok(value));
        }
        for (value, bytes) in INTS {
            let mut out = Vec::new();
            put_int(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(Cursor::new(bytes).int(), Ok(value));
        }
    }

    #[test]
    fn integers_need_not_be_minimal_but_fit_eight_bytes() {
        assert_eq!(Cursor::new(&[0xfe, 0, 11]).uint(), Ok(11));
        assert_eq!(
            Cursor::new(&[0xf7, 0, 0, 0, 0, 0, 0, 0, 0, 0]).uint(),
            Err(Error::IntegerTooLong)
        );
    }

    #[test]
    fn an_integer_reads_the_same_at_the_end_and_in_front_of_more() {
        for (value, bytes) in UINTS {
            let mut longer = bytes.to_vec();
            longer.extend([0xaa; 9]);
            let mut cursor = Cursor::new(&longer);

            assert_eq!(cursor.uint(), Ok(value));
            assert_eq!(cursor.rest, [0xaa; 9]);
            assert_eq!(cursor.peek(), Some(&[0xaa; 9]));
            assert_eq!(cursor.peek::<10>(), None);
            cursor.skip(8);
            assert_eq!(cursor.rest, [0xaa]);
            cursor.skip(2);
            assert!(cursor.is_empty());
            let cut = Cursor::new(&bytes[..bytes.len() - 1]).uint();
            assert_eq!(cut, Err(Error::UnexpectedEof));
        }
    }

    #[test]
    fn lengths_are_checked_against_what_is_left() {
        assert_eq!(
            Cursor::new(&[3, 1, 2]).bytes(),
            Err(Error::LengthBeyondMessage(3))
        );
        assert_eq!(
            Cursor::new(&[3, 1, 2]).count(),
            Err(Error::LengthBeyondMessage(3))
        );
        assert_eq!(Cursor::new(&[]).uint(), Err(Error::UnexpectedEof));
    }
}
