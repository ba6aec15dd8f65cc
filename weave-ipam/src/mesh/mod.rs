//! Gob messages, byte compatible with Weave Net 2.x.
