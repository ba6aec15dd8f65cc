//! The fast datapath: pod frames in kernel VXLAN, forwarded by programs that look up tables.
//!
//! Pure: [`Engine`] turns what the mesh knows into [`Tables`] and keeps the heartbeats of every
//! connection. The packets on the wire are those of the Open vSwitch datapath of Weave Net 2.x. The
//! kernel side is `crate::bpf`. `ALGORITHM.md` has the rules and their laws.

mod engine;
#[cfg(feature = "esp")]
pub mod esp;
pub mod health;
pub mod heartbeat;
mod hold;
mod names;
mod patience;
mod plan;
mod tables;
mod vni;

pub use engine::{Connection, ConnectionStatus, Engine, EngineConfig, Event, Transmit};
pub use heartbeat::Heartbeat;
pub use hold::HOLD;
pub use names::{PeerName, ShortId, ShortIdError};
pub use patience::PATIENCE;
pub use plan::Routes;
pub use tables::{Entry, Hop, Path, Route, TableUpdate, Tables};
pub use vni::Vni;

/// UDP port of the tunnel: the mesh's default port plus one.
pub const PORT: u16 = 6784;

/// Default overlay MTU in bytes: a 1460-byte underlay less 50 bytes of tunnel and 34 of ESP.
pub const DEFAULT_MTU: u16 = 1376;
