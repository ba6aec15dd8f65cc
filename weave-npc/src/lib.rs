//! weave-npc.
