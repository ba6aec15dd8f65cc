//! A lab of its own for each test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use serde_json::Value;

/// Whether this test can run; says so if not.
pub(crate) fn can_run() -> bool {
    let root = geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

/// A lab of its own for a test. Removed when dropped.
pub(crate) struct Lab {
    name: String,
}

impl Lab {
    pub(crate) fn new(test: &str) -> Self {
        Self {
            name: format!("wt-{test}-{}", std::process::id()),
        }
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weave"));
        command
            .arg("lab")
            .arg(words[0])
            .args(["--name", &self.name])
            .args(&words[1..]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a command that must succeed; its standard output.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let (stdout, stderr) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(output.status.success(), "{words:?}: {stdout}\n{stderr}");
        stdout.into_owned()
    }

    pub(crate) fn start(&self, words: &[&str]) -> Child {
        self.command(words).spawn().unwrap()
    }

    /// Name of the namespace of a host.
    pub(crate) fn namespace(&self, host: &str) -> String {
        format!("{}-{host}", self.name)
    }

    /// Where the lab keeps its files.
    pub(crate) fn state_dir(&self) -> PathBuf {
        Path::new("/run").join(&self.name)
    }

    /// What the daemon of a host reports.
    pub(crate) fn report(&self, host: usize) -> Value {
        let program = env!("CARGO_BIN_EXE_weave");
        let text = self.ok(&["exec", &host.to_string(), "--", program, "report"]);
        serde_json::from_str(&text).unwrap()
    }

    /// Names of this lab's namespaces.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        let entries = std::fs::read_dir("/run/netns")
            .into_iter()
            .flatten()
            .flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| name.starts_with(&self.name)).collect()
    }

    pub(crate) fn wait_for_namespace(&self, suffix: &str) {
        let path = Path::new("/run/netns").join(format!("{}-{suffix}", self.name));
        let deadline = Instant::now() + Duration::from_secs(60);
        while !path.exists() {
            assert!(
                Instant::now() < deadline,
                "{} never appeared",
                path.display()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn assert_gone(&self) {
        assert_eq!(self.namespaces(), Vec::<String>::new());
        assert!(!Path::new("/run").join(&self.name).exists());
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // After a failed assertion something may be left.
        let _output = self.run(&["down"]);
    }
}
