//! Standard output, whose reader may have gone away.
//!
//! `weave status | head -1` closes the pipe early: what nobody reads is no error, and never a panic.

use std::fmt::Display;
use std::io::Write as _;

/// Writes `text` to standard output. That it cannot be written is ignored: the outcome of a command
/// is its exit code.
pub(crate) fn show(text: impl Display) {
    let mut stdout = std::io::stdout().lock();
    let _unread = write!(stdout, "{text}").and_then(|()| stdout.flush());
}

/// [`show`] for who goes on writing: whether somebody still reads.
pub(crate) fn try_show(text: impl Display) -> bool {
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "{text}")
        .and_then(|()| stdout.flush())
        .is_ok()
}

/// [`show`] for a line.
pub(crate) fn show_line(text: impl Display) {
    show(format_args!("{text}\n"));
}
