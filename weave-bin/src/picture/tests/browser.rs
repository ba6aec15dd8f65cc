//! The page in a real browser, where there is one: it reads the document as we do, finds nothing to
//! forbid, and takes a picture.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{drawn, large, parse, record};
use crate::picture::{Blocked, Policies, STYLE};
use crate::status::events::Event;
use crate::store::tests::Scratch;

/// A browser that runs without a screen.
fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let names = [
        "chromium",
        "chromium-browser",
        "chrome-headless-shell",
        "google-chrome",
    ];
    std::env::split_paths(&path)
        .flat_map(|directory| names.map(|name| directory.join(name)))
        .find(|program| program.exists())
}

/// What the browser made of the document in `page`, and what it complained about. The picture is
/// kept in the directory `WEAVE_SCREENSHOTS`, if that is set.
fn show(browser: &Path, page: &Path, profile: &Path) -> (String, String) {
    let base = |extra: &[&str]| {
        let output = Command::new("timeout")
            .arg("60")
            .arg(browser)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
            ])
            .args([
                "--enable-logging=stderr",
                "--no-first-run",
                "--disable-background-networking",
            ])
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(extra)
            .arg(format!("file://{}", page.display()))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    if let Some(directory) = std::env::var_os("WEAVE_SCREENSHOTS") {
        let name = page.file_stem().unwrap().to_str().unwrap();
        let shot = |suffix: &str, more: &[&str]| {
            let file = Path::new(&directory).join(format!("{name}{suffix}.png"));
            let shot = format!("--screenshot={}", file.display());
            let mut words = vec![&*shot, "--window-size=1280,2400"];
            words.extend(more);
            let _ = base(&words);
        };
        shot("", &[]);
        shot("-dark", &["--blink-settings=preferredColorScheme=0"]);
    }
    base(&["--dump-dom"])
}

/// What browsers write when a page asks for what its policy forbids.
fn is_forbidden(complaints: &str) -> bool {
    complaints.contains("Content Security Policy")
}

#[test]
fn a_browser_shows_the_page_and_forbids_nothing() {
    let Some(browser) = browser() else {
        println!("skipped: needs a browser");
        return;
    };
    let scratch = Scratch::new();
    let blocked = Policies::Known(Blocked {
        records: vec![record()],
        faults: Vec::new(),
    });
    let event = |second: u64, level, text| {
        Event::new(Duration::from_secs(1_795_211_000 + second), level, text)
    };
    let events = [
        event(0, "info", "ring established"),
        event(
            60,
            "warning",
            "fastdp ->[192.0.2.9:6783|0a:00:00:00:00:09(node-9)]: no heartbeat for 2.5 s",
        ),
        event(
            62,
            "info",
            "overlay_switch ->[0a:00:00:00:00:09(node-9)] using sleeve: silent",
        ),
    ];
    for count in [3, 100] {
        let document = drawn(&large(count), &blocked, &events);
        let page = scratch.path(&format!("peers-{count}.html"));
        std::fs::write(&page, &document).unwrap();

        let (seen, complaints) = show(&browser, &page, &scratch.path("profile"));

        assert!(!is_forbidden(&complaints), "{complaints}");
        let (tags, _) = parse(&document);
        for tag in ["circle", "line", "path", "text", "tr", "td"] {
            let ours = tags.iter().filter(|one| *one == tag).count();
            let theirs = seen.matches(&format!("<{tag} ")).count()
                + seen.matches(&format!("<{tag}>")).count();
            assert_eq!(theirs, ours, "{tag}");
        }
    }

    let other = drawn(&large(3), &blocked, &events).replace(STYLE, "body{color:red}");
    let page = scratch.path("other.html");
    std::fs::write(&page, other).unwrap();
    let (_, complaints) = show(&browser, &page, &scratch.path("profile"));
    assert!(
        is_forbidden(&complaints),
        "another style must be refused: {complaints}"
    );
}
