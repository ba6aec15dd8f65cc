//! What the kernel programs and user space agree on: `bpf/weave.h` in Rust.
//!
//! Invariant: sizes and offsets equal those of the C structures; the assertions at the end fail the
//! build otherwise. [`LAYOUT`] changes with any of them.

/// `WEAVE_LAYOUT`: maps of another layout are replaced, not read.
pub(super) const LAYOUT: u32 = 3;
/// `WEAVE_OWN`: index of the cell with our own flood list.
pub(super) const OWN: u32 = 4096;
/// `WEAVE_HOPS`: index of the first flood list cell.
pub(super) const HOPS: u32 = OWN + 1;
/// `WEAVE_LOCAL`: owner of an address behind our own bridge.
pub(super) const LOCAL: u32 = 0x1_0000;

/// `WEAVE_TABLES`: the generation that user space raises.
pub(super) const TABLES: u32 = 0;

/// `BPF_F_INNER_MAP`, from `linux/bpf.h`: inner arrays may differ in length.
pub(super) const INNER_MAP: u32 = 1 << 12;

/// `struct weave_config`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Config {
    pub(super) layout: u32,
    pub(super) datapath: u32,
    pub(super) tunnel: u32,
    pub(super) tap: u32,
    pub(super) hook: u32,
    pub(super) pad: u32,
    pub(super) object: u64,
    pub(super) datapath_mac: [u8; 8],
    pub(super) tunnel_mac: [u8; 8],
}

/// `enum weave_mode`, as stored in [`Cell::mode`]; zero is "nobody".
pub(super) mod mode {
    pub(in crate::bpf) const SELF: u8 = 1;
    pub(in crate::bpf) const FASTDP: u8 = 2;
    pub(in crate::bpf) const NO_ROUTE: u8 = 3;
    pub(in crate::bpf) const SLEEVE: u8 = 4;
}

/// `struct weave_cell`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cell {
    pub(super) name: u64,
    pub(super) vni: u32,
    pub(super) remote: u32,
    pub(super) local: u32,
    pub(super) device: u32,
    pub(super) first: u32,
    pub(super) count: u16,
    pub(super) mode: u8,
    pub(super) flags: u8,
}

/// `WEAVE_TREE_SLEEVE`, in [`Cell::flags`].
pub(super) const TREE_SLEEVE: u8 = 1;

/// `struct weave_mac`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mac {
    pub(super) seen: u64,
    pub(super) owner: u32,
    pub(super) pad: u32,
}

/// `struct weave_event`, read field by field from the ring.
pub(super) mod event {
    pub(in crate::bpf) const VNI: usize = 0;
    pub(in crate::bpf) const REMOTE: usize = 4;
    pub(in crate::bpf) const LOCAL: usize = 8;
    pub(in crate::bpf) const LENGTH: usize = 12;
    pub(in crate::bpf) const HEAD: usize = 16;
    pub(in crate::bpf) const SIZE: usize = HEAD + crate::fastdp::heartbeat::HEAD_LEN;
}

const _: () = {
    use std::mem::offset_of;

    assert!(size_of::<Config>() == 48);
    assert!(offset_of!(Config, datapath) == 4);
    assert!(offset_of!(Config, tunnel) == 8);
    assert!(offset_of!(Config, tap) == 12);
    assert!(offset_of!(Config, hook) == 16);
    assert!(offset_of!(Config, object) == 24);
    assert!(offset_of!(Config, datapath_mac) == 32);
    assert!(offset_of!(Config, tunnel_mac) == 40);

    assert!(size_of::<Cell>() == 32);
    assert!(offset_of!(Cell, vni) == 8);
    assert!(offset_of!(Cell, remote) == 12);
    assert!(offset_of!(Cell, local) == 16);
    assert!(offset_of!(Cell, device) == 20);
    assert!(offset_of!(Cell, first) == 24);
    assert!(offset_of!(Cell, count) == 28);
    assert!(offset_of!(Cell, mode) == 30);
    assert!(offset_of!(Cell, flags) == 31);

    assert!(size_of::<Mac>() == 16);
    assert!(offset_of!(Mac, owner) == 8);
    assert!(offset_of!(Mac, pad) == 12);

    assert!(event::SIZE == 40);
};
