use serde_json::{Value, json};

use super::*;

fn render(line: &str) -> Value {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    manifest(&Options::read(&words).unwrap())
}

fn pod(document: &Value) -> &Value {
    &document["items"][5]["spec"]["template"]["spec"]
}

fn value<'a>(container: &'a Value, name: &str) -> Option<&'a Value> {
    let mut env = container["env"].as_array().unwrap().iter();
    env.find(|one| one["name"] == name).map(|one| &one["value"])
}

#[test]
fn the_committed_manifest_is_the_rendered_one() {
    let rendered = yaml::render(&manifest(&Options::default()));

    if rendered != include_str!("../../deploy/weave-net.yaml") {
        panic!("deploy/weave-net.yaml differs: write it anew with `weave render`");
    }
}

#[test]
fn the_objects_are_those_of_an_old_install() {
    let document = render("");

    let objects: Vec<(&str, Option<&str>)> = document["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            assert_eq!(item["metadata"]["name"], "weave-net");
            assert_eq!(item["metadata"]["labels"], json!({"name": "weave-net"}));
            let kind = item["kind"].as_str().unwrap();
            (kind, item["metadata"]["namespace"].as_str())
        })
        .collect();
    let system = Some("kube-system");
    assert_eq!(
        objects,
        [
            ("ServiceAccount", system),
            ("ClusterRole", None),
            ("ClusterRoleBinding", None),
            ("Role", system),
            ("RoleBinding", system),
            ("DaemonSet", system),
        ]
    );
    let set = &document["items"][5];
    assert_eq!(
        set["spec"]["selector"],
        json!({"matchLabels": {"name": "weave-net"}})
    );
    assert_eq!(
        set["spec"]["template"]["metadata"]["labels"],
        json!({"name": "weave-net"})
    );
    let names: Vec<&Value> = pod(&document)["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|container| &container["name"])
        .collect();
    assert_eq!(names, ["weave", "weave-npc"]);
}

#[test]
fn a_variable_stands_on_every_container_that_reads_it() {
    let document = render(
        "--env HAIRPIN_MODE=false --env EXPECT_NPC=1 --env IPTABLES_BACKEND=nft --env WEAVE_MTU=1337",
    );
    let pod = pod(&document);
    let init = &pod["initContainers"][0];
    let (weave, npc) = (&pod["containers"][0], &pod["containers"][1]);

    let on = |name: &str| [init, weave, npc].map(|container| value(container, name).is_some());
    assert_eq!(on("HAIRPIN_MODE"), [true, true, false]);
    assert_eq!(on("EXPECT_NPC"), [true, true, false]);
    assert_eq!(on("IPTABLES_BACKEND"), [true, true, true]);
    assert_eq!(on("WEAVE_MTU"), [false, true, false]);
    assert_eq!(on("HOSTNAME"), [false, true, true]);
    assert_eq!(on("INIT_CONTAINER"), [false, true, false]);
}

#[test]
fn without_policies_there_is_no_controller_and_no_right_for_it() {
    let document = render("--disable-npc");
    let pod = pod(&document);

    assert_eq!(pod["containers"].as_array().unwrap().len(), 1);
    assert_eq!(
        value(&pod["containers"][0], "EXPECT_NPC"),
        Some(&json!("0"))
    );
    assert_eq!(
        value(&pod["initContainers"][0], "EXPECT_NPC"),
        Some(&json!("0"))
    );
    let rules = document["items"][1]["rules"].to_string();
    assert!(rules.contains("nodes") && !rules.contains("pods") && !rules.contains("policies"));
}

#[test]
fn the_password_comes_from_the_secret() {
    let document = render("--password-secret weave-passwd --env WEAVE_PASSWORD=clear");
    let weave = &pod(&document)["containers"][0];

    let from = json!({"secretKeyRef": {"name": "weave-passwd", "key": "weave-passwd"}});
    let env = weave["env"].as_array().unwrap();
    let passwords: Vec<&Value> = env
        .iter()
        .filter(|one| one["name"] == "WEAVE_PASSWORD")
        .collect();
    assert_eq!(passwords.len(), 1);
    assert_eq!(passwords[0]["valueFrom"], from);
    assert!(!document.to_string().contains("clear"));
}

#[test]
fn one_container_is_privileged_and_every_mount_has_its_volume() {
    for line in ["", "--static-pod", "--disable-npc"] {
        let document = render(line);
        assert_eq!(
            document.to_string().matches("\"privileged\":true").count(),
            1
        );
        let pod = if line == "--static-pod" {
            &document["spec"]
        } else {
            pod(&document)
        };
        let volumes: Vec<&Value> = pod["volumes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|volume| &volume["name"])
            .collect();
        for containers in [&pod["initContainers"], &pod["containers"]] {
            for container in containers.as_array().unwrap() {
                assert!(container["resources"]["requests"]["memory"].is_string());
                for mount in container["volumeMounts"].as_array().unwrap() {
                    assert!(volumes.contains(&&mount["name"]), "{mount}");
                }
            }
        }
    }
}

#[test]
fn images_have_the_version_asked_for() {
    let document = render("--version 3.1.4 --image registry.example/weave");

    let pod = pod(&document);
    for container in [&pod["initContainers"][0], &pod["containers"][1]] {
        assert_eq!(container["image"], "registry.example/weave:3.1.4");
    }
}

#[test]
fn a_static_pod_needs_no_account() {
    let document = render("--static-pod --env KUBE_PEERS=10.0.0.1");

    assert_eq!(document["kind"], "Pod");
    assert_eq!(document["spec"].get("serviceAccountName"), None);
    assert_eq!(
        value(&document["spec"]["containers"][0], "KUBE_PEERS"),
        Some(&json!("10.0.0.1"))
    );
}

#[test]
fn the_image_has_every_program_of_the_manifest() {
    let scratch = std::env::temp_dir().join(format!("weave-image-{}", std::process::id()));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/image");
    let mut layout = std::process::Command::new(script);
    let output = layout.arg(&scratch).arg("/bin/true").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let root = scratch.join("root");
    let program = std::fs::canonicalize(root.join("home/weave/weave")).unwrap();

    let document = render("");
    let pod = pod(&document);
    let containers = [&pod["initContainers"], &pod["containers"]];
    let named = containers
        .iter()
        .flat_map(|list| list.as_array().unwrap())
        .map(|container| container["command"][0].as_str().unwrap().to_owned());
    let of_scripts = ["weaver", "kube-utils", "weave"].map(|name| format!("/home/weave/{name}"));
    let of_images = ["weave-npc", "weaveutil"].map(|name| format!("/usr/bin/{name}"));
    for path in named.chain(of_scripts).chain(of_images) {
        let place = std::fs::canonicalize(root.join(&path[1..])).unwrap();
        assert_eq!(place, program, "{path}");
    }
    let containerfile = std::fs::read_to_string(scratch.join("Containerfile")).unwrap();
    assert!(containerfile.contains("FROM scratch\nCOPY root /\n"));
    std::fs::remove_dir_all(&scratch).unwrap();
}
