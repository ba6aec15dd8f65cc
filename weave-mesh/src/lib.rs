//! weave-mesh.
