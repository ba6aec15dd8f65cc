//! Views and values for the packets the datapath handles itself.
//!
//! Every format has a *view* (`Packet<T>` or `Frame<T>`): bytes whose length was checked once, so
//! that no accessor can fail; and, where packets are also built, a *representation* (`Repr`): a
//! plain value with `parse` and `emit`. Nothing here allocates or does I/O.

pub mod checksum;
pub mod ethernet;
pub mod ipv4;
pub mod udp;
pub mod vxlan;

/// The bytes are not a packet of the wanted kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Fewer bytes than the header, or than the header says there are. Drop the packet.
    #[error("{layer} packet of {len} bytes is cut short, {need} are needed")]
    Truncated {
        /// Name of the format.
        layer: &'static str,
        /// Bytes present.
        len: usize,
        /// Bytes needed.
        need: usize,
    },
    /// A field holds a value that the format does not allow. Drop the packet.
    #[error("{layer} packet has an illegal {field}")]
    Illegal {
        /// Name of the format.
        layer: &'static str,
        /// Name of the field.
        field: &'static str,
    },
}

/// Refuses `bytes` shorter than `need`.
fn need(layer: &'static str, bytes: &[u8], need: usize) -> Result<(), Error> {
    if bytes.len() < need {
        return Err(Error::Truncated {
            layer,
            len: bytes.len(),
            need,
        });
    }
    Ok(())
}

/// Big-endian 16-bit field at `at`; the caller has checked the length.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
