//! In any world, what the policies say of a flow is what the rules of the nodes do with its packet.
#![no_main]

#[path = "../../weave-npc/tests/worlds/mod.rs"]
mod worlds;

use libfuzzer_sys::fuzz_target;

use worlds::check::{Nodes, any_flow, any_options};
use worlds::draw::Draw;

fuzz_target!(|bytes: &[u8]| {
    let mut draw = Draw::of(bytes);
    let options = any_options(&mut draw);
    // The same bytes make the world and the flows, so that short inputs make both.
    let mut flows = draw.clone();
    let world = worlds::objects::any_world(&mut draw);
    let nodes = Nodes::of(&world, &options);
    for _ in 0..8 {
        let flow = any_flow(&mut flows, &world);
        if let Err(error) = nodes.check(&world, &flow) {
            panic!("{error}");
        }
    }
});
