//! weave-datapath.
