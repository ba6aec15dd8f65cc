//! What the kernel tells without being asked: changes of rules, and packets that were logged.
//!
//! Invariant: an ear that fails is closed, and opened again by the next [`Ears::open`]; nothing that
//! is heard is lost when the listening is cut short.

use tracing::warn;
use weave_npc::compile::Options;
use weave_npc::netlink::{Changes, Monitor};
use weave_npc::nflog::{Logged, Reader};

use super::ready::Ready;

/// Both ears.
#[derive(Debug, Default)]
pub(super) struct Ears {
    monitor: Option<Ready<Monitor>>,
    reader: Option<Ready<Reader>>,
    /// Why blocked connections are not logged.
    pub(super) log_fault: Option<String>,
}

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// Somebody changed rules.
    Changes(Changes),
    /// Packets that were logged, and how many were lost before them.
    Packets(Vec<Logged>, u64),
    /// An ear was closed.
    Nothing,
}

impl Ears {
    /// Waits until there is something.
    ///
    /// # Cancel safety
    /// Nothing is heard when the future is dropped.
    pub(super) async fn hear(&mut self) -> Heard {
        let Self {
            monitor, reader, ..
        } = self;
        let changed = async {
            match monitor {
                Some(monitor) => monitor.read(|monitor| (monitor.drain(), false)).await,
                None => std::future::pending().await,
            }
        };
        let logged = async {
            match reader {
                Some(reader) => {
                    let drain = |reader: &mut Reader| match reader.drain(PACKETS) {
                        Ok(received) => (Ok((received.packets, received.lost)), received.is_more),
                        Err(error) => (Err(error), false),
                    };
                    reader.read(drain).await
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            outcome = changed => match outcome {
                Ok(Ok(changes)) => Heard::Changes(changes),
                Ok(Err(_)) | Err(_) => {
                    self.monitor = None;
                    Heard::Nothing
                }
            },
            outcome = logged => match outcome {
                Ok(Ok((packets, lost))) => Heard::Packets(packets, lost),
                Ok(Err(_)) | Err(_) => {
                    self.reader = None;
                    Heard::Nothing
                }
            },
        }
    }

    /// Opens what is not open; true if changes of before may have been missed.
    pub(super) fn open(&mut self, options: &Options) -> bool {
        if self.reader.is_none() {
            self.open_reader(options);
        }
        self.monitor.is_none() && self.open_monitor()
    }

    fn open_monitor(&mut self) -> bool {
        let opened = Monitor::open().map_err(|error| error.to_string());
        match opened.and_then(|it| Ready::new(it).map_err(|error| error.to_string())) {
            Ok(monitor) => {
                self.monitor = Some(monitor);
                true
            }
            Err(error) => {
                warn!("not told of changes by others: {error}");
                false
            }
        }
    }

    fn open_reader(&mut self, options: &Options) {
        let bytes = usize::try_from(options.log_bytes).unwrap_or(usize::MAX);
        let opened = Reader::open(options.log_group, bytes).map_err(|error| error.to_string());
        match opened.and_then(|it| Ready::new(it).map_err(|error| error.to_string())) {
            Ok(reader) => (self.reader, self.log_fault) = (Some(reader), None),
            Err(error) => {
                let fault = format!("blocked connections are not logged: {error}");
                if self.log_fault.as_ref() != Some(&fault) {
                    warn!("{fault}");
                }
                self.log_fault = Some(fault);
            }
        }
    }
}

/// Logged packets that are looked at in one go.
const PACKETS: usize = 64;
