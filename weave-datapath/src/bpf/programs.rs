//! Loading the programs and keeping them attached.
//!
//! A program is attached by a TCX link (kernel 6.6 and later) that is pinned, or by a filter on a
//! clsact queueing discipline, which needs no pin. Both are replaced in one step, so that no frame
//! passes without a program.

use std::path::Path;

use aya::{
    Ebpf, EbpfLoader,
    programs::{
        LinkOrder, SchedClassifier, TcAttachType,
        links::{FdLink, PinnedLink},
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
    },
};

use super::{
    Error,
    pins::{CONFIG, LINKS, MAPS, PROGRAMS, Pins, TUNNEL},
};

/// How programs hang on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Hook {
    /// A TCX link, beside other programs and out of reach of `tc` (kernel 6.6 and later).
    Tcx,
    /// A filter on the clsact queueing discipline.
    Clsact,
}

impl Hook {
    /// The number in the configuration map.
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Tcx => 1,
            Self::Clsact => 2,
        }
    }
}

impl std::fmt::Display for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        })
    }
}

/// The compiled programs of `bpf/`, for little-endian machines.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/weave.bpf.o"));

/// A number that differs between object files (FNV-1a, 64 bits).
pub(super) fn object_hash() -> u64 {
    OBJECT.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// TCX if the kernel can be asked about it, else clsact.
pub(super) fn best_hook(device: &str) -> Hook {
    match SchedClassifier::query_tcx(device, TcAttachType::Ingress) {
        Ok(_) => Hook::Tcx,
        Err(_) => Hook::Clsact,
    }
}

/// Loads the programs over the pinned maps, creating and pinning those that are missing.
pub(super) fn load(pins: &Pins, mac_entries: u32) -> Result<Ebpf, Error> {
    let mut loader = EbpfLoader::new();
    loader.btf(None).map_max_entries("macs", mac_entries);
    for map in MAPS.iter().chain([&CONFIG]) {
        loader.map_pin_path(map, pins.path(map));
    }
    let loaded = loader.load(OBJECT);
    let mut object = loaded.map_err(|source| Error::kernel("create the BPF maps", source))?;
    for name in PROGRAMS {
        let operation = || format!("load BPF program {name}");
        let program = program(&mut object, name)?;
        let loaded = program.load();
        loaded.map_err(|source| Error::kernel(operation(), source))?;
        pins.remove(name)?;
        let pinned = program.pin(pins.path(name));
        pinned.map_err(|source| Error::kernel(format!("pin BPF program {name}"), source))?;
    }
    Ok(object)
}

/// Has the kernel check every program, over maps that are gone afterwards.
pub(super) fn verify() -> Result<(), Error> {
    let loaded = EbpfLoader::new().load(OBJECT);
    let mut object = loaded.map_err(|source| Error::kernel("create the BPF maps", source))?;
    for name in PROGRAMS {
        let loaded = program(&mut object, name)?.load();
        loaded.map_err(|source| Error::kernel(format!("load BPF program {name}"), source))?;
    }
    Ok(())
}

/// A place for a program: a device and a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot<'a> {
    device: &'a str,
    side: TcAttachType,
}

/// Where the programs go, in the order of their names: on frames that the bridge sends into the
/// tunnel, on frames that come out of it, and on frames that user space sends, if it does.
pub(super) fn spots<'a>(tunnel: &'a str, tap: Option<&'a str>) -> Vec<Spot<'a>> {
    let spot = |device, side| Spot { device, side };
    let mut spots = vec![
        spot(tunnel, TcAttachType::Egress),
        spot(tunnel, TcAttachType::Ingress),
    ];
    spots.extend(tap.map(|tap| spot(tap, TcAttachType::Ingress)));
    spots
}

/// Attaches the programs, in place of what is attached there for this daemon.
pub(super) fn attach(
    object: &mut Ebpf,
    pins: &Pins,
    hook: Hook,
    spots: &[Spot<'_>],
) -> Result<(), Error> {
    for ((name, link), spot) in PROGRAMS.into_iter().zip(LINKS).zip(spots.iter().copied()) {
        let program = program(object, name)?;
        match hook {
            Hook::Tcx => attach_tcx(program, spot, &pins.path(link))?,
            Hook::Clsact => attach_clsact(program, spot)?,
        }
    }
    Ok(())
}

/// Attaches the pinned program of the tunnel to `device`, one beside ours, in place of the one there;
/// `pin` is left behind.
pub(super) fn attach_side(pins: &Pins, hook: Hook, device: &str, pin: &Path) -> Result<(), Error> {
    let operation = || format!("open the pinned BPF program {TUNNEL}");
    let program = SchedClassifier::from_pin(pins.path(TUNNEL));
    let mut program = program.map_err(|source| Error::kernel(operation(), source))?;
    let spot = Spot {
        device,
        side: TcAttachType::Ingress,
    };
    match hook {
        Hook::Tcx => attach_tcx(&mut program, spot, pin),
        Hook::Clsact => {
            attach_clsact(&mut program, spot)?;
            if pin.exists() {
                return Ok(());
            }
            // There is no link to pin: the program stands for it.
            let pinned = program.pin(pin);
            pinned.map_err(|source| Error::kernel(format!("pin a program of {device}"), source))
        }
    }
}

/// Whether the link pinned at `pin` is attached at `spot` in this network namespace.
pub(super) fn is_attached(pin: &Path, spot: Spot<'_>) -> bool {
    let Ok(link) = PinnedLink::from_pin(pin) else {
        return false;
    };
    FdLink::from(link).info().is_ok_and(|info| {
        SchedClassifier::query_tcx(spot.device, spot.side)
            .is_ok_and(|(_, programs)| programs.iter().any(|p| p.id() == info.program_id()))
    })
}

/// Removes our filter, if there is one. TCX links go with their pins instead.
pub(super) fn detach_clsact(spot: Spot<'_>) {
    // Dropping the link removes the filter. Without the device there is none.
    drop(filter(spot));
}

fn attach_tcx(program: &mut SchedClassifier, spot: Spot<'_>, pin: &Path) -> Result<(), Error> {
    let Spot { device, side } = spot;
    let operation = || format!("attach a BPF program to {device} by TCX");
    if is_attached(pin, spot) {
        let old = PinnedLink::from_pin(pin).map_err(|source| Error::kernel(operation(), source))?;
        let old = SchedClassifierLink::try_from(FdLink::from(old))
            .map_err(|source| Error::kernel(operation(), source))?;
        let replaced = program.attach_to_link(old);
        return replaced
            .map(drop)
            .map_err(|source| Error::kernel(format!("replace a BPF program on {device}"), source));
    }
    if pin.exists() {
        std::fs::remove_file(pin).map_err(|source| Error::Directory {
            dir: pin.to_owned(),
            source,
        })?;
    }
    // Ahead of whatever an earlier daemon with another directory may have left: our programs have
    // the last word on every frame.
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let link = program
        .attach_with_options(device, side, options)
        .and_then(|id| program.take_link(id))
        .map_err(|source| Error::kernel(operation(), source))?;
    let link = FdLink::try_from(link).map_err(|source| Error::kernel(operation(), source))?;
    let pinned = link.pin(pin);
    pinned.map_err(|source| Error::kernel(format!("pin the BPF link of {device}"), source))?;
    Ok(())
}

fn attach_clsact(program: &mut SchedClassifier, spot: Spot<'_>) -> Result<(), Error> {
    let Spot { device, side } = spot;
    let operation = || format!("attach a BPF program to {device} by clsact");
    match tc::qdisc_add_clsact(device) {
        Ok(()) | Err(TcError::AlreadyAttached) => {}
        // The queueing discipline is there already: the filter below tells what is wrong, if
        // anything is.
        Err(error) => tracing::debug!(device, %error, "clsact not added"),
    }
    let attached = match program.attach_to_link(filter(spot)?) {
        Ok(id) => Ok(id),
        Err(_) => {
            let options = NlOptions {
                priority: PRIORITY,
                handle: HANDLE,
                ..NlOptions::default()
            };
            let options = TcAttachOptions::Netlink(options);
            program.attach_with_options(device, side, options)
        }
    };
    let link = attached
        .and_then(|id| program.take_link(id))
        .map_err(|source| Error::kernel(operation(), source))?;
    // Dropping the link would remove the filter, which must outlive this process.
    std::mem::forget(link);
    Ok(())
}

/// Our filter at `spot`, whether it exists or not. Dropping it removes the filter.
fn filter(spot: Spot<'_>) -> Result<SchedClassifierLink, Error> {
    let Spot { device, side } = spot;
    let link = SchedClassifierLink::attached(device, side, PRIORITY, HANDLE, None);
    link.map_err(|source| Error::kernel(format!("find the BPF filter of {device}"), source))
}

fn program<'a>(object: &'a mut Ebpf, name: &'static str) -> Result<&'a mut SchedClassifier, Error> {
    let missing = || Error::Object { what: name };
    let program = object.program_mut(name).ok_or_else(missing)?;
    program.try_into().map_err(|_| missing())
}

/// Priority and handle of our clsact filters: fixed, so that a restarted daemon finds them.
const PRIORITY: u16 = 0x57;
const HANDLE: TcHandle = TcHandle::new(0, 1);
