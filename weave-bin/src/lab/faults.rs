//! Faults on the cables of a lab, in the kernel.
//!
//! Each end of a cable treats what comes out of it. Ends without a fault have no program, and what
//! is put again replaces what was there, so a fault can be changed while packets flow.

use super::error::Error;
use super::plan::{Block, Fault, Plan, Plug};
use super::underlay;

/// Puts the faults of `plan` and `blocks` on all cables.
///
/// # Errors
/// What the kernel refused.
pub(crate) async fn put(plan: &Plan, blocks: &[Block]) -> Result<(), Error> {
    for (index, cable) in plan.cables.iter().enumerate() {
        let faults = plan.faults(index, blocks);
        for (plug, fault) in [&cable.a, &cable.b].into_iter().zip(faults) {
            if fault != Fault::default() {
                // Packets are judged one by one, so both ends must send them one by one.
                underlay::send_one_by_one(plan, &cable.a).await?;
                underlay::send_one_by_one(plan, &cable.b).await?;
            }
            put_one(plan, plug, fault).await?;
        }
    }
    Ok(())
}

#[cfg(feature = "bpf")]
async fn put_one(plan: &Plan, plug: &Plug, fault: Fault) -> Result<(), Error> {
    use weave_datapath::faults::{Blocked, Faults};

    let mut faults = Faults::none().loss(f64::from(fault.loss_ppm) / 1e6);
    if let Some(longest) = fault.longest {
        faults = faults.longest(longest);
    }
    for (address, port) in fault.blocked {
        faults = faults.block(Blocked { address, port });
    }
    let device = plug.device.clone();
    underlay::namespace_of(plan, plug)?
        .run_async(move || faults.put(&device))
        .await
        .map_err(|error| Error::kernel("faults", error))?
        .map_err(|error| Error::kernel("faults", error))
}

#[cfg(not(feature = "bpf"))]
async fn put_one(_plan: &Plan, _plug: &Plug, fault: Fault) -> Result<(), Error> {
    if fault == Fault::default() {
        return Ok(());
    }
    let text = "faults of the network need a program built with the feature bpf";
    Err(Error::State(text.to_owned()))
}
