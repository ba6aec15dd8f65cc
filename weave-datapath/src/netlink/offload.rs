//! Verbs on what a link leaves to its device.

use rtnetlink::{
    LinkUnspec,
    packet_route::{RouteNetlinkMessage, link::LinkAttribute},
};

use super::{
    Error, Netlink,
    socket::{Object, What},
};

impl Netlink {
    /// Sets how many packets the device takes as one and cuts itself; with 1 the kernel cuts all
    /// before the device has them.
    ///
    /// # Errors
    /// [`Error::Refused`] with `EINVAL` for more than the device can.
    pub async fn set_gso_max_segs(&self, index: u32, segments: u32) -> Result<(), Error> {
        let mut message = LinkUnspec::new_with_index(index).build();
        message.attributes.push(LinkAttribute::GsoMaxSegs(segments));
        let what = What("set segmentation of", Object::Index(index));
        self.change(RouteNetlinkMessage::NewLink(message), 0, what)
            .await
    }
}
