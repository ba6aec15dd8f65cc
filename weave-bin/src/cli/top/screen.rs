//! The terminal while a table is drawn on it: no echo, keys one by one, put back at the end.

use std::io::{self, IsTerminal as _, Read as _, Write as _};

use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use tokio::sync::mpsc;

use super::text::Paper;

/// A terminal that is drawn on; dropping it puts it back as it was.
#[derive(Debug)]
pub(super) struct Screen {
    before: Option<Termios>,
}

/// What came from the keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// `q`, or the end of what can be typed.
    Quit,
    /// The terminal's answer to where its last corner is.
    Size(Paper),
}

impl Screen {
    /// Takes the terminal over, if standard output is one, and listens to its keys.
    pub(super) fn open() -> Option<(Self, mpsc::Receiver<Key>)> {
        if !io::stdout().is_terminal() {
            return None;
        }
        let (sender, keys) = mpsc::channel(16);
        let before = quiet().ok().flatten();
        if before.is_some() {
            // Reading cannot be ended from outside: the thread ends with the program.
            std::thread::spawn(move || listen(&sender));
        }
        let screen = Self { before };
        // The other screen, without a cursor.
        write("\x1b[?1049h\x1b[?25l");
        Some((screen, keys))
    }

    /// Draws `text` from the top, and asks for the size of the terminal.
    pub(super) fn draw(&self, text: &str) {
        // Every line is cleared to its end; below the last everything is.
        let lines = text.replace('\n', "\x1b[K\r\n");
        let ask = if self.before.is_some() { ASK_SIZE } else { "" };
        write(&format!("\x1b[H{lines}\x1b[J{ask}"));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write("\x1b[?25h\x1b[?1049l");
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

/// Turns echo and lines off; Ctrl-C stays a signal. Nothing where input is no terminal.
fn quiet() -> nix::Result<Option<Termios>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    let before = termios::tcgetattr(io::stdin())?;
    let mut quiet = before.clone();
    quiet
        .local_flags
        .remove(LocalFlags::ICANON | LocalFlags::ECHO);
    termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &quiet)?;
    Ok(Some(before))
}

fn listen(sender: &mpsc::Sender<Key>) {
    let mut reader = Reader::default();
    let mut buffer = [0; 64];
    loop {
        let Ok(count @ 1..) = io::stdin().read(&mut buffer) else {
            let _ = sender.blocking_send(Key::Quit);
            return;
        };
        for byte in &buffer[..count] {
            if let Some(key) = reader.take(*byte)
                && sender.blocking_send(key).is_err()
            {
                return;
            }
        }
    }
}

/// Finds keys and answers among the bytes of a terminal.
#[derive(Debug, Default)]
struct Reader {
    /// Bytes of an answer, once one has begun.
    answer: Option<Vec<u8>>,
}

impl Reader {
    fn take(&mut self, byte: u8) -> Option<Key> {
        match (byte, &mut self.answer) {
            (0x1b, _) => {
                self.answer = Some(Vec::new());
                None
            }
            (b'q' | b'Q', None) => Some(Key::Quit),
            (_, None) => None,
            (b'0'..=b'9' | b';' | b'[', Some(answer)) if answer.len() < 16 => {
                answer.push(byte);
                None
            }
            (last, Some(_)) => {
                let answer = self.answer.take()?;
                (last == b'R').then(|| size(&answer)).flatten()
            }
        }
    }
}

/// The size in `[ROWS;COLUMNS`, the answer to a question for the cursor (ECMA-48, CPR).
fn size(answer: &[u8]) -> Option<Key> {
    let text = std::str::from_utf8(answer).ok()?;
    let (rows, columns) = text.strip_prefix('[')?.split_once(';')?;
    let (rows, columns) = (rows.parse().ok()?, columns.parse().ok()?);
    Some(Key::Size(Paper {
        rows: Some(rows),
        columns: Some(columns),
    }))
}

/// What nobody reads is no error: the table ends with its terminal.
fn write(text: &str) {
    let mut stdout = io::stdout().lock();
    let _unread = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// To the last corner, ask where that is, and back to the first.
const ASK_SIZE: &str = "\x1b[9999;9999H\x1b[6n\x1b[H";

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut reader = Reader::default();
        bytes.iter().filter_map(|byte| reader.take(*byte)).collect()
    }

    #[test]
    fn the_size_is_read_between_keys() {
        let paper = Paper {
            rows: Some(24),
            columns: Some(80),
        };

        assert_eq!(keys(b"x\x1b[24;80Rq"), [Key::Size(paper), Key::Quit]);
    }

    #[test]
    fn other_keys_are_not_taken_for_an_answer() {
        assert_eq!(keys(b"\x1b[A\x1bOP\x1b[;R\x1b[9R"), []);
        let long = [b"\x1b[".as_slice(), &[b'1'; 100], b"q"].concat();
        assert_eq!(keys(&long), [Key::Quit]);
    }
}
