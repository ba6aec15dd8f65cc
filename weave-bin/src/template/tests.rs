//! Templates over recorded reports and small values, and the laws of any template.

use proptest::prelude::*;
use serde::Serialize;

use super::*;
use crate::status::model::Report;

fn report(scene: &str) -> Value {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/daemon");
    let json = std::fs::read_to_string(format!("{root}/{scene}/report.json")).unwrap();
    let report: Report = serde_json::from_str(&json).unwrap();
    report.to_value()
}

fn render(template: &str, data: &Value) -> Result<String, RunError> {
    Template::parse(template)
        .unwrap_or_else(|error| panic!("{template}: {error}"))
        .render(data, Limits::default())
}

fn refused(template: &str) -> String {
    Template::parse(template).unwrap_err().to_string()
}

/// What Weave Net's own tests and documents ask, and what its daemon answered.
#[test]
fn uses_of_scripts_give_what_was_recorded() {
    let two = report("03-two-peers-host0");
    for (template, text) in [
        ("{{.Version}}", "2.9.0"),
        ("{{ .Version }}", "2.9.0"),
        ("{{len .Router.Peers}}", "2"),
        ("{{.IPAM.DefaultSubnet}}", "10.32.0.0/12"),
        ("{{.VersionCheck.Enabled}}", "false"),
        (
            "{{.Router.Name}}({{.Router.NickName}})",
            "00:00:00:00:00:01(host-0)",
        ),
        (
            "{{.Router.Name}} {{len .Router.Peers}} {{range .IPAM.Entries}}{{.Token}}/{{.Size}} {{end}}",
            "00:00:00:00:00:01 2 10.32.0.0/524288 10.40.0.0/327681 10.45.0.1/1 10.45.0.2/196606 ",
        ),
        ("{{json .IPAM.Paxos}} {{json .Router.Targets}}", "null null"),
        ("{{.Router.Targets}} {{len .Router.Targets}}", "[] 0"),
        ("{{json .Router.TrustedSubnets}}", "[]"),
        (
            "{{with index .Router.Connections 0}}{{.Attrs.mtu}}{{end}}",
            "1438",
        ),
        (
            "{{(index .Router.Connections 0).Attrs.bogus}}",
            "<no value>",
        ),
    ] {
        assert_eq!(render(template, &two).unwrap(), text, "{template}");
    }
    let dns = report("08-dns-host0");
    let count = render("{{len .DNS.Entries}}", &dns).unwrap();
    assert!(count.parse::<usize>().unwrap() > 3, "{count}");
    assert_eq!(render("{{.DNS.Domain}}", &dns).unwrap(), "weave.local.");
    let targets = render(
        r#"{{range .Router.Targets}}{{.}}{{"\n"}}{{end}}"#,
        &report("04-three-peers-host2"),
    );
    assert!(targets.unwrap().ends_with('\n'));
}

/// `{{json .IPAM}}` is the block of the report without its blanks, in the same order.
#[test]
fn parts_as_json_keep_the_order_of_the_report() {
    for scene in [
        "02-single-awaiting-consensus",
        "08-dns-host0",
        "10-no-ipam-no-dns",
    ] {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/daemon");
        let json = std::fs::read_to_string(format!("{root}/{scene}/report.json")).unwrap();
        let dense: String = json.lines().map(str::trim_start).collect();

        let whole = render("{{json .}}", &report(scene)).unwrap();

        assert_eq!(whole, dense.replace("\": ", "\":"), "{scene}");
    }
}

#[test]
fn what_a_report_leaves_out_is_nothing_and_what_it_never_has_is_an_error() {
    let none = report("10-no-ipam-no-dns");

    for (template, text) in [
        ("{{if .DNS}}on{{else}}off{{end}}", "off"),
        ("{{json .DNS}}", "null"),
        ("{{.Plugin}}{{.Proxy}}", "<nil><nil>"),
    ] {
        assert_eq!(render(template, &none).unwrap(), text, "{template}");
    }
    for template in [
        "{{.Bogus}}",
        "{{.DNS.Domain}}",
        "{{len .Router.Port}}",
        "{{index .Router.Peers 99}}",
    ] {
        assert!(render(template, &none).is_err(), "{template}");
    }
}

#[test]
fn what_is_no_template_is_refused_in_gos_words() {
    for (template, text) in [
        ("{{", "template: format:1: unclosed action"),
        ("a\n{{.X", "template: format:2: unclosed action"),
        ("{{}}", "template: format:1: missing value for command"),
        ("{{if}}x{{end}}", "template: format:1: missing value for if"),
        (
            "{{bogus .}}",
            "template: format:1: function \"bogus\" not defined",
        ),
        ("{{$x}}", "template: format:1: undefined variable \"$x\""),
        ("{{range .X}}", "template: format:1: unexpected EOF"),
        ("{{end}}", "template: format:1: unexpected {{end}}"),
        ("{{else}}", "template: format:1: unexpected {{else}}"),
        ("{{/* x", "template: format:1: unclosed comment"),
        ("{{(len .X}}", "template: format:1: unclosed left paren"),
        ("{{len .X)}}", "template: format:1: unexpected right paren"),
        ("{{\"x}}", "template: format:1: unterminated quoted string"),
        (
            "{{1 | 2}}",
            "template: format:1: non executable command in pipeline stage 2",
        ),
        ("{{.X | }}", "template: format:1: missing value for command"),
        (
            "{{template \"x\"}}",
            "template: format:1: {{template}} is not supported",
        ),
        (
            "{{if .X}}{{else}}{{else}}{{end}}",
            "template: format:1: expected end; found {{else}}",
        ),
    ] {
        assert_eq!(refused(template), text, "{template}");
    }
    let deep = format!("{}.X{}", "(".repeat(101), ")".repeat(101));
    assert!(refused(&format!("{{{{{deep}}}}}")).contains("nested too deeply"));
}

#[derive(Serialize)]
struct Small {
    name: &'static str,
    count: u32,
    share: f64,
    list: Vec<u8>,
    map: std::collections::BTreeMap<&'static str, bool>,
    nothing: Option<u8>,
}

fn small() -> Value {
    let data = Small {
        name: "a<b>",
        count: 7,
        share: 0.5,
        list: vec![3, 4],
        map: [("k", true), ("j", false)].into(),
        nothing: None,
    };
    Value::of(&data).unwrap()
}

#[test]
fn every_form_of_the_language_does_what_it_does_in_go() {
    for (template, text) in [
        ("{{.}}", "{a<b> 7 0.5 [3 4] map[j:false k:true] <nil>}"),
        ("x {{- 1 -}} y", "x1y"),
        ("x{{/* note */}}y{{- /* trims */ -}} z", "xyz"),
        (
            "{{if .nothing}}a{{else if eq .count 8}}b{{else if .list}}c{{end}}",
            "c",
        ),
        (
            "{{with .name}}{{.}}{{end}}{{with .nothing}}x{{else}}no{{end}}",
            "a<b>no",
        ),
        ("{{range $i, $e := .list}}{{$i}}={{$e}};{{end}}", "0=3;1=4;"),
        (
            "{{range $e := .list}}{{$e}}{{end}}{{range .nothing}}x{{else}}none{{end}}",
            "34none",
        ),
        (
            "{{range $k, $v := .map}}{{$k}}{{$v}} {{end}}",
            "jfalse ktrue ",
        ),
        ("{{$x := 1}}{{range .list}}{{$x = .}}{{end}}{{$x}}", "4"),
        (
            "{{$x := 1}}{{if true}}{{$x := 2}}{{end}}{{$x}}{{$.count}}",
            "17",
        ),
        (
            "{{.name | printf \"%03d|%-6s|\" 5}} {{.name | len}}",
            "005|a<b>  | 4",
        ),
        (
            "{{printf \"%5.1f|%+d|%x|%t|%v|%%|%c\" .share 3 255 true .list 65}}",
            "  0.5|+3|ff|true|[3 4]|%|A",
        ),
        (
            "{{printf \"%d %s %d %\" \"x\" 1}}",
            "%!d(string=x) %!s(int=1) %!d(MISSING) %!(NOVERB)",
        ),
        ("{{printf \"%d\" 1 2}}", "1%!(EXTRA int=2)"),
        (
            "{{print 1 2 \"a\" \"b\" 3}}|{{println 1 \"a\"}}",
            "1 2ab3|1 a\n",
        ),
        (
            "{{eq .count 1 7}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt \"b\" \"a\"}} {{ge 1 2}}",
            "true true true true true false",
        ),
        (
            "{{and 1 0 2}} {{or 0 \"\" 5}} {{not 1}} {{and true .name}}",
            "0 5 false a<b>",
        ),
        ("{{or 1 (index .list 9)}}", "1"),
        (
            "{{index .list 1}} {{index .map \"k\"}} {{index .map \"z\"}}",
            "4 true <no value>",
        ),
        (
            "{{html .name}} {{js \"a'<\"}} {{urlquery \"a b&\"}} {{json .name}}",
            "a&lt;b&gt; a\\'\\u003C a+b%26 \"a\\u003cb\\u003e\"",
        ),
        (
            "{{len \"abc\"}}{{`raw\\n`}}{{\"\\x41\\u00e9\\101\"}}{{'a'}}{{0x10}}{{1.5}}{{1e3}}",
            "3raw\\nA\u{e9}A97161.51000",
        ),
        ("{{(len .list)}}{{with $x := 5}}{{$x}}{{end}}", "25"),
        ("a}}b", "a}}b"),
    ] {
        assert_eq!(render(template, &small()).unwrap(), text, "{template}");
    }
}

#[test]
fn what_makes_no_sense_is_an_error_when_it_runs() {
    for template in [
        "{{.count 1}}",
        "{{1 | .name}}",
        "{{nil}}",
        "{{len 1}}",
        "{{lt 1 \"a\"}}",
        "{{eq .list .list}}",
        "{{index .count 1}}",
        "{{range .count}}{{end}}",
        "{{.name.x}}",
        "{{printf}}",
        "{{printf 1}}",
        "{{not}}",
        "{{and}}",
    ] {
        assert!(render(template, &small()).is_err(), "{template}");
    }
}

/// A text that doubles, and passes inside passes: both end at a limit, soon.
#[test]
fn a_template_that_would_not_end_is_stopped() {
    let doubling = format!(
        "{{{{$x := \"0123456789\"}}}}{}{{{{$x}}}}",
        "{{$x = print $x $x}}".repeat(40)
    );
    let nested = format!("{}x{}", "{{range $.list}}".repeat(40), "{{end}}".repeat(40));

    for (template, limit) in [(doubling, "bytes"), (nested, "steps")] {
        let error = render(&template, &small()).unwrap_err().to_string();
        assert!(error.contains(limit), "{error}");
    }
}

/// Words that templates are made of.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "{{",
        "}}",
        "{{- ",
        " -}}",
        ".",
        ".name",
        ".list",
        ".count",
        "$",
        "$x",
        ":=",
        "=",
        "|",
        "(",
        ")",
        "if",
        "else",
        "end",
        "range",
        "with",
        "len",
        "index",
        "printf",
        "and",
        "json",
        "eq",
        "nil",
        "1",
        "-2.5",
        "\"a\"",
        "\"%*s %d\"",
        "`r`",
        "'c'",
        "/*",
        "*/",
        " ",
        "\n",
        ",",
        "{{end}}",
        "{{range .list}}",
        "é",
        "\\",
    ];
    prop_oneof![
        9 => prop::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

proptest! {
    /// Any text is refused or rendered within the limits, and rendered twice alike.
    #[test]
    fn any_text_is_refused_or_ends_within_its_limits(pieces in prop::collection::vec(piece(), 0..40)) {
        let source = pieces.concat();
        let limits = Limits { steps: 2_000, bytes: 2_000 };
        if let Ok(template) = Template::parse(&source) {
            let first = template.render(&small(), limits);
            if let Ok(text) = &first {
                prop_assert!(text.len() <= limits.bytes);
            }
            prop_assert_eq!(first, template.render(&small(), limits));
        }
    }

    /// A text without actions is its own rendering.
    #[test]
    fn text_without_actions_stays_as_it_is(text in "[^{]*") {
        let template = Template::parse(&text).unwrap();
        prop_assert_eq!(template.render(&Value::Nil, Limits::default()).unwrap(), text);
    }
}
