//! Every recorded scene: the report is read, written back, and rendered as its text pages.

use std::path::PathBuf;

use super::*;

struct Scene {
    directory: PathBuf,
    json: String,
    report: Report,
}

impl Scene {
    fn page(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.join(name)).unwrap()
    }
}

fn scenes() -> Vec<Scene> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/daemon");
    let mut scenes: Vec<Scene> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| {
            let directory = entry.unwrap().path();
            let json = std::fs::read_to_string(directory.join("report.json")).unwrap();
            let report = serde_json::from_str(&json).unwrap();
            Scene {
                directory,
                json,
                report,
            }
        })
        .collect();
    scenes.sort_by(|a, b| a.directory.cmp(&b.directory));
    assert_eq!(scenes.len(), 18);
    scenes
}

#[test]
fn every_report_is_written_back_byte_for_byte() {
    for scene in scenes() {
        assert_eq!(
            scene.report.to_json(),
            scene.json,
            "{}",
            scene.directory.display()
        );
    }
}

#[test]
fn the_overview_is_the_recorded_page() {
    for scene in scenes() {
        let page = scene.page("status.txt");
        assert_eq!(
            overview(&scene.report),
            page,
            "{}",
            scene.directory.display()
        );
    }
}

/// The recorded pages run attributes together (`encrypted=truemtu=1414`); ours part them. Their
/// order is that of a hash table and differs from the report's.
#[test]
fn connections_are_the_recorded_lines_with_attributes_parted() {
    for scene in scenes() {
        let page = scene
            .page("status-connections.txt")
            .replace("=truemtu=", "=true mtu=");
        let name = scene.directory.display();
        assert_eq!(sorted(&connections(&scene.report)), sorted(&page), "{name}");
    }
}

#[test]
fn peers_are_the_recorded_blocks() {
    let blocks = |page: &str| {
        let mut blocks: Vec<Vec<String>> = Vec::new();
        for line in page.lines() {
            if line.starts_with(' ') {
                blocks.last_mut().unwrap().push(line.to_owned());
            } else {
                blocks.push(vec![line.to_owned()]);
            }
        }
        blocks.iter_mut().for_each(|block| block[1..].sort());
        blocks.sort();
        blocks
    };
    for scene in scenes() {
        let page = peers(&scene.report);
        let recorded = scene.page("status-peers.txt");
        assert_eq!(page.len(), recorded.len());
        assert_eq!(
            blocks(&page),
            blocks(&recorded),
            "{}",
            scene.directory.display()
        );
    }
}

#[test]
fn targets_are_the_recorded_lines() {
    for scene in scenes() {
        let page = targets(&scene.report);
        assert_eq!(sorted(&page), sorted(&scene.page("status-targets.txt")));
    }
}

/// Without IPAM the recorded page is an error text; ours is empty. The order of the other peers
/// is random in the recorded pages; ours is by name, after ourselves.
#[test]
fn shares_are_the_recorded_lines_and_ours_comes_first() {
    for scene in scenes() {
        let recorded = scene.page("status-ipam.txt");
        let page = ipam(&scene.report);
        if scene.report.ipam.is_none() {
            assert_eq!((page.as_str(), recorded.trim_end()), ("", TEMPLATE_ERROR));
            continue;
        }
        assert_eq!(
            sorted(&page),
            sorted(&recorded),
            "{}",
            scene.directory.display()
        );
        if page.contains("active)") {
            assert!(page.lines().next().unwrap().ends_with(" active)"), "{page}");
        }
    }
}

/// With the name server off the recorded page is an error text; ours is empty.
#[test]
fn names_are_the_recorded_page() {
    for scene in scenes() {
        let recorded = scene.page("status-dns.txt");
        if scene.report.dns.is_none() {
            assert_eq!(
                (dns(&scene.report).as_str(), recorded.trim_end()),
                ("", TEMPLATE_ERROR)
            );
        } else {
            assert_eq!(
                dns(&scene.report),
                recorded,
                "{}",
                scene.directory.display()
            );
        }
    }
}

#[test]
fn a_ring_of_unreachable_peers_is_told_before_anything_else() {
    let mut report = scenes().swap_remove(3).report;
    let ring = report.ipam.as_mut().unwrap();
    ring.entries
        .iter_mut()
        .for_each(|entry| entry.is_known_peer = false);
    ring.pending_allocates.push("a 10.32.0.0/12".to_owned());

    let page = overview(&report);

    let text = "all IP ranges owned by unreachable peers - use 'rmpeer' if they are dead";
    assert!(page.contains(text), "{page}");
}

#[test]
fn what_an_operator_must_know_of_addresses_stands_under_the_service() {
    let mut report = scenes().remove(0).report;
    let plain = overview(&report);
    let ipam = scenes().into_iter().find_map(|scene| scene.report.ipam);
    let mut ipam = ipam.expect("a scene with addresses");
    ipam.held = vec!["10.32.0.0/12 held: hearing the other peers after a restart".to_owned()];
    ipam.renumber = vec!["10.32.0.5/12 of pod belongs to ::2: give it another address".to_owned()];
    ipam.conflicts = vec!["two owners".to_owned()];
    report.ipam = Some(ipam);

    let page = overview(&report);

    assert!(!plain.contains("Held:"));
    for line in [
        "           Held: 10.32.0.0/12 held: hearing the other peers after a restart\n",
        "       Conflict: two owners\n",
        "       Renumber: 10.32.0.5/12 of pod belongs to ::2: give it another address\n",
    ] {
        assert!(page.contains(line), "{page}");
    }
}

#[test]
fn a_second_family_stands_behind_the_first() {
    let mut report = scenes().swap_remove(3).report;
    let found = report.ipam.clone();
    (report.dns, report.host, report.cluster) = (None, None, None);
    let before = (overview(&report), ipam(&report));
    let mut second = found.expect("a scene with addresses");
    second.range = "fd00:32::/64".to_owned();
    report.ipam6 = Some(second);

    let (page, owners) = (overview(&report), ipam(&report));
    let with_reason = {
        report.ipam6 = None;
        report.left_out = Some(crate::daemon::LeftOut {
            range: "fd00:32::/64".to_owned(),
            reason: "IPv6 is off".to_owned(),
        });
        overview(&report)
    };

    assert!(page.starts_with(before.0.trim_end_matches('\n')), "{page}");
    let block = "\n\n        Service: ipam6\n         Status: ";
    assert!(
        page.contains(block) && page.contains("          Range: fd00:32::/64\n"),
        "{page}"
    );
    assert!(
        owners.starts_with(&before.1) && owners.len() > before.1.len(),
        "{owners}"
    );
    let off = "        Service: ipam6\n         Status: off: IPv6 is off\n          Range: fd00:32::/64\n";
    assert!(with_reason.contains(off), "{with_reason}");
}

#[test]
fn a_waiting_allocation_shows_when_there_is_a_ring() {
    let mut report = scenes().swap_remove(3).report;
    report
        .ipam
        .as_mut()
        .unwrap()
        .pending_allocates
        .push("a 10.32.0.0/12".to_owned());

    assert!(overview(&report).contains("Status: waiting for IP(s) to become available\n"));
}

#[test]
fn the_version_line_tells_what_the_check_found() {
    let mut check = VersionCheck {
        enabled: true,
        ..VersionCheck::disabled()
    };
    check.next_check_at = "2026-11-20T21:48:53.5Z".to_owned();

    let failed = version("3", &check);
    check.success = true;
    let fresh = version("3", &check);
    check.new_version = "4".to_owned();
    let old = version("3", &check);

    let next = "next check at 2026/11/20 21:48:53";
    assert_eq!(
        failed,
        format!("3 (failed to check latest version - see logs; {next})")
    );
    assert_eq!(fresh, format!("3 (up to date; {next})"));
    assert_eq!(old, "3 (version 4 available - please upgrade!)");
}

fn sorted(page: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = page.lines().collect();
    lines.sort_unstable();
    lines
}

const TEMPLATE_ERROR: &str = "error during template execution";
