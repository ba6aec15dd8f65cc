//! What the data plane puts through the mesh: the list of overlays both sides offer, and control
//! messages between them (Weave Net mesh protocol, sections 1.8 and 2.3).
//!
//! The invariant: [`Common::encode`] never yields a message that harms a Weave Net router, which
//! indexes tables with what it receives, and [`Common::decode`] never hands out an index without
//! an overlay.

use bytes::{BufMut, Bytes, BytesMut};

use crate::wire::message::Message;

/// The overlays both ends of a connection offer, in our order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Common {
    names: Vec<String>,
    /// The remote announced nothing: sleeve with bare tags.
    compatibility: bool,
}

/// The two lists share no overlay. The connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no overlays in common with peer")]
pub struct NoneInCommon;

/// Why a control message cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The body has no inner tag. Nothing was sent.
    #[error("overlay control body is shorter than two bytes")]
    Short,
    /// The index names no overlay of the common list. Nothing was sent.
    #[error("overlay control index {0} is outside the common list")]
    Index(u8),
    /// A remote in compatibility mode has no message for this tag and payload. Nothing was sent.
    #[error("overlay control tag {0} does not exist in compatibility mode")]
    Compatibility(u8),
}

impl Common {
    /// Intersects both lists in our order. `theirs` is `None` if the remote announced nothing.
    ///
    /// # Errors
    ///
    /// Fails if nothing is shared. A remote that announced nothing shares `sleeve`, and with a
    /// peer that offers nothing either, the empty list.
    pub fn negotiate(ours: &[String], theirs: Option<&[String]>) -> Result<Self, NoneInCommon> {
        let Some(theirs) = theirs else {
            let compatibility = ours.iter().any(|name| name == SLEEVE);
            if !compatibility && !ours.is_empty() {
                return Err(NoneInCommon);
            }
            let names = ours
                .iter()
                .filter(|name| *name == SLEEVE)
                .cloned()
                .collect();
            return Ok(Self {
                names,
                compatibility,
            });
        };
        let mut names: Vec<_> = ours
            .iter()
            .filter(|name| theirs.contains(name))
            .cloned()
            .collect();
        names.truncate(MAX_OVERLAYS);
        if names.is_empty() {
            return Err(NoneInCommon);
        }
        Ok(Self {
            names,
            compatibility: false,
        })
    }

    /// The shared overlays; a control message names them by their position.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the remote knows only bare sleeve messages.
    #[must_use]
    pub fn is_compatibility(&self) -> bool {
        self.compatibility
    }

    /// Encodes a body (index, inner tag, payload) as a protocol message.
    ///
    /// # Errors
    ///
    /// Refuses what the remote would index out of bounds with.
    pub fn encode(&self, body: &[u8]) -> Result<Vec<u8>, ControlError> {
        let [index, tag, payload @ ..] = body else {
            return Err(ControlError::Short);
        };
        if usize::from(*index) >= self.names.len() {
            return Err(ControlError::Index(*index));
        }
        if !self.compatibility {
            return Ok(Message::Control { body }.emit());
        }
        match (*tag, payload) {
            (TAG_ESTABLISHED, []) => Ok(Message::LegacyEstablished.emit()),
            (TAG_FRAGMENTATION, []) => Ok(Message::LegacyFragmentation.emit()),
            (TAG_PMTU, &[high, low]) => {
                Ok(Message::LegacyPmtu(u16::from_be_bytes([high, low])).emit())
            }
            (tag, _) => Err(ControlError::Compatibility(tag)),
        }
    }

    /// The body (index, inner tag, payload) of a received overlay message, or `None` if it is
    /// malformed or of a form that was not negotiated.
    #[must_use]
    pub fn decode(&self, message: &Message<'_>) -> Option<Bytes> {
        let bare = |tag: u8, payload: &[u8]| {
            let mut body = BytesMut::with_capacity(2 + payload.len());
            body.put_slice(&[0, tag]);
            body.put_slice(payload);
            self.compatibility.then(|| body.freeze())
        };
        match message {
            Message::LegacyEstablished => bare(TAG_ESTABLISHED, &[]),
            Message::LegacyFragmentation => bare(TAG_FRAGMENTATION, &[]),
            Message::LegacyPmtu(mtu) => bare(TAG_PMTU, &mtu.to_be_bytes()),
            Message::Control { body } => match body {
                [index, _, ..] if !self.compatibility && usize::from(*index) < self.names.len() => {
                    Some(Bytes::copy_from_slice(body))
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// The overlay a remote without announcement uses.
const SLEEVE: &str = "sleeve";
/// The index is one byte.
const MAX_OVERLAYS: usize = 256;
/// Sleeve's inner tags, which are the protocol tags in compatibility mode.
const TAG_ESTABLISHED: u8 = 1;
const TAG_FRAGMENTATION: u8 = 2;
const TAG_PMTU: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn common(ours: &[&str], theirs: Option<&[&str]>) -> Result<Common, NoneInCommon> {
        Common::negotiate(&list(ours), theirs.map(list).as_deref())
    }

    #[test]
    fn the_common_list_keeps_our_order() {
        let both = common(&["fastdp", "sleeve"], Some(&["sleeve", "other", "fastdp"])).unwrap();

        assert_eq!(both.names(), ["fastdp", "sleeve"]);
        assert!(!both.is_compatibility());
    }

    #[test]
    fn lists_without_a_shared_name_end_the_connection() {
        assert_eq!(common(&["fastdp"], Some(&["sleeve"])), Err(NoneInCommon));
        assert_eq!(common(&["fastdp"], Some(&[])), Err(NoneInCommon));
        assert_eq!(common(&[], Some(&["sleeve"])), Err(NoneInCommon));
        assert_eq!(NoneInCommon.to_string(), "no overlays in common with peer");
    }

    #[test]
    fn a_silent_remote_speaks_sleeve() {
        let sleeve = common(&["fastdp", "sleeve"], None).unwrap();

        assert_eq!(sleeve.names(), ["sleeve"]);
        assert!(sleeve.is_compatibility());
        assert_eq!(common(&["fastdp"], None), Err(NoneInCommon));
        assert_eq!(common(&[], None).unwrap().names(), &[] as &[String]);
    }

    #[test]
    fn bodies_that_crash_a_router_are_not_sent() {
        let both = common(&["fastdp", "sleeve"], Some(&["fastdp", "sleeve"])).unwrap();

        assert_eq!(both.encode(&[]), Err(ControlError::Short));
        assert_eq!(both.encode(&[0]), Err(ControlError::Short));
        assert_eq!(both.encode(&[2, 0]), Err(ControlError::Index(2)));
        assert_eq!(both.encode(&[1, 3, 5, 0x9e]), Ok(vec![7, 1, 3, 5, 0x9e]));
    }

    #[test]
    fn compatibility_mode_has_bare_messages_only() {
        let sleeve = common(&["sleeve"], None).unwrap();

        assert_eq!(sleeve.encode(&[0, 1]), Ok(vec![1]));
        assert_eq!(sleeve.encode(&[0, 2]), Ok(vec![2]));
        assert_eq!(sleeve.encode(&[0, 3, 5, 0x9e]), Ok(vec![3, 5, 0x9e]));
        assert_eq!(
            sleeve.encode(&[0, 3, 5]),
            Err(ControlError::Compatibility(3))
        );
        assert_eq!(sleeve.encode(&[0, 9]), Err(ControlError::Compatibility(9)));

        let body = sleeve.decode(&Message::LegacyPmtu(1438)).unwrap();
        assert_eq!(body, [0_u8, 3, 5, 0x9e].as_slice());
        assert_eq!(sleeve.decode(&Message::Control { body: &[0, 1] }), None);
    }

    #[test]
    fn malformed_messages_of_a_remote_are_not_handed_out() {
        let both = common(&["fastdp", "sleeve"], Some(&["fastdp", "sleeve"])).unwrap();

        for body in [&[][..], &[0], &[2, 0], &[255, 0]] {
            assert_eq!(both.decode(&Message::Control { body }), None);
        }
        assert_eq!(both.decode(&Message::LegacyEstablished), None);
        let body = both.decode(&Message::Control { body: &[1, 9, 9] }).unwrap();
        assert_eq!(body, [1_u8, 9, 9].as_slice());
    }
}
