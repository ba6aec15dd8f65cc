//! The files of a directory as the source of objects.
//!
//! The directory is looked at every [`PAUSE`]. When two looks in a row find the same, and it is not
//! what was read last, everything is read anew: the files together are the whole world. Invariant:
//! a directory or file that cannot be read changes nothing, and is reported.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use weave_npc::engine::{Event, Listing};
use weave_npc::manifest::Manifest;

use super::task::Input;

/// What a look finds: each file with what changes when its contents do.
type Print = Vec<(PathBuf, u64, i64, i64, u64)>;

/// Looks at `directory` until nobody wants to know.
pub(super) async fn follow(directory: PathBuf, told: mpsc::Sender<Input>) {
    let mut files = Files {
        directory,
        read: None,
        seen: None,
    };
    loop {
        let look = tokio::task::spawn_blocking(move || (files.look(), files));
        let Ok((input, kept)) = look.await else {
            return;
        };
        files = kept;
        if told.send(input).await.is_err() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[derive(Debug)]
struct Files {
    directory: PathBuf,
    /// What was there when everything was read.
    read: Option<Print>,
    /// What the last look found.
    seen: Option<Print>,
}

impl Files {
    /// One look. The first one that finds anything reads at once.
    fn look(&mut self) -> Input {
        let print = match print(&self.directory) {
            Ok(print) => print,
            Err(error) => {
                let path = self.directory.display();
                return Input::Faults(vec![format!("cannot read {path}: {error}")]);
            }
        };
        if self.read.as_ref() == Some(&print) {
            self.seen = Some(print);
            return Input::Looked;
        }
        let is_settled = self.read.is_none() || self.seen.as_ref() == Some(&print);
        self.seen = Some(print.clone());
        if !is_settled {
            return Input::Moving;
        }
        match read(&print) {
            Ok(manifest) => {
                self.read = Some(print);
                let listing = Listing::whole(manifest.objects, manifest.errors);
                Input::Event(Event::Listed(listing))
            }
            Err((path, error)) => {
                let path = path.display();
                Input::Faults(vec![format!("cannot read {path}: {error}")])
            }
        }
    }
}

fn print(directory: &Path) -> io::Result<Print> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !matches!(extension, Some("yaml" | "yml" | "json")) {
            continue;
        }
        let data: Metadata = match fs::metadata(&path) {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if data.is_file() {
            found.push((
                path,
                data.len(),
                data.mtime(),
                data.mtime_nsec(),
                data.ino(),
            ));
        }
    }
    found.sort();
    Ok(found)
}

fn read(print: &Print) -> Result<Manifest, (PathBuf, io::Error)> {
    let mut all = Manifest::default();
    for (path, ..) in print {
        let text = fs::read_to_string(path).map_err(|error| (path.clone(), error))?;
        all.append(Manifest::read(&text));
    }
    Ok(all)
}

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        files: Files,
    }

    impl Scene {
        fn new(name: &str) -> Self {
            let id = format!("weave-npc-files-{name}-{}", std::process::id());
            let directory = std::env::temp_dir().join(id);
            fs::create_dir_all(&directory).unwrap();
            Self {
                files: Files {
                    directory,
                    read: None,
                    seen: None,
                },
            }
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.files.directory.join(name), text).unwrap();
        }

        /// How many objects a look reads; nothing if it reads none.
        fn look(&mut self) -> Option<(usize, usize)> {
            match self.files.look() {
                Input::Event(Event::Listed(listing)) => {
                    Some((listing.objects.len(), listing.refused.len()))
                }
                _ => None,
            }
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.files.directory);
        }
    }

    #[test]
    fn files_are_read_at_once_and_then_when_they_are_settled() {
        let mut scene = Scene::new("settled");
        scene.write("a.yaml", "kind: Namespace\nmetadata: {name: a}\n");
        assert_eq!(scene.look(), Some((1, 0)));
        assert_eq!(scene.look(), None, "nothing changed");

        scene.write(
            "b.json",
            r#"{"kind": "Namespace", "metadata": {"name": "b"}}"#,
        );
        scene.write("note.txt", "kind: Namespace");
        assert_eq!(scene.look(), None, "it may go on");
        scene.write(
            "b.json",
            r#"{"kind": "Namespace", "metadata": {"name": "bb"}} {}"#,
        );
        assert_eq!(scene.look(), None, "it went on");
        assert_eq!(scene.look(), Some((2, 1)));

        fs::remove_file(scene.files.directory.join("b.json")).unwrap();
        assert_eq!((scene.look(), scene.look()), (None, Some((1, 0))));
    }

    #[test]
    fn a_directory_that_is_not_there_is_reported_and_changes_nothing() {
        let mut scene = Scene::new("gone");
        scene.write("a.yaml", "kind: Namespace\nmetadata: {name: a}\n");
        assert!(scene.look().is_some());

        fs::remove_dir_all(&scene.files.directory).unwrap();

        let Input::Faults(faults) = scene.files.look() else {
            panic!("not reported");
        };
        assert!(faults[0].starts_with("cannot read /"), "{faults:?}");
    }
}
