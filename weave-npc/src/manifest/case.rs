//! Test cases of policies: ordinary manifests, steps that change them, and the tables that hold
//! after each step.
//!
//! ```yaml
//! kind: PolicyCase
//! metadata: {name: deny-all-ingress}
//! steps:
//! - remove: [{kind: NetworkPolicy, namespace: x, name: q}]   # optional
//!   apply: [ ...objects ]                                    # optional
//!   expect:                # a row per source, a column per destination,
//!     80/TCP 81/TCP: |     # pods in order of namespace/name;
//!       .XX                # '.' allowed, 'X' denied, '-' no address of the family
//!       X..
//!       X..
//!   expectIPv6: ...        # where IPv6 differs; else `expect` holds for both
//! ```
//!
//! Invariant: a file of cases is also a manifest: readers of manifests find the objects of the
//! world and pass the cases over.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Manifest, object, refused, split};
use crate::model::{
    Key, Object, ObjectError, ObjectName, ObjectRef, ParseTransportError, Transport, Uid,
};
use crate::verdict::IpFamily;

/// A file of cases.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Suite {
    /// The world before each case.
    pub objects: Vec<Object>,
    /// The cases.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Case {
    /// The name.
    pub name: String,
    /// The steps in order.
    pub steps: Vec<Step>,
}

/// One step of a case: changes that happen at once, and what holds then.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Step {
    /// Objects that go first.
    pub remove: Vec<Key>,
    /// Objects that come or change.
    pub apply: Vec<Object>,
    /// The tables.
    pub expect: Vec<Expectation>,
}

/// The table of one port and family.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expectation {
    /// The port.
    pub transport: Transport,
    /// The family.
    pub family: IpFamily,
    /// The picture, as [`Table::picture`](crate::verdict::Table::picture) draws it.
    pub picture: String,
}

impl Suite {
    /// Reads a file of cases.
    ///
    /// # Errors
    ///
    /// The first object or case that cannot be read.
    pub fn read(text: &str) -> Result<Self, ObjectError> {
        let mut suite = Self::default();
        for document in split::documents(text) {
            let value = document.map_err(|(line, reason)| {
                ObjectError::new(
                    ObjectRef::default(),
                    format!("document at line {line}"),
                    reason,
                )
            })?;
            if super::text_of(&value, "kind") == "PolicyCase" {
                suite.cases.push(case(&value)?);
                continue;
            }
            let mut manifest = Manifest::default();
            manifest.read_value(value, 0);
            if let Some(error) = manifest.errors.pop() {
                return Err(error);
            }
            suite.objects.extend(manifest.objects);
        }
        Ok(suite)
    }
}

#[derive(Deserialize)]
struct RawStep {
    #[serde(default)]
    remove: Vec<RawKey>,
    #[serde(default)]
    apply: Vec<Value>,
    expect: BTreeMap<String, String>,
    #[serde(rename = "expectIPv6")]
    expect_v6: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawKey {
    kind: String,
    #[serde(default)]
    namespace: String,
    name: String,
}

fn case(value: &Value) -> Result<Case, ObjectError> {
    let steps = value.get("steps").unwrap_or(&Value::Null);
    let steps: Vec<RawStep> = serde_path_to_error::deserialize(steps).map_err(|error| {
        let path = format!("steps{}", error.path());
        refused(value, &path, &error.into_inner().to_string())
    })?;
    let metadata = value.get("metadata").unwrap_or(&Value::Null);
    let name = super::text_of(metadata, "name").to_owned();
    let steps: Result<_, _> = steps.iter().map(|raw| step(raw, value)).collect();
    Ok(Case {
        name,
        steps: steps?,
    })
}

fn step(raw: &RawStep, case: &Value) -> Result<Step, ObjectError> {
    let mut apply = Vec::new();
    for value in &raw.apply {
        let object = object(value)?;
        apply.extend(object);
    }
    let mut expect = Vec::new();
    let v6 = raw.expect_v6.as_ref().unwrap_or(&raw.expect);
    for (family, tables) in [(IpFamily::V4, &raw.expect), (IpFamily::V6, v6)] {
        for (ports, picture) in tables {
            for port in ports.split_whitespace() {
                let transport: Transport = port.parse().map_err(|error: ParseTransportError| {
                    refused(case, "steps.expect", &error.to_string())
                })?;
                expect.push(Expectation {
                    transport,
                    family,
                    picture: picture.clone(),
                });
            }
        }
    }
    let remove: Result<_, _> = raw.remove.iter().map(|raw| key(raw, case)).collect();
    Ok(Step {
        remove: remove?,
        apply,
        expect,
    })
}

/// A pod without `metadata.uid` is identified by its name.
fn key(raw: &RawKey, case: &Value) -> Result<Key, ObjectError> {
    let name = ObjectName::new(raw.namespace.as_str(), raw.name.as_str());
    Ok(match raw.kind.as_str() {
        "Namespace" => Key::Namespace(raw.name.as_str().into()),
        "Node" => Key::Node(raw.name.as_str().into()),
        "Pod" => Key::Pod(Uid::new(name.to_string())),
        "NetworkPolicy" => Key::Policy(name),
        "ClusterNetworkPolicy" => Key::ClusterPolicy(raw.name.as_str().into()),
        other => {
            let reason = format!("{other:?} is no kind of object that can go");
            return Err(refused(case, "steps.remove", &reason));
        }
    })
}
