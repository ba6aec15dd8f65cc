//! The manifests of a lab as they are written, and what steps make of them.
//!
//! Invariant: the controllers and `decide` see the same objects: both read what [`Objects::write`]
//! wrote, and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use weave_npc::manifest::{Manifest, values};
use weave_npc::model::World;

use crate::lab::error::Error;

/// Objects by what names them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Objects(BTreeMap<Id, Value>);

/// Kind, namespace and name.
type Id = (String, String, String);

/// Changes that are made at once.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Step {
    /// What people call it.
    pub(super) label: String,
    /// Whether it begins from what the lab began with: the first step of a case.
    pub(super) is_fresh: bool,
    remove: Vec<Id>,
    apply: Vec<Value>,
}

impl Objects {
    /// The objects of manifests. Cases of tests in them are passed over.
    ///
    /// # Errors
    /// A file that cannot be read or is no manifest.
    pub(super) fn read(files: &[PathBuf]) -> Result<Self, Error> {
        let mut objects = Self::default();
        for file in files {
            for value in read(file)? {
                if text(&value, "kind") != CASE {
                    objects.0.insert(id(&value), value);
                }
            }
        }
        Ok(objects)
    }

    /// The world of these objects.
    ///
    /// # Errors
    /// An object that the controller would refuse.
    pub(super) fn world(&self) -> Result<World, Error> {
        let manifest = Manifest::read(&self.list());
        match manifest.errors.first() {
            Some(error) => Err(Error::State(error.to_string())),
            None => Ok(World::from_iter(manifest.objects)),
        }
    }

    /// Takes a step.
    pub(super) fn take(&mut self, step: &Step) {
        for id in &step.remove {
            self.0.remove(id);
        }
        for value in &step.apply {
            self.0.insert(id(value), value.clone());
        }
    }

    /// Writes all of them into one file of `dir`, which readers see whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn write(&self, dir: &Path) -> Result<(), Error> {
        let (fresh, file) = (dir.join("world.fresh"), dir.join("world.json"));
        fs::write(&fresh, self.list()).map_err(Error::file(&fresh))?;
        fs::rename(&fresh, &file).map_err(Error::file(&file))
    }

    fn list(&self) -> String {
        let items: Vec<&Value> = self.0.values().collect();
        json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
    }
}

impl Step {
    /// The steps of files, one file after the other: an ordinary manifest is one step, a
    /// `PolicyCase` in it has steps of its own.
    ///
    /// # Errors
    /// A file that cannot be read or is no manifest.
    pub(super) fn read(files: &[PathBuf]) -> Result<Vec<Self>, Error> {
        let mut steps = Vec::new();
        for file in files {
            let (cases, apply): (Vec<Value>, Vec<Value>) = read(file)?
                .into_iter()
                .partition(|value| text(value, "kind") == CASE);
            if !apply.is_empty() {
                steps.push(Self {
                    label: file.display().to_string(),
                    apply,
                    ..Self::default()
                });
            }
            for case in &cases {
                steps.extend(of_case(case));
            }
        }
        Ok(steps)
    }
}

/// The steps of a `PolicyCase`.
fn of_case(case: &Value) -> Vec<Step> {
    let name = case.pointer("/metadata/name").and_then(Value::as_str);
    let list = |value: &Value, field: &str| {
        let found = value.get(field).and_then(Value::as_array);
        found.cloned().unwrap_or_default()
    };
    let steps = list(case, "steps");
    let step = |(number, step): (usize, &Value)| Step {
        label: format!("{} step {number}", name.unwrap_or("case")),
        is_fresh: number == 0,
        remove: list(step, "remove").iter().map(key).collect(),
        apply: list(step, "apply"),
    };
    steps.iter().enumerate().map(step).collect()
}

fn read(file: &Path) -> Result<Vec<Value>, Error> {
    let text = fs::read_to_string(file).map_err(Error::file(file))?;
    values(&text).map_err(|error| Error::State(format!("{}: {error}", file.display())))
}

/// What names an object.
fn id(value: &Value) -> Id {
    let metadata = value.get("metadata").unwrap_or(&Value::Null);
    let field = |field| text(metadata, field).to_owned();
    (
        text(value, "kind").to_owned(),
        field("namespace"),
        field("name"),
    )
}

/// The same of an entry of `remove`.
fn key(value: &Value) -> Id {
    let field = |field| text(value, field).to_owned();
    (field("kind"), field("namespace"), field("name"))
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The kind of a test case.
const CASE: &str = "PolicyCase";

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "kind: Namespace\nmetadata: {name: x}\n---\n\
        kind: Pod\nmetadata: {namespace: x, name: a}\nspec: {nodeName: n}\n\
        status: {podIPs: [{ip: 10.0.0.1}]}\n";
    const CASE: &str = "kind: PolicyCase\nmetadata: {name: c}\nsteps:\n\
        - apply:\n  - kind: Namespace\n    metadata: {name: y}\n  expect: {}\n\
        - remove: [{kind: Pod, namespace: x, name: a}]\n  expect: {}\n";

    fn file(name: &str, text: &str) -> PathBuf {
        let own = format!("weave-objects-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(own);
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn steps_of_a_case_begin_from_the_beginning_and_follow_each_other() {
        let file = file("case", &format!("{BASE}---\n{CASE}"));
        let mut objects = Objects::read(std::slice::from_ref(&file)).unwrap();
        let steps = Step::read(std::slice::from_ref(&file)).unwrap();
        fs::remove_file(file).unwrap();

        let fresh: Vec<bool> = steps.iter().map(|step| step.is_fresh).collect();
        assert_eq!(fresh, [false, true, false]);
        assert_eq!(steps[1].label, "c step 0");
        let before = objects.clone();
        objects.take(&steps[0]);
        assert_eq!(objects, before, "the manifest again");
        objects.take(&steps[1]);
        assert_eq!(objects.world().unwrap().namespaces().count(), 2);
        objects.take(&steps[2]);
        assert_eq!(objects.world().unwrap().pods().count(), 0);
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let source = file("base", BASE);
        let objects = Objects::read(std::slice::from_ref(&source)).unwrap();
        let dir = std::env::temp_dir().join(format!("weave-objects-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        objects.write(&dir).unwrap();

        let again = Objects::read(&[dir.join("world.json")]).unwrap();

        fs::remove_dir_all(dir).unwrap();
        fs::remove_file(source).unwrap();
        assert_eq!(objects, again);
    }
}
