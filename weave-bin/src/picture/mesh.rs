//! The mesh as a picture: peers on a circle, this one at the top, connections as chords.
//!
//! Colour and dashes say the same, so neither is needed alone. A healthy full mesh of many peers is
//! a grey disc that tells nothing: beyond [`CHORDS`] healthy chords between others are left out and
//! counted, those with trouble never before them.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use super::markup::Markup;
use super::shorten;
use crate::status::links::{Health, Link};
use crate::status::model::{Peer, Router};

/// Draws the mesh of `router`, whose own connections are `links`.
pub(super) fn draw(markup: &mut Markup, router: &Router, links: &[Link<'_>]) {
    let circle = Circle::new(peers(router));
    let (chords, hidden) = chords(router, &circle.places);
    let side = text_of(circle.side());
    let view = format!("0 0 {side} {side}");
    let count = circle.peers.len();
    let class = if count > MANY { "wide" } else { "" };
    let attributes = [
        ("role", "img"),
        ("aria-labelledby", "mesh-title mesh-about"),
        ("viewBox", &view),
        ("width", &side),
        ("height", &side),
        ("class", class),
    ];
    markup.element("div", &[("class", "scroll")], |markup| {
        markup.element("svg", &attributes, |markup| {
            markup.leaf(
                "title",
                &[("id", "mesh-title")],
                "Peers and their connections",
            );
            let about = about(router, links);
            markup.leaf("desc", &[("id", "mesh-about")], &about);
            for chord in &chords {
                chord.draw(markup, &circle);
            }
            // What does not work lies on top.
            let mut sorted: Vec<&Link<'_>> = links.iter().collect();
            sorted.sort_by_key(|link| link.health());
            for link in sorted {
                draw_link(markup, &circle, router, link);
            }
            for (number, peer) in circle.peers.iter().enumerate() {
                let is_us = peer.name == router.name;
                let class = if is_us {
                    "us"
                } else {
                    health_of(links, &peer.name)
                };
                circle.draw_peer(markup, number, peer, class);
            }
        });
    });
    legend(markup);
    if hidden > 0 {
        let text = format!("{hidden} healthy connections between other peers are not drawn.");
        markup.leaf("p", &[("class", "legend")], &text);
    }
}

/// What the picture shows, for who does not see it.
fn about(router: &Router, links: &[Link<'_>]) -> String {
    let count = |health| links.iter().filter(|link| link.health() == health).count();
    format!(
        "{} peers. From this one, {} connections in the kernel (fastdp), {} slower ones, {} that do \
         not work. The table of peers says the same in words.",
        router.peers.len(),
        count(Health::Good),
        count(Health::Slow),
        count(Health::Bad),
    )
}

/// This peer first, the others by nickname; numbers in nicknames count as numbers.
fn peers(router: &Router) -> Vec<&Peer> {
    let mut peers: Vec<&Peer> = router.peers.iter().collect();
    peers.sort_by_cached_key(|peer| {
        (
            peer.name != router.name,
            super::natural(&peer.nick_name),
            &peer.name,
        )
    });
    peers
}

/// Where peers are.
struct Circle<'r> {
    peers: Vec<&'r Peer>,
    places: BTreeMap<&'r str, usize>,
    radius: f64,
    /// For labels, in pixels.
    margin: f64,
}

impl<'r> Circle<'r> {
    fn new(peers: Vec<&'r Peer>) -> Self {
        let named = peers.iter().enumerate();
        let places = named
            .map(|(number, peer)| (peer.name.as_str(), number))
            .collect();
        let around = number(peers.len()) * SPACE;
        // Whoever is alone needs no room for others.
        let least = if peers.len() > 1 { LEAST_RADIUS } else { 0.0 };
        let widest = peers.iter().map(|peer| label(peer).chars().count()).max();
        Self {
            radius: (around / TAU).max(least),
            margin: MARGIN + number(widest.unwrap_or(0)) * WIDTH,
            peers,
            places,
        }
    }

    fn side(&self) -> f64 {
        2.0 * (self.radius + self.margin)
    }

    fn angle(&self, place: usize) -> f64 {
        TAU * (number(place) / number(self.peers.len().max(1)) - 0.25)
    }

    /// A point at `radius` in the direction of `place`.
    fn point(&self, place: usize, radius: f64) -> (f64, f64) {
        let (sin, cos) = self.angle(place).sin_cos();
        let middle = self.side() / 2.0;
        (middle + radius * cos, middle + radius * sin)
    }

    fn draw_peer(&self, markup: &mut Markup, place: usize, peer: &Peer, class: &str) {
        let (x, y) = self.point(place, self.radius);
        let size = if self.peers.len() > MANY { "4" } else { "7" };
        let class = format!("node {class}");
        let at = [
            ("cx", &*text_of(x)),
            ("cy", &*text_of(y)),
            ("r", size),
            ("class", &class),
        ];
        markup.element("circle", &at, |markup| {
            markup.leaf("title", &[], &format!("{} ({})", peer.nick_name, peer.name));
        });
        let shown = label(peer);
        let (sin, cos) = self.angle(place).sin_cos();
        let (x, y) = self.point(place, self.radius + 13.0);
        let is_many = self.peers.len() > FEW;
        let anchor = match () {
            () if !is_many && cos.abs() < 0.2 => "middle",
            () if cos >= -1e-9 => "start",
            () => "end",
        };
        // Few labels lie flat; many stand out from the circle like rays.
        let y = y + if is_many { 4.0 } else { 4.0 + 5.0 * sin };
        let degrees = self.angle(place).to_degrees() + if cos >= -1e-9 { 0.0 } else { 180.0 };
        let (x, y) = (text_of(x), text_of(y));
        let turn = format!(
            "rotate({} {x} {})",
            text_of(degrees),
            text_of(self.point(place, self.radius + 13.0).1)
        );
        let mut attributes = vec![("x", &*x), ("y", &*y), ("text-anchor", anchor)];
        if is_many {
            attributes.push(("transform", &*turn));
        }
        markup.leaf("text", &attributes, &shown);
    }
}

/// What a peer is called in the picture.
fn label(peer: &Peer) -> String {
    let shown = if peer.nick_name.is_empty() {
        &peer.name
    } else {
        &peer.nick_name
    };
    shorten(shown, LABEL)
}

/// A connection between two other peers.
struct Chord {
    ends: (usize, usize),
    is_healthy: bool,
    about: String,
}

impl Chord {
    fn draw(&self, markup: &mut Markup, circle: &Circle<'_>) {
        let class = if self.is_healthy {
            "edge"
        } else {
            "edge doubt"
        };
        draw_edge(markup, circle, self.ends, class, &self.about);
    }
}

/// The connections between others, those with trouble last so that they lie on top; and how many
/// healthy ones are left out.
fn chords(router: &Router, places: &BTreeMap<&str, usize>) -> (Vec<Chord>, usize) {
    // By both ends in order: what the first says of it, what the second says.
    let mut said: BTreeMap<(usize, usize), [Option<bool>; 2]> = BTreeMap::new();
    for peer in router.peers.iter().filter(|peer| peer.name != router.name) {
        let Some(&from) = places.get(peer.name.as_str()) else {
            continue;
        };
        for connection in &peer.connections {
            let to = places.get(connection.name.as_str());
            let Some(&to) = to.filter(|_| connection.name != router.name) else {
                continue;
            };
            let both = said.entry((from.min(to), from.max(to))).or_default();
            both[usize::from(from > to)] = Some(connection.established);
        }
    }
    let chord = |(ends, both): (&(usize, usize), &[Option<bool>; 2])| {
        let about = match both {
            [Some(true), Some(true)] => "established",
            [None, _] | [_, None] => "only one end knows it",
            _ => "not established",
        };
        Chord {
            ends: *ends,
            is_healthy: *both == [Some(true); 2],
            about: about.to_owned(),
        }
    };
    let (healthy, mut troubled): (Vec<Chord>, Vec<Chord>) =
        said.iter().map(chord).partition(|chord| chord.is_healthy);
    troubled.truncate(CHORDS);
    if healthy.len() > CHORDS {
        return (troubled, healthy.len());
    }
    let mut all = healthy;
    all.append(&mut troubled);
    (all, 0)
}

fn draw_link(markup: &mut Markup, circle: &Circle<'_>, router: &Router, link: &Link<'_>) {
    let place = |name: &str| circle.places.get(name).copied();
    let ends = place(&router.name).zip(link.peer.and_then(place));
    // A target that never said its name has no place.
    let Some(ends) = ends else { return };
    let class = format!("edge {}", class_of(link.health()));
    let overlay = link.overlay.unwrap_or("no overlay yet");
    let about = format!(
        "{}: {}, {overlay}",
        link.connection.address, link.connection.state
    );
    draw_edge(markup, circle, ends, &class, &about);
}

fn draw_edge(
    markup: &mut Markup,
    circle: &Circle<'_>,
    (from, to): (usize, usize),
    class: &str,
    about: &str,
) {
    let ((x1, y1), (x2, y2)) = (
        circle.point(from, circle.radius),
        circle.point(to, circle.radius),
    );
    let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(text_of);
    let at = [
        ("x1", &*x1),
        ("y1", &*y1),
        ("x2", &*x2),
        ("y2", &*y2),
        ("class", class),
    ];
    let name = |place: usize| {
        circle
            .peers
            .get(place)
            .map_or("", |peer| peer.nick_name.as_str())
    };
    markup.element("line", &at, |markup| {
        let text = format!("{} \u{2013} {}: {about}", name(from), name(to));
        markup.leaf("title", &[], &text);
    });
}

fn health_of(links: &[Link<'_>], peer: &str) -> &'static str {
    let own = links.iter().filter(|link| link.peer == Some(peer));
    own.map(Link::health).min().map_or("", class_of)
}

/// The class of the style sheet.
pub(super) fn class_of(health: Health) -> &'static str {
    match health {
        Health::Good => "good",
        Health::Slow => "slow",
        Health::Bad => "bad",
    }
}

fn legend(markup: &mut Markup) {
    markup.element("ul", &[("class", "legend")], |markup| {
        for (class, text) in [
            ("good", "from here, in the kernel (fastdp)"),
            ("slow", "from here, slower (sleeve)"),
            ("bad", "from here, not working"),
            ("other", "between other peers"),
            ("doubt", "between others, not established or one-sided"),
        ] {
            markup.element("li", &[], |markup| {
                let size = [("width", "34"), ("height", "8"), ("aria-hidden", "true")];
                markup.element("svg", &size, |markup| {
                    let class = format!("key {class}");
                    let at = [
                        ("x1", "0"),
                        ("y1", "4"),
                        ("x2", "34"),
                        ("y2", "4"),
                        ("class", &*class),
                    ];
                    markup.empty("line", &at);
                });
                markup.text(text);
            });
        }
    });
}

/// A coordinate with one digit behind the point.
pub(super) fn text_of(value: f64) -> String {
    let text = format!("{value:.1}");
    // Which of the two a rounded zero is depends on noise.
    if text == "-0.0" {
        "0.0".to_owned()
    } else {
        text
    }
}

/// A count as a coordinate.
fn number(count: usize) -> f64 {
    u32::try_from(count).map_or_else(|_| f64::from(u32::MAX), f64::from)
}

/// Healthy chords that are drawn at most; as many troubled ones.
const CHORDS: usize = 300;
/// More peers than this have labels like rays.
const FEW: usize = 16;
/// More peers than this are small, and the picture may be wider than the page.
const MANY: usize = 60;
/// Characters of a label.
const LABEL: usize = 20;
/// Along the circle for each peer, in pixels: a line of text.
const SPACE: f64 = 14.5;
/// Of a circle with few peers.
const LEAST_RADIUS: f64 = 150.0;
/// Around the circle, for nodes and the gap to their labels.
const MARGIN: f64 = 26.0;
/// Of a character of a label, for most of them.
const WIDTH: f64 = 7.2;
