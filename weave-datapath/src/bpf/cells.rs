//! Tables as cells of the kernel's array, and back.
//!
//! Law: `decode(encode(tables)) == tables` for tables whose trees have known origins and hops
//! (property test `tests/prop_fastdp.rs` for the tables, below for the cells).

use std::{collections::BTreeMap, net::Ipv4Addr};

use super::abi::{Cell, HOPS, OWN, TREE_SLEEVE, mode};
use crate::fastdp::{Entry, Hop, Path, PeerName, Route, ShortId, Tables, Vni};

/// The cells that are not zero, ascending by index, and the length of the array that holds them.
/// `device`: index of the VXLAN device for a UDP port. Nothing is sent to a port without one.
pub(super) fn encode(
    tables: &Tables,
    device: &impl Fn(u16) -> Option<u32>,
) -> (Vec<(u32, Cell)>, u32) {
    let mut cells = BTreeMap::new();
    for (id, entry) in &tables.peers {
        cells.insert(u32::from(*id), peer(tables.us, *id, entry, device));
    }
    if let Some(us) = tables.us {
        let own = Cell {
            vni: us.into(),
            mode: mode::SELF,
            ..Cell::default()
        };
        cells.insert(OWN, own);
    }
    let list_of = |origin: &ShortId| {
        if tables.us == Some(*origin) {
            OWN
        } else {
            u32::from(*origin)
        }
    };
    for origin in &tables.sleeve_trees {
        if let Some(list) = cells.get_mut(&list_of(origin)) {
            list.flags |= TREE_SLEEVE;
        }
    }
    let mut next = HOPS;
    for (origin, hops) in &tables.trees {
        let list = list_of(origin);
        let Some(list) = cells.get_mut(&list) else {
            continue;
        };
        let reached = |hop: &&Hop| Some((**hop, through(&hop.path, device)?));
        let hops: Vec<(Hop, Cell)> = hops.iter().filter_map(|hop| reached(&hop)).collect();
        let count = u16::try_from(hops.len()).unwrap_or(u16::MAX);
        (list.first, list.count) = (next, count);
        for (hop, cell) in hops.iter().take(count.into()) {
            let name = tables.peers.get(&hop.id).map_or(0, |entry| entry.name.0);
            let vni = Vni {
                origin: *origin,
                destination: hop.id,
            };
            let cell = Cell {
                name,
                vni: vni.into(),
                ..*cell
            };
            cells.insert(next, cell);
            next += 1;
        }
    }
    (cells.into_iter().collect(), next)
}

/// The tables that `cells` stand for; `cells[i]` is the cell of index `i`. Cells that make no sense
/// are left out. `port`: the UDP port of a VXLAN device, by its index.
pub(super) fn decode(cells: &[Cell], port: &impl Fn(u32) -> Option<u16>) -> Tables {
    let mut tables = Tables::default();
    let at = |index: u32| usize::try_from(index).ok().and_then(|at| cells.get(at));
    tables.us = at(OWN).filter(|own| own.mode == mode::SELF).map(|own| {
        // The own cell holds a bare short id: the low half of a VNI.
        Vni::from_low_bits(own.vni).origin
    });
    for (index, cell) in (0..ShortId::COUNT).zip(cells) {
        let Ok(id) = ShortId::try_from(index) else {
            continue;
        };
        let route = match cell.mode {
            mode::SELF => Route::Us,
            mode::FASTDP => path(cell, port).map_or(Route::Unreachable, Route::Fastdp),
            mode::SLEEVE => Route::Sleeve,
            mode::NO_ROUTE => Route::Unreachable,
            _ => continue,
        };
        let name = PeerName(cell.name);
        tables.peers.insert(id, Entry { name, route });
        let list = if tables.us == Some(id) {
            at(OWN)
        } else {
            Some(cell)
        };
        let hops: Vec<Hop> = list.map(|list| hops(list, &at, port)).unwrap_or_default();
        if !hops.is_empty() {
            tables.trees.insert(id, hops);
        }
        if list.is_some_and(|list| list.flags & TREE_SLEEVE != 0) {
            tables.sleeve_trees.insert(id);
        }
    }
    tables
}

fn hops<'a>(
    list: &Cell,
    at: &impl Fn(u32) -> Option<&'a Cell>,
    port: &impl Fn(u32) -> Option<u16>,
) -> Vec<Hop> {
    let indices = (0..list.count.into()).map_while(|hop| list.first.checked_add(hop));
    indices
        .map_while(at)
        .filter(|cell| cell.mode == mode::FASTDP)
        .filter_map(|cell| {
            Some(Hop {
                id: Vni::from_low_bits(cell.vni).destination,
                path: path(cell, port)?,
            })
        })
        .collect()
}

fn peer(
    us: Option<ShortId>,
    id: ShortId,
    entry: &Entry,
    device: &impl Fn(u16) -> Option<u32>,
) -> Cell {
    let reached = |route: &Path| {
        let vni = us.map(|origin| Vni {
            origin,
            destination: id,
        })?;
        Some(Cell {
            vni: vni.into(),
            ..through(route, device)?
        })
    };
    let bare = |mode| Cell {
        mode,
        ..Cell::default()
    };
    let cell = match &entry.route {
        Route::Us => bare(mode::SELF),
        Route::Fastdp(route) => reached(route).unwrap_or_else(|| bare(mode::NO_ROUTE)),
        Route::Sleeve if us.is_some() => bare(mode::SLEEVE),
        Route::Sleeve | Route::Unreachable => bare(mode::NO_ROUTE),
    };
    Cell {
        name: entry.name.0,
        ..cell
    }
}

fn through(path: &Path, device: &impl Fn(u16) -> Option<u32>) -> Option<Cell> {
    Some(Cell {
        remote: path.remote.into(),
        local: path.local.into(),
        device: device(path.port)?,
        mode: mode::FASTDP,
        ..Cell::default()
    })
}

fn path(cell: &Cell, port: &impl Fn(u32) -> Option<u16>) -> Option<Path> {
    Some(Path {
        remote: Ipv4Addr::from(cell.remote),
        local: Ipv4Addr::from(cell.local),
        port: port(cell.device)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: u16) -> ShortId {
        ShortId::try_from(id).unwrap()
    }

    fn path(host: u8) -> Path {
        Path {
            remote: Ipv4Addr::new(10, 0, 0, host),
            local: Ipv4Addr::new(10, 0, 0, 1),
            port: if host == 3 { 7784 } else { 6784 },
        }
    }

    fn device(port: u16) -> Option<u32> {
        [(6784, 7), (7784, 8)]
            .iter()
            .find(|one| one.0 == port)
            .map(|one| one.1)
    }

    fn port(device: u32) -> Option<u16> {
        [(6784, 7), (7784, 8)]
            .iter()
            .find(|one| one.1 == device)
            .map(|one| one.0)
    }

    fn tables() -> Tables {
        let entry = |name, route| Entry {
            name: PeerName(name),
            route,
        };
        let hop = |host: u8| Hop {
            id: id(host.into()),
            path: path(host),
        };
        Tables {
            us: Some(id(0)),
            peers: BTreeMap::from([
                (id(0), entry(1, Route::Us)),
                (id(2), entry(2, Route::Fastdp(path(2)))),
                (id(3), entry(3, Route::Fastdp(path(3)))),
                (id(9), entry(9, Route::Us)),
                (id(4094), entry(5, Route::Sleeve)),
                (id(4095), entry(4, Route::Unreachable)),
            ]),
            trees: BTreeMap::from([(id(0), vec![hop(2), hop(3)]), (id(2), vec![hop(3)])]),
            sleeve_trees: [id(0), id(3)].into_iter().collect(),
        }
    }

    fn dense(tables: &Tables) -> Vec<Cell> {
        let (cells, len) = encode(tables, &device);
        let mut dense = vec![Cell::default(); usize::try_from(len).unwrap()];
        for (index, cell) in cells {
            dense[usize::try_from(index).unwrap()] = cell;
        }
        dense
    }

    #[test]
    fn cells_stand_for_the_tables() {
        assert_eq!(decode(&dense(&tables()), &port), tables());
        assert_eq!(decode(&dense(&Tables::default()), &port), Tables::default());
        assert_eq!(decode(&[], &port), Tables::default());
    }

    #[test]
    fn a_cell_holds_the_ready_made_vni() {
        let cells = dense(&tables());

        assert_eq!(cells[2].vni, 2 << 12);
        assert_eq!(cells[2].remote, 0x0a00_0002);
        assert_eq!(cells[3].device, 8);
        assert_eq!((cells[2].device, cells[2].mode), (7, mode::FASTDP));
        let own = cells[4096];
        assert_eq!((own.first, own.count), (4097, 2));
        assert_eq!(cells[4098].vni, 3 << 12);
        assert_eq!((cells[2].first, cells[2].count), (4099, 1));
        assert_eq!(cells[4099].vni, 2 | 3 << 12, "the origin stays");
    }

    #[test]
    fn a_port_without_a_device_is_not_sent_to() {
        let only_ours = |port: u16| (port == 6784).then_some(7);
        let cells: BTreeMap<u32, Cell> = encode(&tables(), &only_ours).0.into_iter().collect();

        assert_eq!(cells[&3].mode, mode::NO_ROUTE);
        assert_eq!((cells[&4096].first, cells[&4096].count), (4097, 1));
        assert_eq!(cells[&2].count, 0, "its one hop has no device");
    }

    #[test]
    fn without_an_own_id_nothing_is_sent() {
        let tables = Tables {
            us: None,
            ..tables()
        };

        let cells = dense(&tables);

        assert_eq!(cells[2].mode, mode::NO_ROUTE);
        assert_eq!(cells[4096], Cell::default());
    }

    #[test]
    fn nonsense_in_the_kernel_is_left_out() {
        let mut cells = dense(&tables());
        cells[3].mode = 77;
        cells[2].first = u32::MAX;
        cells[4096].count = u16::MAX;

        let read = decode(&cells, &port);

        assert!(!read.peers.contains_key(&id(3)));
        assert!(!read.trees.contains_key(&id(2)));
        assert!(read.trees[&id(0)].len() >= 2);
    }
}
