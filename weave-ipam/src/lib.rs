//! weave-ipam.
