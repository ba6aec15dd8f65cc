//! Truth tables: who reaches whom, for one port and one family of addresses.
//!
//! Invariant: a cell is empty exactly where one of the two ends has no address of the family.

use std::fmt;
use std::net::IpAddr;

use super::{Decision, Flow, Options, decide_with};
use crate::model::{Pod, Transport, World};

/// One of the two families of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpFamily {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of `address`.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

impl fmt::Display for IpFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// An end of flows: a name, and the addresses behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct End {
    /// `namespace/name` of a pod, or the address itself.
    pub name: String,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
}

impl End {
    /// The end that is `pod`, with the addresses it owns.
    pub fn of_pod(world: &World, pod: &Pod) -> Self {
        Self {
            name: pod.name.to_string(),
            addresses: world.owned_addresses(pod).collect(),
        }
    }

    /// The end that is `address`.
    pub fn of_address(address: IpAddr) -> Self {
        Self {
            name: address.to_string(),
            addresses: vec![address],
        }
    }

    /// All endpoints of `world` in order of namespace and name.
    pub fn all(world: &World) -> Vec<Self> {
        let mut pods: Vec<&Pod> = world.pods().filter(|pod| pod.is_endpoint()).collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        pods.into_iter()
            .map(|pod| Self::of_pod(world, pod))
            .collect()
    }

    /// Its first address of `family`.
    pub fn address(&self, family: IpFamily) -> Option<IpAddr> {
        let mut addresses = self.addresses.iter().copied();
        addresses.find(|&address| IpFamily::of(address) == family)
    }
}

/// The decisions between some ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Table {
    /// The names of the ends, in order of rows and of columns.
    pub names: Vec<String>,
    /// The port.
    pub transport: Transport,
    /// The family.
    pub family: IpFamily,
    /// Per source, per destination.
    pub cells: Vec<Vec<Option<Decision>>>,
}

impl Table {
    /// Decides all flows between `ends`.
    pub fn of(
        world: &World,
        ends: &[End],
        transport: Transport,
        family: IpFamily,
        options: Options,
    ) -> Self {
        let cell = |source: &End, destination: &End| {
            let (source, destination) = (source.address(family)?, destination.address(family)?);
            let flow = Flow::new(source, destination, transport);
            Some(decide_with(world, &flow, options))
        };
        let row = |source: &End| ends.iter().map(|end| cell(source, end)).collect();
        Self {
            names: ends.iter().map(|end| end.name.clone()).collect(),
            transport,
            family,
            cells: ends.iter().map(row).collect(),
        }
    }

    /// True if no flow is possible in the family.
    pub fn is_empty(&self) -> bool {
        self.cells.iter().flatten().all(Option::is_none)
    }

    /// One character per cell, a line per source: `.` allowed, `X` denied, `-` not possible.
    pub fn picture(&self) -> String {
        let cell = |cell: &Option<Decision>| match cell {
            None => '-',
            Some(decision) if decision.allowed => '.',
            Some(_) => 'X',
        };
        let lines = self.cells.iter().map(|row| {
            let mut line: String = row.iter().map(cell).collect();
            line.push('\n');
            line
        });
        lines.collect()
    }
}

impl fmt::Display for Table {
    /// A grid with the names of the sources; columns are in the same order, by number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.names.iter().map(String::len).max().unwrap_or(0);
        let digits = self.names.len().to_string().len();
        write!(
            f,
            "{} {}\n{:width$}  ",
            self.transport,
            self.family,
            "",
            width = width + digits + 1
        )?;
        for column in 1..=self.names.len() {
            write!(f, " {column:digits$}")?;
        }
        writeln!(f)?;
        for (index, (name, row)) in self.names.iter().zip(self.picture().lines()).enumerate() {
            write!(f, "{:digits$} {name:width$}  ", index + 1)?;
            for cell in row.chars() {
                write!(f, " {cell:>digits$}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
