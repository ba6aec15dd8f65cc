use super::*;

fn read_with(line: &str, variables: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    Settings::read(&words, |name| {
        let found = variables.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

fn read(line: &str) -> Result<Settings, SettingsError> {
    read_with(line, &[])
}

fn refusal(line: &str) -> String {
    let error = read(line).unwrap_err();
    assert_ne!(error.exit_code(), 0);
    let text = error.to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

#[test]
fn without_flags_the_old_defaults_hold() {
    let settings = read("").unwrap();

    assert_eq!(settings.listen.to_string(), "0.0.0.0:6783");
    assert_eq!(settings.http.unwrap().to_string(), "127.0.0.1:6784");
    assert!(settings.status.is_none() && settings.ipam.is_none() && settings.name.is_none());
    assert_eq!((settings.connection_limit, settings.mtu), (200, 1376));
    assert!(settings.discovery && settings.fastdp);
    assert_eq!(settings.db_prefix.to_str(), Some("/weavedb/weave"));
}

#[test]
fn the_flags_of_the_kubernetes_start_script_are_read() {
    let settings = read(
        "--port=6783 --name=0a:00:00:00:00:01 --http-addr=127.0.0.1:6784 \
         --status-addr=0.0.0.0:6782 --metrics-addr=0.0.0.0:6782 --docker-api= --no-dns \
         --db-prefix=/weavedb/weave-net --ipalloc-range=10.32.0.0/12 --conn-limit=200 \
         --datapath=datapath --nickname=node-1 --expect-npc --no-masq-local 10.0.0.2 10.0.0.3",
    )
    .unwrap();

    // Status serves metrics too: one listener is enough for both.
    assert!(settings.metrics.is_some() && settings.metrics_apart().is_none());
    let apart = read("--status-addr=0.0.0.0:6782 --metrics-addr=0.0.0.0:6789").unwrap();
    assert_eq!(apart.metrics_apart().unwrap().to_string(), "0.0.0.0:6789");
    assert_eq!(settings.name.unwrap().to_string(), "0a:00:00:00:00:01");
    assert_eq!(settings.nickname.as_deref(), Some("node-1"));
    assert_eq!(settings.peers, ["10.0.0.2", "10.0.0.3"]);
    assert_eq!(
        settings.ipam.unwrap().ranges[0].range.to_string(),
        "10.32.0.0/12"
    );
    assert!(
        settings
            .warnings
            .iter()
            .any(|text| text.contains("--datapath"))
    );
    assert!(
        !settings
            .warnings
            .iter()
            .any(|text| text.contains("--docker-api"))
    );
}

#[test]
fn an_unknown_flag_ends_with_status_125() {
    let error = read("--ipaloc-range=10.32.0.0/12").unwrap_err();

    assert_eq!(error.exit_code(), 125);
    let text = "flag provided but not defined: --ipaloc-range (nearest: --ipalloc-range)";
    assert_eq!(error.to_string(), text);
}

#[test]
fn ranges_without_room_or_with_host_bits_are_refused() {
    for (range, words) in [
        ("10.32.0.0/31", "smaller than minimum size 4"),
        ("10.32.0.1/24", "bits after network prefix are not all zero"),
        ("10.32.0.0", "invalid CIDR address"),
        ("nonsense", "invalid CIDR address"),
        ("fd00::/127", "smaller than minimum size 4"),
    ] {
        let text = refusal(&format!("--ipalloc-range={range}"));
        assert!(
            text.contains(words) && text.contains("--ipalloc-range"),
            "{text}"
        );
    }
    assert!(read("--ipalloc-range=fd00::/64").is_ok());
}

#[test]
fn a_default_subnet_must_meet_the_range() {
    let text = refusal("--ipalloc-range=10.32.0.0/16 --ipalloc-default-subnet=10.40.0.0/24");
    assert!(text.contains("does not overlap"), "{text}");
    assert!(read("--ipalloc-range=10.32.0.0/16 --ipalloc-default-subnet=10.32.1.0/24").is_ok());
    let text = refusal("--ipalloc-default-subnet=10.40.0.0/24");
    assert!(text.contains("needs --ipalloc-range"), "{text}");
    let text = refusal("--ipalloc-init=observer");
    assert!(text.contains("needs --ipalloc-range"), "{text}");
}

#[test]
fn released_addresses_rest_for_as_long_as_is_given() {
    let cool_down = |line: &str| read(line).unwrap().ipam.unwrap().cool_down;
    let range = "--ipalloc-range=10.32.0.0/12";

    assert_eq!(cool_down(range).as_secs(), 0);
    assert_eq!(
        cool_down(&format!("{range} --ipalloc-cool-down=60")).as_secs(),
        60
    );
    let text = refusal(&format!("{range} --ipalloc-cool-down=soon"));
    assert!(text.contains("--ipalloc-cool-down: \"soon\""), "{text}");
}

#[test]
fn nonsense_values_name_flag_and_value() {
    for (line, words) in [
        ("--port=70000", "--port: \"70000\""),
        ("--conn-limit=many", "--conn-limit: \"many\""),
        ("--mtu=20", "--mtu: 20 is less"),
        ("--http-addr=6784", "--http-addr: \"6784\""),
        ("--name=bad", "invalid peer name format: \"bad\""),
        ("--name=00:00:00:00:00:00", "invalid peer name format"),
        ("--log-level=loud", "not a valid logrus Level: \"loud\""),
        ("--host=example", "--host: \"example\""),
        ("--resume peer", "--resume"),
        (
            "--ipalloc-range=10.32.0.0/12 --ipalloc-init=magic",
            "unknown mode: magic",
        ),
    ] {
        let text = refusal(line);
        assert!(text.contains(words), "{line}: {text}");
    }
}

#[test]
fn a_password_comes_from_flag_then_variable_or_from_a_file() {
    let source = |line: &str, variable: &str| {
        read_with(line, &[("WEAVE_PASSWORD", variable)]).map(|settings| settings.passwords)
    };
    let given = |word: &str| PasswordSource::Given(Password::new(word));

    assert_eq!(source("--password=x", "y").unwrap(), given("x"));
    assert_eq!(source("", "y").unwrap(), given("y"));
    assert_eq!(source("--password=", "y").unwrap(), PasswordSource::None);
    assert_eq!(source("", "").unwrap(), PasswordSource::None);
    let file = source("--password-file=/run/secret", "").unwrap();
    assert_eq!(file, PasswordSource::File("/run/secret".into()));
    assert!(source("--password-file=/run/secret", "y").is_err());
    assert!(refusal("--password=x --password-file=f").contains("not both"));
}

#[test]
fn a_password_is_not_shown() {
    let settings = read("--password=hush").unwrap();

    assert!(!format!("{settings:?}").contains("hush"));
}

#[test]
fn trusted_subnets_are_a_list_of_networks() {
    let settings = read("--trusted-subnets=10.1.2.3/8,192.168.0.0/16").unwrap();

    let shown: Vec<String> = settings
        .trusted_subnets
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(shown, ["10.0.0.0/8", "192.168.0.0/16"]);
    assert!(
        read("--trusted-subnets=")
            .unwrap()
            .trusted_subnets
            .is_empty()
    );
    assert!(refusal("--trusted-subnets=10.0.0.0").contains("--trusted-subnets: \"10.0.0.0\""));
}

#[test]
fn version_1_of_the_protocol_has_to_be_asked_for() {
    assert_eq!(read("").unwrap().min_version, 2);
    assert_eq!(read("--min-protocol-version=1").unwrap().min_version, 1);
    assert!(refusal("--min-protocol-version=3").contains("neither 1 nor 2"));
}

#[test]
fn the_mtu_comes_from_flag_then_variable_then_default() {
    let variable = [("WEAVE_MTU", "8916")];

    assert_eq!(read_with("--mtu=1400", &variable).unwrap().mtu, 1400);
    assert_eq!(read_with("--mtu=0", &variable).unwrap().mtu, 8916);
    assert_eq!(read_with("", &[]).unwrap().mtu, DEFAULT_MTU);
    assert!(read_with("", &[("WEAVE_MTU", "x")]).is_err());
}

#[test]
fn control_http_can_be_a_socket_or_off() {
    assert_eq!(read("--http-addr=").unwrap().http, None);
    let socket = read("--http-addr=/run/weave.sock").unwrap().http;
    assert_eq!(socket, Some(ListenAddress::Unix("/run/weave.sock".into())));
    let any = read("--status-addr=:6782").unwrap().status;
    assert_eq!(any.unwrap().to_string(), "0.0.0.0:6782");
}

#[test]
fn the_defaults_told_are_the_defaults() {
    let shown = |settings: Settings| {
        let given = String::new();
        format!("{:?}", Settings { given, ..settings })
    };
    let without = shown(read("").unwrap());

    let mut told = 0;
    for flag in EFFECTIVE.iter().filter(|flag| !flag.default.is_empty()) {
        let line = format!("--{}={}", flag.name, flag.default);
        assert_eq!(shown(read(&line).unwrap()), without, "{line}");
        told += 1;
    }
    assert!(told > 0, "some flags have a default");
    let mtu = EFFECTIVE.iter().find(|flag| flag.name == "mtu").unwrap();
    assert!(mtu.help.contains(&DEFAULT_MTU.to_string()), "{}", mtu.help);
}
