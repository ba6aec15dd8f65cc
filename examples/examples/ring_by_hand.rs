//! The ring without the allocator: three peers' copies, edited by their owners and merged.
//!
//! Only the owner of a range edits its entry, so merging is taking the newer version of each and the
//! order of messages does not matter. An edit by somebody else is a conflict, which costs one range.

use std::error::Error;

use weave_ipam::ring::ConflictKind;
use weave_ipam::{AddressRange, PeerId, Ring, Span};

const A: PeerId = PeerId(0x0a);
const B: PeerId = PeerId(0x0b);
const C: PeerId = PeerId(0x0c);

fn main() -> Result<(), Box<dyn Error>> {
    let universe = AddressRange::of("10.32.0.0/28".parse()?);
    let start = universe.span.start();
    let span = |from, to| Span::new(start + from, start + to).ok_or("ends before it starts");

    let mut a = Ring::new(universe, A);
    a.form(&[A, B]);
    show("A forms the ring with B", &a);
    let mut b = Ring::new(universe, B);
    let mut c = Ring::new(universe, C);
    let _ = b.merge_confined(&a, |_| false)?;
    let _ = c.merge_confined(&a, |_| false)?;

    // At the same time, and neither knows of the other's edit.
    a.grant(span(4, 6)?, C)?;
    b.grant(span(12, 16)?, C)?;
    show("A gives two addresses to C", &a);
    show("B gives four addresses to C", &b);

    let _ = c.merge_confined(&b, |_| false)?;
    let _ = c.merge_confined(&a, |_| false)?;
    let _ = a.merge_confined(&b, |_| false)?;
    let _ = b.merge_confined(&a, |_| false)?;
    show("C has heard of both", &c);
    assert!(a.entries() == b.entries() && b.entries() == c.entries());

    // C takes over what B owns, while B lives and uses 10.32.0.9.
    c.transfer(B, C);
    let in_use = |span: Span| span.contains(start + 9);
    let merged = b.merge_confined(&c, in_use)?;
    show("C takes over from B; B keeps what it uses", &b);
    for conflict in &merged.conflicts {
        assert_eq!(conflict.kind, ConflictKind::Newer);
        println!("  conflict: {conflict}");
    }
    for span in merged.contested {
        let family = universe.family;
        println!("  contested: {}", AddressRange { family, span });
    }
    Ok(())
}

/// One character an address, one line an entry.
fn show(title: &str, ring: &Ring) {
    let span = ring.universe().span;
    let letter = |number| match ring.owner(number) {
        Some(A) => 'A',
        Some(B) => 'B',
        Some(C) => 'C',
        _ => '?',
    };
    let drawn: String = (span.start()..span.end()).map(letter).collect();
    println!("{title}\n  [{drawn}]");
    for entry in ring.entries() {
        let token = ring.universe().family.address(entry.token);
        println!("   from {token:<10} {} v{}", entry.peer, entry.version);
    }
}
