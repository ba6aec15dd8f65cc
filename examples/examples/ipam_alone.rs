//! One peer by itself: give out, claim and release addresses, restart, the same for IPv6.
//!
//! No messages are sent, so the transport is left out; the file is a variable.

use std::error::Error;
use std::time::Duration;

use weave_ipam::{Allocator, Config, InitMode, Outcome, PeerId};

fn main() -> Result<(), Box<dyn Error>> {
    for universe in ["10.32.0.0/24", "fd00:32::/64"] {
        live(universe)?;
    }
    Ok(())
}

fn live(universe: &str) -> Result<(), Box<dyn Error>> {
    let us = PeerId(0x0a);
    let config = Config::new(universe.parse()?, us).init(InitMode::Seed(vec![us]));
    let mut ipam = Allocator::new(config.clone(), None)?;
    let now = Duration::ZERO;
    println!("{universe}");

    for pod in ["web", "db", "cache"] {
        if let Outcome::Ready(address) = ipam.allocate(now, pod, None, true)? {
            println!("  {pod:<6} gets {address}");
        }
    }
    ipam.delete(now, "db")?;
    println!("  db     gives its address back");

    // What a program keeps: written before an answer is passed on, read at the next start.
    let file = ipam.snapshot();
    drop(ipam);
    let mut ipam = Allocator::new(config, Some(file))?;

    let held = ipam.lookup("web", None);
    println!("  web    still has {held:?} after a restart");
    let Outcome::Ready(again) = ipam.allocate(now, "web", None, true)? else {
        return Err("an address that is held is given at once".into());
    };
    println!("  web    is told {again} when it asks again");
    let taken = ipam.claim(now, "other", again, true);
    println!(
        "  other  claims it: {}",
        taken.err().ok_or("claimed twice")?
    );
    let status = ipam.status();
    println!(
        "  {} of {} addresses in use",
        status.active, status.universe_size
    );
    Ok(())
}
