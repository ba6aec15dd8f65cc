//! A picture of who owns which part of the ring.
//!
//! The bar shows the range from its first to its last address; each cell carries the letter of the
//! owner of most of it. Shares below are counted exactly, so small parts that no cell shows are
//! still in the list.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use crate::status::model::RingEntry;

/// Draws the ring of `range` with `width` cells. `in_use` counts addresses by peer name.
pub(crate) fn draw(
    range: Ipv4Net,
    entries: &[RingEntry],
    in_use: &BTreeMap<String, u128>,
    width: usize,
) -> String {
    let spans = spans(range, entries);
    if spans.is_empty() {
        return format!("ring of {range}: nobody owns anything yet\n");
    }
    let total = u128::from(u32::from(range.broadcast()) - u32::from(range.network())) + 1;
    let owners = owners(entries, &spans);
    let mut text = format!("ring of {range}, {total} addresses\n");
    let bar: String = (0..width)
        .map(|cell| cell_owner(&spans, total, cell, width).map_or(' ', |peer| owners[peer].letter))
        .collect();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "  {} |{bar}| {}", range.network(), range.broadcast());
    let mut listed: Vec<(&str, &Owner<'_>)> = owners.iter().map(|(peer, o)| (*peer, o)).collect();
    listed.sort_by_key(|(_, owner)| owner.order);
    let name_width = listed
        .iter()
        .map(|(_, owner)| owner.nickname.len())
        .max()
        .unwrap_or(0);
    for (peer, owner) in listed {
        let share = percent(owner.size, total);
        let used = in_use.get(peer).copied().unwrap_or(0);
        let _ = writeln!(
            text,
            "  {}  {:name_width$} {share:>6} {:>10} addresses {used:>5} in use",
            owner.letter, owner.nickname, owner.size,
        );
    }
    text
}

/// A part of the ring: offsets from the first address of the range.
struct Span<'a> {
    start: u128,
    end: u128,
    peer: &'a str,
}

struct Owner<'a> {
    letter: char,
    nickname: &'a str,
    size: u128,
    order: usize,
}

/// The entries as spans within the range; one that runs past its end comes back at its start.
fn spans(range: Ipv4Net, entries: &[RingEntry]) -> Vec<Span<'_>> {
    let total = u128::from(u32::from(range.broadcast()) - u32::from(range.network())) + 1;
    let mut spans = Vec::with_capacity(entries.len() + 1);
    for entry in entries {
        let IpAddr::V4(token) = entry.token else {
            continue;
        };
        if !range.contains::<&Ipv4Addr>(&token) {
            continue;
        }
        let start = u128::from(u32::from(token) - u32::from(range.network()));
        let end = start + entry.size.min(total);
        let peer = entry.peer.as_str();
        spans.push(Span {
            start,
            end: end.min(total),
            peer,
        });
        if end > total {
            spans.push(Span {
                start: 0,
                end: end - total,
                peer,
            });
        }
    }
    spans
}

/// Letters in order of the first address owned.
fn owners<'a>(entries: &'a [RingEntry], spans: &[Span<'a>]) -> BTreeMap<&'a str, Owner<'a>> {
    let mut owners: BTreeMap<&str, Owner<'_>> = BTreeMap::new();
    let nicknames: BTreeMap<&str, &str> = entries
        .iter()
        .map(|entry| (entry.peer.as_str(), entry.nickname.as_str()))
        .collect();
    for span in spans {
        let order = owners.len();
        let owner = owners.entry(span.peer).or_insert_with(|| Owner {
            letter: char::from(LETTERS[order % LETTERS.len()]),
            nickname: nicknames
                .get(span.peer)
                .copied()
                .filter(|n| !n.is_empty())
                .unwrap_or(span.peer),
            size: 0,
            order,
        });
        owner.size += span.end - span.start;
    }
    owners
}

fn cell_owner<'a>(spans: &[Span<'a>], total: u128, cell: usize, width: usize) -> Option<&'a str> {
    // Cells of a range smaller than the bar overlap in one address each.
    let (cell, width) = (u128::try_from(cell).ok()?, u128::try_from(width).ok()?);
    let start = cell * total / width;
    let end = ((cell + 1) * total / width).max(start + 1);
    let mut shares: BTreeMap<&str, u128> = BTreeMap::new();
    for span in spans {
        let overlap = span.end.min(end).saturating_sub(span.start.max(start));
        if overlap > 0 {
            *shares.entry(span.peer).or_default() += overlap;
        }
    }
    shares
        .into_iter()
        .max_by_key(|(_, share)| *share)
        .map(|(peer, _)| peer)
}

/// One digit after the point, rounded down so that shares never add up to more than everything.
fn percent(part: u128, whole: u128) -> String {
    let tenths = part * 1000 / whole;
    format!("{}.{} %", tenths / 10, tenths % 10)
}

const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(token: &str, size: u128, peer: u8) -> RingEntry {
        RingEntry {
            token: token.parse().unwrap(),
            size,
            peer: format!("00:00:00:00:00:{peer:02x}"),
            nickname: format!("host-{peer}"),
            is_known_peer: true,
            version: 1,
            free: None,
        }
    }

    #[test]
    fn three_owners_fill_the_bar() {
        let entries = [
            entry("10.32.0.0", 349_526, 1),
            entry("10.37.85.86", 349_525, 2),
            entry("10.42.170.171", 349_525, 3),
        ];
        let in_use = BTreeMap::from([("00:00:00:00:00:01".to_owned(), 3)]);

        let picture = draw("10.32.0.0/12".parse().unwrap(), &entries, &in_use, 30);

        assert_eq!(
            picture,
            "ring of 10.32.0.0/12, 1048576 addresses\n\
             \x20 10.32.0.0 |AAAAAAAAAABBBBBBBBBBCCCCCCCCCC| 10.47.255.255\n\
             \x20 A  host-1 33.3 %     349526 addresses     3 in use\n\
             \x20 B  host-2 33.3 %     349525 addresses     0 in use\n\
             \x20 C  host-3 33.3 %     349525 addresses     0 in use\n"
        );
    }

    #[test]
    fn an_owner_with_several_parts_is_listed_once() {
        let entries = [
            entry("10.0.0.0", 128, 1),
            entry("10.0.0.128", 64, 2),
            entry("10.0.0.192", 64, 1),
        ];

        let picture = draw(
            "10.0.0.0/24".parse().unwrap(),
            &entries,
            &BTreeMap::new(),
            4,
        );

        assert_eq!(
            picture,
            "ring of 10.0.0.0/24, 256 addresses\n\
             \x20 10.0.0.0 |AABA| 10.0.0.255\n\
             \x20 A  host-1 75.0 %        192 addresses     0 in use\n\
             \x20 B  host-2 25.0 %         64 addresses     0 in use\n"
        );
    }

    #[test]
    fn the_last_part_may_run_over_the_end() {
        let entries = [entry("10.0.0.64", 64, 1), entry("10.0.0.128", 192, 2)];

        let picture = draw(
            "10.0.0.0/24".parse().unwrap(),
            &entries,
            &BTreeMap::new(),
            4,
        );

        assert!(picture.contains("|BABB|"), "{picture}");
    }

    #[test]
    fn nothing_a_daemon_reports_breaks_the_picture() {
        let range = "10.0.0.0/24".parse().unwrap();
        let odd = [
            entry("10.0.0.0", u128::MAX, 1),
            entry("192.168.0.0", 5, 2),
            entry("fd00::1", 5, 3),
        ];

        assert!(draw(range, &odd, &BTreeMap::new(), 8).contains("|AAAAAAAA|"));
        assert!(draw(range, &[], &BTreeMap::new(), 8).contains("nobody"));
        assert!(
            draw(
                "10.0.0.0/30".parse().unwrap(),
                &odd[..1],
                &BTreeMap::new(),
                9
            )
            .contains("|AAAAAAAAA|")
        );
    }
}
