//! Frames come out the same however the bytes are split, and every message parses or is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weave_mesh::wire::frame::FrameReader;
use weave_mesh::wire::message::Message;

fuzz_target!(|input: (Vec<u8>, usize)| {
    let (bytes, at) = input;
    let mut whole = FrameReader::new();
    whole.push(&bytes);
    let (first, second) = bytes.split_at(at.min(bytes.len()));
    let mut split = FrameReader::new();
    let mut frames = Vec::new();
    for part in [first, second] {
        split.push(part);
        while let Ok(Some(frame)) = split.pop() {
            frames.push(frame);
        }
    }
    for expected in frames {
        let frame = whole.pop().ok().flatten();
        assert_eq!(frame.as_ref(), Some(&expected));
        if let Ok(message) = Message::parse(&expected) {
            let again = message.emit();
            assert_eq!(Message::parse(&again).ok(), Some(message));
        }
    }
});
