//! What the lab is doing, on standard error.
//!
//! On a terminal one line is rewritten; elsewhere each step is a line of its own and updates
//! within a step are left out.

use std::cell::RefCell;
use std::io::{IsTerminal as _, Write as _};

/// Shows steps while they are worked on.
#[derive(Debug)]
pub(crate) struct Progress {
    terminal: bool,
    shown: RefCell<bool>,
}

impl Progress {
    /// On standard error.
    pub(crate) fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            shown: RefCell::new(false),
        }
    }

    /// Begins a step.
    pub(crate) fn step(&self, text: &str) {
        if self.terminal {
            self.update(text);
        } else {
            eprintln!("{text}");
        }
    }

    /// Shows how far the step is; terminals only.
    pub(crate) fn update(&self, text: &str) {
        if !self.terminal {
            return;
        }
        // Progress that cannot be shown is no reason to stop.
        let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
        let _ = std::io::stderr().flush();
        self.shown.replace(true);
    }

    /// Prints a line that stays.
    pub(crate) fn say(&self, text: &str) {
        self.clear();
        eprintln!("{text}");
    }

    /// Takes the rewritten line away.
    pub(crate) fn clear(&self) {
        if self.shown.replace(false) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
            let _ = std::io::stderr().flush();
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
