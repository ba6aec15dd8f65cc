//! Reads netlink messages and attributes, and writes nested ones.
//!
//! ```text
//! message    | length u32 | type u16 | flags u16 | sequence u32 | port u32 | payload … |
//! payload    | family u8 | version u8 | resource u16 (network order) | attributes … |
//! attribute  | length u16 | type u16 | value … | padding to 4 |
//! ```
//!
//! Layout: `linux/netlink.h`, `linux/netfilter/nfnetlink.h`. Numbers of headers are in the host's
//! order, numbers in values of netfilter in network order.
//!
//! Invariant: a length that does not fit ends the iteration; nothing is read beyond the buffer and
//! nothing is allocated.

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) port: u32,
    pub(crate) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The family of a netfilter message, and its attributes.
    pub(crate) fn netfilter(&self) -> Option<(u8, Attributes<'a>)> {
        let (header, rest) = self.payload.split_at_checked(NFGENMSG)?;
        Some((header[0], Attributes(rest)))
    }
}

/// The messages of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Messages<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let header = self.0.first_chunk::<NLMSGHDR>()?;
        let len = usize::try_from(u32_at(header, 0)?).ok()?;
        let payload = self.0.get(NLMSGHDR..len)?;
        let message = Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32_at(header, 8)?,
            port: u32_at(header, 12)?,
            payload,
        };
        self.0 = self
            .0
            .get(len.next_multiple_of(ALIGN)..)
            .unwrap_or_default();
        Some(message)
    }
}

/// One attribute; the type is without the flags for nesting and byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attribute<'a> {
    pub(crate) kind: u16,
    pub(crate) value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The attributes in it.
    pub(crate) fn nested(self) -> Attributes<'a> {
        Attributes(self.value)
    }

    /// A text, up to its final zero.
    pub(crate) fn text(self) -> Option<&'a str> {
        let end = self
            .value
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(self.value.len());
        std::str::from_utf8(&self.value[..end]).ok()
    }

    /// A number of one byte.
    pub(crate) fn u8(self) -> Option<u8> {
        self.value.first().copied()
    }

    /// A number of two bytes in network order.
    pub(crate) fn u16(self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.value.first_chunk()?))
    }

    /// A number of four bytes in network order.
    pub(crate) fn u32(self) -> Option<u32> {
        Some(u32::from_be_bytes(*self.value.first_chunk()?))
    }

    /// A number of eight bytes in network order.
    pub(crate) fn u64(self) -> Option<u64> {
        Some(u64::from_be_bytes(*self.value.first_chunk()?))
    }
}

/// Attributes one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Attributes<'a> {
    /// The first attribute of a type.
    pub(crate) fn find(self, kind: u16) -> Option<Attribute<'a>> {
        let mut all = self;
        Iterator::find(&mut all, |attribute| attribute.kind == kind)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let header = self.0.first_chunk::<NLATTR>()?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let value = self.0.get(NLATTR..len)?;
        self.0 = self
            .0
            .get(len.next_multiple_of(ALIGN)..)
            .unwrap_or_default();
        Some(Attribute { kind, value })
    }
}

/// Attributes encoded one after the other.
pub(crate) fn nested(attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, value) in attributes {
        let len =
            u16::try_from(value.len() + 4).expect("invariant: values are shorter than 60 KiB");
        bytes.extend_from_slice(&len.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// Attributes written one behind the other, and into each other.
///
/// The types of `netlink-packet-netfilter` ask every part for its length at every level above it;
/// for lists of many small parts that is most of the work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// An attribute with this value.
    pub(crate) fn put(&mut self, kind: u16, value: &[u8]) {
        self.nest(kind, |writer| writer.0.extend_from_slice(value));
    }

    /// A text with its final zero.
    pub(crate) fn text(&mut self, kind: u16, text: &str) {
        self.nest(kind, |writer| {
            writer.0.extend_from_slice(text.as_bytes());
            writer.0.push(0);
        });
    }

    /// An attribute with what `fill` writes, which is shorter than 64 KiB.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; NLATTR]);
        fill(self);
        let len = u16::try_from(self.0.len() - start)
            .expect("invariant: what is written at once is shorter than 60 KiB");
        self.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self.0[start + 2..start + NLATTR].copy_from_slice(&kind.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(ALIGN), 0);
    }

    /// How much was written.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets what was written behind the first `len` bytes, and gives it.
    pub(crate) fn split_off(&mut self, len: usize) -> Self {
        Self(self.0.split_off(len))
    }

    /// What was written.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What was written.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

const NLMSGHDR: usize = 16;
const NFGENMSG: usize = 4;
const NLATTR: usize = 4;
const ALIGN: usize = 4;
/// Without `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const TYPE_MASK: u16 = 0x3fff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_end_where_a_length_does_not_fit() {
        let mut bytes = vec![6, 0, 1, 0x80, b'a', b'b', 0, 0, 8, 0, 2, 0, 0, 0, 1, 2];

        let kinds: Vec<(u16, usize)> = Attributes(&bytes)
            .map(|attribute| (attribute.kind, attribute.value.len()))
            .collect();
        assert_eq!(kinds, [(1, 2), (2, 4)]);
        assert_eq!(
            Attributes(&bytes).find(2).and_then(Attribute::u32),
            Some(258)
        );

        for bad in [0, 3, 9, 255] {
            bytes[8] = bad;
            assert_eq!(Attributes(&bytes).count(), 1, "length {bad}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.text(1, "ab");
        writer.nest(2 | 0x8000, |writer| {
            writer.put(3, &[7; 5]);
            writer.put(4, &[]);
        });

        let bytes = writer.into_bytes();

        let inner = nested(&[(3, &[7; 5]), (4, &[])]);
        assert_eq!(bytes, nested(&[(1, b"ab\0"), (2 | 0x8000, &inner)]));
        let kinds: Vec<u16> = Attributes(&bytes).map(|found| found.kind).collect();
        assert_eq!(kinds, [1, 2]);
    }

    #[test]
    fn messages_end_where_a_length_does_not_fit() {
        let mut bytes = vec![20, 0, 0, 0, 3, 0, 2, 0, 7, 0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0];
        if cfg!(target_endian = "little") {
            let message = Messages(&bytes).next().unwrap();
            assert_eq!(
                (message.kind, message.flags, message.sequence, message.port),
                (3, 2, 7, 9)
            );
            assert_eq!(message.netfilter().unwrap().0, 2);
        }
        for bad in [0, 15, 21, 255] {
            bytes[0] = bad;
            assert_eq!(Messages(&bytes).count(), 0, "length {bad}");
        }
    }
}
