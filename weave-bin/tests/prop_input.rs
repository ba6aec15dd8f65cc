//! Laws of input: whatever is given, it is understood or refused with one line; nothing panics.

use proptest::prelude::*;
use weave_bin::args::daemon::Settings;
use weave_bin::store::Store;

fn word() -> impl Strategy<Value = String> {
    let flags = prop::sample::select(vec![
        "--port",
        "--mtu",
        "--name",
        "--http-addr",
        "--ipalloc-range",
        "--ipalloc-init",
        "--ipalloc-default-subnet",
        "--conn-limit",
        "--host",
        "--resume",
        "--no-dns",
        "--",
        "--log-level",
        "--password",
        "--bogus",
        "-",
        "--=",
    ]);
    let values = prop::sample::select(vec![
        "0",
        "70000",
        "-1",
        "::1",
        "10.32.0.0/12",
        "fd00::/64",
        "255.0.0.0/8",
        "seed=::1,x",
        "consensus=99999999999999999999",
        "observer",
        "[::1]:1",
        ":6784",
        "/run/x",
        "true",
    ]);
    prop_oneof![
        flags.clone().prop_map(str::to_owned),
        values.clone().prop_map(str::to_owned),
        (flags, values).prop_map(|(flag, value)| format!("{flag}={value}")),
        ".{0,12}",
    ]
}

proptest! {
    #[test]
    fn a_command_line_is_understood_or_refused_with_one_line(
        words in prop::collection::vec(word(), 0..6),
        mtu in prop::option::of(".{0,6}"),
    ) {
        let env = |name: &str| if name == "WEAVE_MTU" { mtu.clone() } else { None };

        if let Err(error) = Settings::read(&words, env) {
            prop_assert_ne!(error.exit_code(), 0);
            let text = error.to_string();
            prop_assert!(!text.is_empty() && !text.contains('\n'), "{}", text);
        }
    }

    #[test]
    fn a_state_file_of_any_bytes_is_refused_and_left_alone(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        magic in any::<bool>(),
    ) {
        let directory = std::env::temp_dir().join(format!("weave-prop-{}", std::process::id()));
        std::fs::create_dir_all(&directory)?;
        let store = Store::new(&directory.join("weave"));
        let whole = if magic { [b"WEAVEDB\x01", bytes.as_slice()].concat() } else { bytes };
        std::fs::write(store.path(), &whole)?;

        let loaded = store.load();
        let left = std::fs::read(store.path())?;
        std::fs::remove_dir_all(&directory)?;

        prop_assert!(loaded.is_err());
        prop_assert_eq!(left, whole);
    }
}
