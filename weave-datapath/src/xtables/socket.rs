//! Reading and replacing tables: two questions, two commands, and the lock.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{SockFlag, SockProtocol, SockType, socket};

use super::blob::{self, Blob, HOOKS};
use super::{Counters, Error, Protocol, Table, sys};

/// The lock that every program takes which changes legacy tables.
pub const LOCK: &str = "/run/xtables.lock";

/// The tables for one kind of packets in one network namespace.
#[derive(Debug)]
pub struct Tables {
    protocol: Protocol,
    socket: OwnedFd,
}

/// What tells cheaply that a table has changed; counters do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    hook_entry: [u32; HOOKS],
    underflow: [u32; HOOKS],
    entries: u32,
    size: u32,
}

/// The tables for `protocol` that are in use in the network namespace of the calling thread.
#[must_use]
pub fn names(protocol: Protocol) -> Vec<String> {
    let file = format!("/proc/thread-self/net/{}", protocol.names());
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

impl Tables {
    /// Those for `protocol` in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Absent`] on a system of other than 64 bits, or without `protocol`; [`Error::Refused`] without
    /// `CAP_NET_RAW`.
    pub fn open(protocol: Protocol) -> Result<Self, Error> {
        if size_of::<usize>() != 8 {
            return Err(Error::Absent);
        }
        let (family, kind) = (protocol.socket(), SockType::Raw);
        let opened = socket(family, kind, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw);
        match opened {
            Ok(socket) => Ok(Self { protocol, socket }),
            Err(nix::Error::EAFNOSUPPORT) => Err(Error::Absent),
            Err(errno) => Err(refused("open", "", errno.into())),
        }
    }

    /// What tells whether `table` has changed. A table that is not in [`names`] is made by this.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Refused`].
    pub fn fingerprint(&self, table: &str) -> Result<Fingerprint, Error> {
        Ok(self.info(table)?.1)
    }

    /// The table. One that is not in [`names`] is made by this.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Refused`], [`Error::Malformed`].
    pub fn read(&self, table: &str) -> Result<Table, Error> {
        let (valid_hooks, info) = self.info(table)?;
        let (socket, level) = (self.socket.as_fd(), self.protocol.level());
        let mut buffer = vec![0; ENTRIES_AT];
        name_into(&mut buffer, table);
        buffer[NAME_LEN..NAME_LEN + 4].copy_from_slice(&info.size.to_ne_bytes());
        buffer.resize(ENTRIES_AT + usize::try_from(info.size).unwrap_or(0), 0);
        sys::get(socket, level, GET_ENTRIES, &mut buffer)
            .map_err(|source| refused("read", table, source))?;
        let blob = Blob {
            valid_hooks,
            hook_entry: info.hook_entry,
            underflow: info.underflow,
            entries: buffer.split_off(ENTRIES_AT),
            counters: Vec::new(),
        };
        blob::parse(table, self.protocol, &blob)
    }

    /// Reads `table`, lets `edit` change it and writes it back if that says `true`, all under the
    /// lock. Counters go on where they were. Returns what `edit` said.
    ///
    /// May wait for seconds for the lock; not for a thread that must not block.
    ///
    /// # Errors
    /// All of [`Error`].
    pub fn edit(&self, table: &str, edit: impl FnOnce(&mut Table) -> bool) -> Result<bool, Error> {
        let _lock = lock()?;
        let before = self.info(table)?.1;
        let mut value = self.read(table)?;
        let changed = edit(&mut value);
        if changed {
            self.replace(&value, before.entries)?;
        }
        Ok(changed)
    }

    fn info(&self, table: &str) -> Result<(u32, Fingerprint), Error> {
        let mut buffer = [0; INFO_LEN];
        name_into(&mut buffer, table);
        let (socket, level) = (self.socket.as_fd(), self.protocol.level());
        sys::get(socket, level, GET_INFO, &mut buffer).map_err(|source| {
            match source.raw_os_error() {
                Some(nix::libc::ENOPROTOOPT | nix::libc::ENOENT) => Error::Absent,
                _ => refused("read", table, source),
            }
        })?;
        let mut words = buffer[NAME_LEN..].chunks_exact(4).map(|word| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(word);
            u32::from_ne_bytes(bytes)
        });
        let mut next = || words.next().unwrap_or_default();
        let valid_hooks = next();
        let info = Fingerprint {
            hook_entry: std::array::from_fn(|_| next()),
            underflow: std::array::from_fn(|_| next()),
            entries: next(),
            size: next(),
        };
        Ok((valid_hooks, info))
    }

    fn replace(&self, table: &Table, old_entries: u32) -> Result<(), Error> {
        let failed = |source| refused("replace", &table.name, source);
        let blob = blob::emit(table)?;
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let mut request = vec![0; NAME_LEN];
        name_into(&mut request, &table.name);
        let numbers = [
            blob.valid_hooks,
            count(blob.counters.len()),
            count(blob.entries.len()),
        ];
        let offsets = blob.hook_entry.iter().chain(&blob.underflow);
        for number in numbers.iter().chain(offsets).chain([&old_entries]) {
            request.extend(number.to_ne_bytes());
        }
        let pointer = request.len();
        request.resize(pointer + size_of::<usize>(), 0);
        request.extend(&blob.entries);
        // The kernel hands out the old counters here, one for each old entry.
        let mut old = vec![0; usize::try_from(old_entries).unwrap_or(0) * COUNTER_LEN];
        let (socket, level) = (self.socket.as_fd(), self.protocol.level());
        sys::set_with_answer(socket, level, SET_REPLACE, &mut request, pointer, &mut old)
            .map_err(failed)?;

        let mut counters = vec![0; NAME_LEN];
        name_into(&mut counters, &table.name);
        counters.extend(count(blob.counters.len()).to_ne_bytes());
        counters.resize(ENTRIES_AT, 0);
        for Counters { packets, bytes } in &blob.counters {
            counters.extend(packets.to_ne_bytes());
            counters.extend(bytes.to_ne_bytes());
        }
        sys::set(socket, level, ADD_COUNTERS, &counters).map_err(failed)
    }
}

/// Takes the lock, which ends with the value.
fn lock() -> Result<Flock<File>, Error> {
    let mut options = OpenOptions::new();
    options.read(true).create(true).write(true).truncate(false);
    let mut file = options.mode(0o600).open(LOCK).map_err(Error::Lock)?;
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => return Ok(held),
            Err((back, nix::Error::EWOULDBLOCK | nix::Error::EINTR)) => file = back,
            Err((_, errno)) => return Err(Error::Lock(errno.into())),
        }
        if Instant::now() > deadline {
            return Err(Error::Locked);
        }
        thread::sleep(LOCK_PAUSE);
    }
}

fn name_into(buffer: &mut [u8], name: &str) {
    for (place, byte) in buffer.iter_mut().take(NAME_LEN - 1).zip(name.bytes()) {
        *place = byte;
    }
}

fn refused(operation: &'static str, table: &str, source: io::Error) -> Error {
    Error::Refused {
        operation,
        table: table.to_owned(),
        source,
    }
}

/// `IPT_SO_GET_INFO`, `IPT_SO_GET_ENTRIES`, `IPT_SO_SET_REPLACE`, `IPT_SO_SET_ADD_COUNTERS`; those
/// of IPv6 have the same numbers, as have the structures below the same sizes.
const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
const SET_REPLACE: i32 = 64;
const ADD_COUNTERS: i32 = 65;
/// `XT_TABLE_MAXNAMELEN`.
const NAME_LEN: usize = 32;
/// `sizeof(struct ipt_getinfo)`.
const INFO_LEN: usize = 84;
/// Offset of entries in `struct ipt_get_entries`, and of counters in `struct xt_counters_info`.
const ENTRIES_AT: usize = 40;
const COUNTER_LEN: usize = 16;
const LOCK_LIMIT: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
