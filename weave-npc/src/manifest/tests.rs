use super::*;
use crate::model::{Key, ObjectName};

fn errors(text: &str) -> Vec<String> {
    let manifest = Manifest::read(text);
    manifest.errors.iter().map(ToString::to_string).collect()
}

fn keys(text: &str) -> Vec<Key> {
    let manifest = Manifest::read(text);
    assert_eq!(errors(text), Vec::<String>::new());
    manifest.objects.iter().map(Object::key).collect()
}

#[test]
fn documents_and_lists_are_read_in_order() {
    let text = "\
# first
---
kind: Namespace
metadata: {name: a}
--- # second
apiVersion: v1
kind: List
items:
- kind: Node
  metadata: {name: n}
- kind: Service
  metadata: {name: s}
- kind: PodList
  items:
  - kind: Pod
    metadata: {name: p, namespace: a}
...
---
";
    let manifest = Manifest::read(text);

    assert_eq!(
        keys(text),
        [
            Key::Namespace("a".into()),
            Key::Node("n".into()),
            Key::Pod(crate::model::Uid::new("a/p"))
        ]
    );
    assert_eq!(manifest.passed_over, 1);
}

#[test]
fn json_is_read_also_as_a_stream() {
    let text = r#"{"kind":"Namespace","metadata":{"name":"a"}}
{"kind":"NetworkPolicy","metadata":{"name":"p"},"spec":{"podSelector":{}}}"#;

    assert_eq!(
        keys(text),
        [
            Key::Namespace("a".into()),
            Key::Policy(ObjectName::new("default", "p"))
        ]
    );
}

#[test]
fn a_syntax_error_costs_one_document() {
    let text = "kind: Namespace\nmetadata: {name: a\n---\nkind: Namespace\nmetadata: {name: b}\n";

    let manifest = Manifest::read(text);

    assert_eq!(manifest.objects.len(), 1);
    assert_eq!(manifest.errors.len(), 1);
    assert!(manifest.errors[0].path.starts_with("document at line 1"));
}

#[test]
fn an_error_of_type_names_object_and_field() {
    let text = "kind: NetworkPolicy\nmetadata: {name: p, namespace: x}\n\
                spec: {ingress: [{ports: [{port: 80, endPort: many}]}]}";

    let errors = errors(text);

    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].starts_with("NetworkPolicy x/p: spec.ingress[0].ports[0].endPort: "),
        "{errors:?}"
    );
}

#[test]
fn old_kinds_and_versions_of_policy_are_refused_not_passed_over() {
    let refused = [
        "kind: AdminNetworkPolicy\nmetadata: {name: p}",
        "kind: NetworkPolicy\napiVersion: extensions/v1beta1\nmetadata: {name: p}",
        "kind: ClusterNetworkPolicy\napiVersion: policy.networking.k8s.io/v9\nmetadata: {name: p}",
        "metadata: {name: p}",
    ];
    for text in refused {
        assert_eq!(errors(text).len(), 1, "{text}");
    }
}

#[test]
fn a_policy_kind_of_another_project_is_passed_over() {
    let text = "kind: NetworkPolicy\napiVersion: crd.projectcalico.org/v1\nmetadata: {name: p}";

    assert_eq!(Manifest::read(text).passed_over, 1);
}

#[test]
fn aliases_cannot_blow_up_a_document() {
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let before = level - 1;
        let list = vec![format!("*a{before}"); 10].join(",");
        text.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }

    assert_eq!(errors(&text).len(), 1);
}

#[test]
fn values_are_what_is_written_with_lists_taken_apart() {
    let text = "kind: List\nitems:\n- kind: Pod\n- kind: Secret\n---\nkind: Node\n";

    let kinds: Vec<String> = values(text)
        .unwrap()
        .iter()
        .map(|value| value["kind"].as_str().unwrap().to_owned())
        .collect();

    assert_eq!(kinds, ["Pod", "Secret", "Node"]);
    let error = values("kind: [").unwrap_err().to_string();
    assert!(error.contains("document at line 1"), "{error}");
}
