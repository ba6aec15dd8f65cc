//! Where things are in an entry, for tables of IPv4 and of IPv6.
//!
//! Both kinds differ in the size of an address and in what stands around the interfaces; the rest
//! follows. Source: `linux/netfilter_ipv4/ip_tables.h`, `linux/netfilter_ipv6/ip6_tables.h`.

use nix::libc;
use nix::sys::socket::AddressFamily;

/// Which packets a table is about: each kind has its own tables in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Those of IPv4.
    Ipv4,
    /// Those of IPv6.
    Ipv6,
}

/// Offsets and sizes in bytes, from the start of an entry.
#[derive(Debug)]
pub(super) struct Layout {
    /// Of one address; an entry begins with source, destination and their masks.
    pub(super) address: usize,
    /// Of what is matched without extensions: `struct ipt_ip`, `struct ip6t_ip6`.
    pub(super) header: usize,
    pub(super) input: usize,
    pub(super) output: usize,
    pub(super) input_mask: usize,
    pub(super) output_mask: usize,
    pub(super) protocol: usize,
    pub(super) invert: usize,
    pub(super) target_offset: usize,
    pub(super) next_offset: usize,
    pub(super) counters: usize,
    /// Of an entry without matches and target.
    pub(super) entry: usize,
}

impl Protocol {
    pub(super) const fn layout(self) -> &'static Layout {
        match self {
            Self::Ipv4 => &IPV4,
            Self::Ipv6 => &IPV6,
        }
    }

    pub(super) const fn socket(self) -> AddressFamily {
        match self {
            Self::Ipv4 => AddressFamily::Inet,
            Self::Ipv6 => AddressFamily::Inet6,
        }
    }

    /// The level of socket options.
    pub(super) const fn level(self) -> i32 {
        match self {
            Self::Ipv4 => libc::IPPROTO_IP,
            Self::Ipv6 => libc::IPPROTO_IPV6,
        }
    }

    /// Name of the file with the names of the tables that are in use.
    pub(super) const fn names(self) -> &'static str {
        match self {
            Self::Ipv4 => "ip_tables_names",
            Self::Ipv6 => "ip6_tables_names",
        }
    }
}

const IPV4: Layout = Layout::new(4, 83, 84);
const IPV6: Layout = Layout::new(16, 132, 136);

impl Layout {
    /// Behind four addresses come two interface names, their masks, and the number of a protocol;
    /// behind the header `nfcache`, the two offsets and `comefrom`, and counters of 64 bits.
    const fn new(address: usize, invert: usize, header: usize) -> Self {
        let input = 4 * address;
        let counters = (header + 12).next_multiple_of(8);
        Self {
            address,
            header,
            input,
            output: input + NAME_LEN,
            input_mask: input + 2 * NAME_LEN,
            output_mask: input + 3 * NAME_LEN,
            protocol: input + 4 * NAME_LEN,
            invert,
            target_offset: header + 4,
            next_offset: header + 6,
            counters,
            entry: counters + 16,
        }
    }
}

/// `IFNAMSIZ`.
pub(super) const NAME_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_those_of_the_kernel_headers() {
        // `sizeof(struct ipt_entry)` and `offsetof` of its fields, as a C compiler gives them.
        assert_eq!((IPV4.input, IPV4.output, IPV4.protocol), (16, 32, 80));
        assert_eq!((IPV4.target_offset, IPV4.next_offset), (88, 90));
        assert_eq!((IPV4.counters, IPV4.entry), (96, 112));
        assert_eq!((IPV6.input, IPV6.output, IPV6.protocol), (64, 80, 128));
        assert_eq!((IPV6.target_offset, IPV6.next_offset), (140, 142));
        assert_eq!((IPV6.counters, IPV6.entry), (152, 168));
    }
}
