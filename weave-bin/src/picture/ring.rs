//! The ring of addresses as a circle: who owns which part, and how much of it is free.
//!
//! An arc is as long as its share of the range. The dark band on it grows from the inside with the
//! share that is in use, as the owner reported it last. Neighbouring entries of one owner are one
//! arc.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use super::markup::Markup;
use super::mesh::text_of;
use super::{number_of, percent, shorten, tables};
use crate::status::model::{Ipam, RingEntry};

/// What one peer owns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Owner<'r> {
    /// Its name.
    pub(super) name: &'r str,
    /// Its nickname, empty if not known.
    pub(super) nickname: &'r str,
    /// Addresses.
    pub(super) size: u128,
    /// Free ones as reported, if that was told for all its ranges.
    pub(super) free: Option<u128>,
    /// Ranges.
    pub(super) ranges: usize,
    /// Whether the mesh knows it.
    pub(super) is_known: bool,
}

/// Owners by name.
pub(super) fn owners(ipam: &Ipam) -> BTreeMap<&str, Owner<'_>> {
    let mut owners: BTreeMap<&str, Owner<'_>> = BTreeMap::new();
    for entry in &ipam.entries {
        let owner = owners.entry(&entry.peer).or_insert_with(|| Owner {
            name: &entry.peer,
            nickname: &entry.nickname,
            free: Some(0),
            is_known: entry.is_known_peer,
            ..Owner::default()
        });
        owner.size = owner.size.saturating_add(entry.size);
        let free = free_of(entry);
        owner.free = owner
            .free
            .zip(free)
            .map(|(sum, free)| sum.saturating_add(free));
        owner.ranges += 1;
    }
    owners
}

/// Draws the ring of `ipam`; `id` tells pictures of several rings apart.
pub(super) fn draw(markup: &mut Markup, ipam: &Ipam, id: &str) {
    let owners = owners(ipam);
    let colours: BTreeMap<&str, String> = owners
        .keys()
        .enumerate()
        .map(|(number, name)| (*name, colour(number)))
        .collect();
    let (title, about) = (format!("{id}-title"), format!("{id}-about"));
    let labels = format!("{title} {about}");
    let attributes = [
        ("role", "img"),
        ("aria-labelledby", &*labels),
        ("viewBox", "0 0 400 400"),
        ("width", "400"),
        ("height", "400"),
    ];
    markup.element("svg", &attributes, |markup| {
        markup.leaf("title", &[("id", &title)], "Who owns which addresses");
        let text = format!(
            "{} has {} owners; the table of owners says the same in words.",
            ipam.range,
            owners.len()
        );
        markup.leaf("desc", &[("id", &about)], &text);
        if owners.is_empty() {
            let ring = [
                ("cx", "200"),
                ("cy", "200"),
                ("r", "150"),
                ("class", "edge"),
            ];
            markup.empty("circle", &ring);
        }
        for arc in arcs(ipam) {
            arc.draw(markup, ipam.range_num_ips, &colours);
        }
        let centre = |markup: &mut Markup, y, class, text: &str| {
            let at = [
                ("x", "200"),
                ("y", y),
                ("text-anchor", "middle"),
                ("class", class),
            ];
            markup.leaf("text", &at, text);
        };
        centre(markup, "192", "big", &shorten(&ipam.range, 22));
        let share = match owners.len() {
            0 => "nobody owns anything yet".to_owned(),
            1 => "1 owner".to_owned(),
            count => format!("{count} owners"),
        };
        centre(markup, "214", "soft", &share);
        let used = format!("{} in use here", number_of(ipam.active_ips));
        centre(markup, "232", "soft", &used);
    });
}

/// Free addresses of a range, if they can be told: an owner reports no more than 32 bits can count.
fn free_of(entry: &RingEntry) -> Option<u128> {
    let is_countable = entry.size <= u128::from(u32::MAX);
    entry.free.filter(|_| is_countable).map(u128::from)
}

/// A part of the ring.
#[derive(Debug, Clone, PartialEq)]
struct Arc<'r> {
    from: u128,
    size: u128,
    free: Option<u128>,
    peer: &'r str,
    label: String,
    is_known: bool,
}

/// The arcs, neighbours of one owner joined; beyond [`ARCS`] the smallest are left out.
fn arcs(ipam: &Ipam) -> Vec<Arc<'_>> {
    let mut arcs: Vec<Arc<'_>> = Vec::new();
    let mut at = 0;
    for entry in &ipam.entries {
        let free = free_of(entry);
        match arcs.last_mut() {
            Some(last) if last.peer == entry.peer => {
                last.size = last.size.saturating_add(entry.size);
                last.free = last
                    .free
                    .zip(free)
                    .map(|(sum, free)| sum.saturating_add(free));
            }
            _ => arcs.push(Arc {
                from: at,
                size: entry.size,
                free,
                peer: &entry.peer,
                label: format!("{} from {}", entry.nickname, entry.token),
                is_known: entry.is_known_peer,
            }),
        }
        at = at.saturating_add(entry.size);
    }
    if arcs.len() > ARCS {
        arcs.sort_by_key(|arc| std::cmp::Reverse(arc.size));
        arcs.truncate(ARCS);
        arcs.sort_by_key(|arc| arc.from);
    }
    arcs
}

impl Arc<'_> {
    fn draw(&self, markup: &mut Markup, total: u128, colours: &BTreeMap<&str, String>) {
        let (from, to) = (
            share(self.from, total),
            share(self.from.saturating_add(self.size), total),
        );
        let fill = colours.get(self.peer).map_or("", String::as_str);
        let shape = sector(from, to, INNER, OUTER);
        markup.element(
            "path",
            &[("d", &shape), ("fill", fill), ("class", "arc")],
            |markup| {
                let free = self.free.map(|free| format!(", {} free", number_of(free)));
                let text = format!(
                    "{}: {}{}",
                    self.label,
                    number_of(self.size),
                    free.unwrap_or_default()
                );
                markup.leaf("title", &[], &text);
            },
        );
        let used = self.free.map_or(0, |free| self.size.saturating_sub(free));
        if used > 0 {
            let thick = (OUTER - INNER) * share(used, self.size).max(0.06);
            let band = sector(from, to, INNER, INNER + thick);
            markup.empty("path", &[("d", &band), ("class", "used")]);
        }
        if !self.is_known {
            let edge = sector(from, to, OUTER + 3.0, OUTER + 5.0);
            markup.empty("path", &[("d", &edge), ("class", "gone")]);
        }
    }
}

/// The outline between two shares of the circle and two radii.
fn sector(from: f64, to: f64, inner: f64, outer: f64) -> String {
    // A whole circle would begin where it ends, and be nothing.
    let to = to.min(from + 0.9999);
    let large = u8::from(to - from > 0.5);
    let point = |share: f64, radius: f64| {
        let (sin, cos) = (TAU * (share - 0.25)).sin_cos();
        format!(
            "{} {}",
            text_of(200.0 + radius * cos),
            text_of(200.0 + radius * sin)
        )
    };
    let (a, b) = (point(from, outer), point(to, outer));
    let (c, d) = (point(to, inner), point(from, inner));
    format!("M{a}A{outer} {outer} 0 {large} 1 {b}L{c}A{inner} {inner} 0 {large} 0 {d}Z")
}

/// `part` of `whole`, 0 to 1.
pub(super) fn share(part: u128, whole: u128) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    // Enough digits for a picture, also of an IPv6 range.
    let scaled = part.saturating_mul(1_000_000) / whole;
    let scaled = if part > u128::MAX / 1_000_000 {
        part / (whole / 1_000_000).max(1)
    } else {
        scaled
    };
    u32::try_from(scaled)
        .map_or(1.0, |scaled| f64::from(scaled) / 1_000_000.0)
        .min(1.0)
}

/// The colour of owner `number`: hues that lie far from each other come one after the other.
pub(super) fn colour(number: usize) -> String {
    let number = u32::try_from(number % 360).unwrap_or(0);
    let hue = number * 137 % 360;
    let light = [52, 62, 44][usize::try_from(number % 3).unwrap_or(0)];
    format!("hsl({hue} 55% {light}%)")
}

/// The table of owners.
pub(super) fn table(markup: &mut Markup, ipam: &Ipam) {
    let owners = owners(ipam);
    let caption = format!(
        "Owners of {}: {}, of {} addresses",
        ipam.range,
        owners.len(),
        number_of(ipam.range_num_ips)
    );
    let columns = [
        "Owner",
        "#Addresses",
        "#Share",
        "#Free",
        "#Ranges",
        "In the mesh",
    ];
    let is_open = owners.len() <= tables::FOLDED;
    tables::table(markup, &caption, is_open, &columns, |markup| {
        for (number, owner) in owners.values().enumerate() {
            row(markup, ipam, number, owner);
        }
    });
    let text = "The dark band is what is in use, as each owner reported it last; a red edge marks an \
                owner that is not in the mesh.";
    markup.leaf("p", &[("class", "legend")], text);
}

fn row(markup: &mut Markup, ipam: &Ipam, number: usize, owner: &Owner<'_>) {
    markup.element("tr", &[], |markup| {
        markup.element("td", &[], |markup| {
            let size = [("width", "12"), ("height", "12"), ("aria-hidden", "true")];
            markup.element("svg", &size, |markup| {
                let fill = colour(number);
                markup.empty(
                    "circle",
                    &[("cx", "6"), ("cy", "6"), ("r", "6"), ("fill", &fill)],
                );
            });
            markup.text(&format!("{} ", owner.nickname));
            markup.leaf("code", &[], owner.name);
        });
        let free = owner.free.map_or_else(|| "?".to_owned(), number_of);
        for text in [
            number_of(owner.size),
            percent(owner.size, ipam.range_num_ips),
            free,
            owner.ranges.to_string(),
        ] {
            markup.leaf("td", &[("class", "number")], &text);
        }
        let (class, text) = if owner.is_known {
            ("", "yes")
        } else {
            ("bad-word", "no: unreachable")
        };
        markup.leaf("td", &[("class", class)], text);
    });
}

/// Radii of the arcs.
const INNER: f64 = 118.0;
const OUTER: f64 = 185.0;
/// Arcs that are drawn.
const ARCS: usize = 2_000;
