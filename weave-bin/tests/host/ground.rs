//! What every test with hosts of its own stands on: names, files and namespaces that go with it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use weave_datapath::netns::Namespace;

/// Files and named namespaces of one test, gone when dropped.
pub(crate) struct Ground {
    tag: String,
    scratch: PathBuf,
    names: Vec<String>,
}

impl Ground {
    /// For `test`; `None`, said loudly, without root or one of `programs`.
    pub(crate) fn new(test: &str, programs: &[&str]) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        for program in programs {
            if !std::env::split_paths(&path).any(|dir| dir.join(program).exists()) {
                println!("skipped: needs the program {program}");
                return None;
            }
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let tag = format!("wt-{test}-{}-{count}", std::process::id());
        let scratch = std::env::temp_dir().join(&tag);
        std::fs::create_dir_all(&scratch).unwrap();
        Some(Self {
            tag,
            scratch,
            names: Vec::new(),
        })
    }

    /// An empty namespace.
    pub(crate) fn namespace(&mut self, label: &str) -> Namespace {
        let name = format!("{}-{label}", self.tag);
        let namespace = Namespace::create_named(&name).unwrap();
        self.names.push(name);
        namespace
    }

    /// How many namespaces there are.
    pub(crate) fn count(&self) -> usize {
        self.names.len()
    }

    /// A path below the files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Namespace::delete_named(name);
        }
        let _ = std::fs::remove_dir_all(&self.scratch);
    }
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}
