//! Whatever header and frame the kernel or a peer gives: cutting and putting together end, packets
//! have the length that was said before, and no byte of a payload is lost.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weave_datapath::gso::coalesce::Coalescer;
use weave_datapath::gso::split::Split;
use weave_datapath::gso::{HEADER_LEN, Offload};
use weave_datapath::plane::outlet;

fuzz_target!(|bytes: &[u8]| {
    let mut tagged = bytes.to_vec();
    if let Ok((_, offload, at)) = outlet::take(&mut tagged) {
        cut(offload, &tagged[at..]);
    }
    if let Some((header, frame)) = bytes.split_first_chunk::<HEADER_LEN>()
        && let Ok(offload) = Offload::parse(*header)
    {
        cut(offload, frame);
    }
    join(bytes);
});

fn cut(offload: Offload, frame: &[u8]) {
    let Ok(split) = Split::new(offload, frame) else {
        return;
    };
    let mut packet = Vec::new();
    for index in 0..split.count().min(200) {
        packet.clear();
        split.write(index, &mut packet);
        assert_eq!(packet.len(), split.len_of(index));
        assert!(packet.len() <= frame.len());
    }
}

/// The bytes as a row of frames: a length, then the frame.
fn join(bytes: &[u8]) {
    let mut coalescer = Coalescer::new();
    let (mut given, mut got) = (0, 0);
    let mut rest = bytes;
    let mut emit = |_: u16, bytes: &[u8]| {
        let header = bytes
            .first_chunk::<HEADER_LEN>()
            .expect("an offload header");
        let offload = Offload::parse(*header).expect("a kind that can be read");
        let split = Split::new(offload, &bytes[HEADER_LEN..]).expect("a frame that can be cut");
        got += split.count();
    };
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length) % 200).min(tail.len());
        let (frame, tail) = tail.split_at(length);
        coalescer.push(0, frame, &mut emit);
        given += 1;
        rest = tail;
    }
    coalescer.flush(&mut emit);
    assert_eq!(got, given, "as many packets leave as came");
}
