//! Verbs on the numbers that a namespace gives to others.

use std::os::fd::AsRawFd as _;

use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    nsid::{NsidAttribute, NsidMessage},
};

use super::{
    Error, Netlink,
    socket::{Object, What},
};
use crate::netns::Namespace;

impl Netlink {
    /// The number that this namespace gives to `other` (`RTM_GETNSID`); `None` while it gives it none.
    ///
    /// The kernel numbers a namespace when it first tells of a link whose other end is there, so list
    /// the links before.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn namespace_id(&self, other: &Namespace) -> Result<Option<i32>, Error> {
        let fd = u32::try_from(other.as_raw_fd())
            .expect("invariant: an open descriptor is not negative");
        let mut request = NsidMessage::default();
        request.attributes.push(NsidAttribute::Fd(fd));
        let what = What("number another namespace, out", Object::All);
        let answer = self
            .query(RouteNetlinkMessage::GetNsId(request), what)
            .await?;
        let Some(RouteNetlinkMessage::NewNsId(answer)) = answer else {
            return Ok(None);
        };
        Ok(answer
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                // -1 is NETNSA_NSID_NOT_ASSIGNED of linux/net_namespace.h.
                NsidAttribute::Id(id) if *id >= 0 => Some(*id),
                _ => None,
            }))
    }
}
