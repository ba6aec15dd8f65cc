//! Reports of real Weave Net daemons, for tests.

use super::Report;

/// The report of one of the recorded scenes.
pub(crate) fn report(scene: &str) -> Report {
    let path = format!(
        "{}/tests/vectors/daemon/{scene}/report.json",
        env!("CARGO_MANIFEST_DIR")
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
