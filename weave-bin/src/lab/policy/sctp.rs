//! SCTP by hand: enough of RFC 9260 to ask for an association and to be answered, for kernels
//! without SCTP sockets. Connection tracking knows the protocol all the same.
//!
//! ```text
//!  0                   1                   2                   3
//! +-------------------------------+-------------------------------+
//! |          source port          |       destination port        |
//! +-------------------------------+-------------------------------+
//! |                       verification tag                        |
//! +---------------------------------------------------------------+
//! |                            CRC-32c                            |
//! +---------------+---------------+-------------------------------+
//! | type 1 or 2   |     flags     |          length, 20           |
//! +---------------+---------------+-------------------------------+
//! |                         initiate tag                          |
//! +---------------------------------------------------------------+
//! |                        receiver window                        |
//! +-------------------------------+-------------------------------+
//! |       outbound streams        |        inbound streams        |
//! +-------------------------------+-------------------------------+
//! |                  initial transmission number                  |
//! +---------------------------------------------------------------+
//! ```

/// The IP protocol number of SCTP.
pub(super) const PROTOCOL: i32 = 132;
/// Length of a message in bytes.
pub(super) const LENGTH: usize = 32;

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Asks for an association.
    Init,
    /// Answers.
    InitAck,
}

/// An INIT or its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    /// What it is for.
    pub(super) kind: Kind,
    /// The sender's port.
    pub(super) source: u16,
    /// The receiver's port.
    pub(super) destination: u16,
    /// The tag that the receiver chose; 0 in an INIT.
    pub(super) verification: u32,
    /// The tag that the sender chose.
    pub(super) tag: u32,
}

impl Message {
    /// The answer to an INIT.
    pub(super) fn answer(&self) -> Self {
        Self {
            kind: Kind::InitAck,
            source: self.destination,
            destination: self.source,
            verification: self.tag,
            tag: self.tag,
        }
    }

    /// The bytes behind the IP header.
    pub(super) fn emit(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[0..2].copy_from_slice(&self.source.to_be_bytes());
        bytes[2..4].copy_from_slice(&self.destination.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.verification.to_be_bytes());
        bytes[12] = match self.kind {
            Kind::Init => 1,
            Kind::InitAck => 2,
        };
        bytes[15] = 20;
        bytes[16..20].copy_from_slice(&self.tag.to_be_bytes());
        bytes[20..24].copy_from_slice(&WINDOW.to_be_bytes());
        bytes[25] = 1;
        bytes[27] = 1;
        bytes[28..32].copy_from_slice(&self.tag.to_be_bytes());
        let sum = crc32c(&bytes);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads what [`Message::emit`] wrote; nothing else.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LENGTH] = bytes.get(..LENGTH)?.try_into().ok()?;
        let short = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let long = |at: usize| {
            u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let message = Self {
            kind: match bytes[12] {
                1 => Kind::Init,
                2 => Kind::InitAck,
                _ => return None,
            },
            source: short(0),
            destination: short(2),
            verification: long(4),
            tag: long(16),
        };
        (message.emit() == *bytes).then_some(message)
    }
}

/// CRC-32c (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let is_odd = crc & 1 == 1;
            crc >>= 1;
            if is_odd {
                crc ^= POLYNOMIAL;
            }
        }
    }
    !crc
}

/// The polynomial 0x1edc6f41 with its bits in reverse.
const POLYNOMIAL: u32 = 0x82f6_3b78;
const WINDOW: u32 = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_catalogue() {
        // The check value that catalogues of CRCs give for these nine bytes.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        let init = Message {
            kind: Kind::Init,
            source: 40_000,
            destination: 9003,
            verification: 0,
            tag: 0x0102_0304,
        };
        let mut bytes = init.emit();

        assert_eq!(Message::parse(&bytes), Some(init));
        assert_eq!(Message::parse(&bytes[..31]), None);
        assert_eq!(Message::parse(&init.answer().emit()), Some(init.answer()));
        bytes[20] ^= 1;
        assert_eq!(Message::parse(&bytes), None, "a damaged one");
    }

    #[test]
    fn an_answer_carries_the_tag_that_was_chosen() {
        let init = Message {
            kind: Kind::Init,
            source: 1,
            destination: 2,
            verification: 0,
            tag: 77,
        };

        let answer = init.answer();

        assert_eq!((answer.source, answer.destination), (2, 1));
        assert_eq!(answer.verification, 77);
    }
}
