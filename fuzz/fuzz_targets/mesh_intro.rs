//! Any bytes of a remote are an introduction or an error, however they are split; without the
//! password they are never an introduction.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weave_mesh::connection::{Handshake, Introduced, Offer};
use weave_mesh::crypto::nacl::SecretKey;
use weave_mesh::crypto::session::Sender;
use weave_mesh::crypto::{Credentials, Keyring, Password};
use weave_mesh::peer::{PeerName, Uid};
use weave_mesh::wire::intro::{Features, Header};

fuzz_target!(|input: (Vec<u8>, usize, u8)| {
    let (bytes, at, kind) = input;
    let (first, second) = bytes.split_at(at.min(bytes.len()));
    let has_password = kind & 1 != 0;
    let mut handshake = start(has_password, kind & 2 != 0);
    for part in [first, second] {
        match handshake.handle_bytes(part) {
            Ok(None) => {}
            Ok(Some(mut introduced)) => {
                assert!(!has_password);
                read(&mut introduced);
                break;
            }
            Err(error) => {
                let _ = error.to_string();
                break;
            }
        }
    }
    let _ = handshake.broken_off("EOF").to_string();
    if let Ok(features) = Features::decode(&bytes) {
        assert_eq!(Features::decode(&features.encode()).as_ref(), Ok(&features));
    }
    if let Ok((features, key)) = Features::decode_legacy(&bytes) {
        let again = Features::decode_legacy(&features.encode_legacy(key.as_ref()));
        assert_eq!(again, Ok((features, key)));
    }
});

fn start(has_password: bool, is_dialler: bool) -> Handshake {
    let offer = Offer {
        versions: Header { min: 1, max: 2 },
        features: Features {
            name: PeerName::from_bytes([2, 0, 0, 0, 0, 1]),
            nickname: "us".to_owned(),
            uid: Uid(1),
            conn_id: 1,
            short_id: None,
            trusted: false,
            overlays: None,
            sync: 0,
            refused: None,
            needy: false,
        },
    };
    if !has_password {
        return Handshake::new(offer);
    }
    let passwords = ["one", "two"].map(Password::new);
    let credentials = Credentials {
        keyring: Keyring::new(passwords).expect("two passwords fit"),
        choice: 0,
        secret: SecretKey::from_bytes([7; 32]),
        role: if is_dialler {
            Sender::Dialler
        } else {
            Sender::Acceptor
        },
    };
    Handshake::with_password(offer, credentials)
}

/// What follows an introduction ends in an error or waits for more.
fn read(introduced: &mut Introduced) {
    while let Ok(Some(_)) = introduced.incoming.pop() {}
}
