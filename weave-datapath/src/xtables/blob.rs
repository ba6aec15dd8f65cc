//! A table between its two forms: the value and the bytes the kernel reads and writes.
//!
//! ```text
//! entry   header  nfcache u32  target_offset u16  next_offset u16  comefrom u32
//!         packets u64  bytes u64  matches …  target
//! match, target   0 size u16  2 name[29]  31 revision u8  32 data
//! ```
//! The header is `struct ipt_ip` or `struct ip6t_ip6`, and where the rest is follows from its size.
//! Chains are not in the bytes: a built-in one begins where the hook says and ends with its policy,
//! another begins behind an entry whose target is `ERROR` and ends with a return.

use std::collections::BTreeMap;

use super::layout::{Layout, Protocol};
use super::rule::{Extension, Header, Rule, Target};
use super::{Chain, Counters, Error, Policy, Table};

/// The bytes of a table and what else the kernel wants to know of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) valid_hooks: u32,
    pub(super) hook_entry: [u32; HOOKS],
    pub(super) underflow: [u32; HOOKS],
    pub(super) entries: Vec<u8>,
    /// One for each entry.
    pub(super) counters: Vec<Counters>,
}

// ===== reading =====

/// # Errors
/// [`Error::Malformed`].
pub(super) fn parse(name: &str, protocol: Protocol, blob: &Blob) -> Result<Table, Error> {
    let malformed = |offset, what| Error::Malformed {
        table: name.to_owned(),
        offset,
        what,
    };
    let entries =
        cut(protocol.layout(), &blob.entries).map_err(|(offset, what)| malformed(offset, what))?;
    // Jumps lead to the first rule of a chain, which is behind its head.
    let mut firsts = BTreeMap::new();
    for entry in &entries {
        if let Some(head) = entry.head() {
            firsts.insert(entry.offset + entry.bytes.len(), head);
        }
    }
    let mut table = Table {
        name: name.to_owned(),
        protocol,
        chains: Vec::new(),
        valid_hooks: blob.valid_hooks,
    };
    // The hook whose policy has not come yet.
    let mut open_hook = None;
    for (index, entry) in entries.iter().enumerate() {
        if let Some(head) = entry.head() {
            table.end_chain();
            let is_last = index + 1 == entries.len();
            if !is_last {
                table.chains.push(Chain {
                    name: head,
                    policy: None,
                    rules: Vec::new(),
                });
            }
            continue;
        }
        if let Some(hook) = hook_at(blob, &blob.hook_entry, entry.offset) {
            table.chains.push(Chain {
                name: HOOK_NAMES[hook].to_owned(),
                policy: None,
                rules: Vec::new(),
            });
            open_hook = Some(hook);
        }
        let rule = entry
            .rule(protocol, &firsts)
            .ok_or_else(|| malformed(entry.offset, "a rule"))?;
        let chain = table.chains.last_mut();
        let chain = chain.ok_or_else(|| malformed(entry.offset, "a rule outside all chains"))?;
        let is_policy = open_hook.is_some_and(|hook| {
            usize::try_from(blob.underflow[hook]).is_ok_and(|at| at == entry.offset)
        });
        match open_hook.filter(|_| is_policy) {
            Some(hook) => {
                let verdict = rule.target.verdict();
                let verdict = verdict.ok_or_else(|| malformed(entry.offset, "a policy"))?;
                chain.policy = Some(Policy {
                    drops: rule.target == Target::Drop,
                    counters: rule.counters,
                    verdict,
                    hook,
                });
                open_hook = None;
            }
            None => chain.rules.push(rule),
        }
    }
    Ok(table)
}

impl Table {
    /// The last rule of a chain that is not built in is the return the kernel wants to see.
    fn end_chain(&mut self) {
        if let Some(chain) = self.chains.last_mut().filter(|one| one.policy.is_none()) {
            chain.rules.pop();
        }
    }
}

fn hook_at(blob: &Blob, offsets: &[u32; HOOKS], offset: usize) -> Option<usize> {
    (0..HOOKS).find(|hook| {
        let is_valid = blob.valid_hooks & (1 << hook) != 0;
        is_valid && usize::try_from(offsets[*hook]).is_ok_and(|at| at == offset)
    })
}

struct Entry<'a> {
    offset: usize,
    bytes: &'a [u8],
    target: usize,
}

type Cut<'a> = Result<Vec<Entry<'a>>, (usize, &'static str)>;

fn cut<'a>(layout: &Layout, bytes: &'a [u8]) -> Cut<'a> {
    let mut entries = Vec::new();
    let mut offset = 0;
    while offset < bytes.len() {
        let rest = &bytes[offset..];
        let target = half(rest, layout.target_offset).ok_or((offset, "an entry is cut off"))?;
        let next = half(rest, layout.next_offset).ok_or((offset, "an entry is cut off"))?;
        let in_order = target >= layout.entry && next >= target + HEAD_LEN && next <= rest.len();
        if !in_order {
            return Err((offset, "offsets that lead nowhere"));
        }
        entries.push(Entry {
            offset,
            bytes: &rest[..next],
            target,
        });
        offset += next;
    }
    Ok(entries)
}

impl Entry<'_> {
    /// The chain that begins behind this entry.
    fn head(&self) -> Option<String> {
        let target = extension(&self.bytes[self.target..])?.0;
        (target.name == ERROR).then(|| text(&target.data))
    }

    fn rule(&self, protocol: Protocol, firsts: &BTreeMap<usize, String>) -> Option<Rule> {
        let layout = protocol.layout();
        let mut matches = Vec::new();
        let mut rest = &self.bytes[layout.entry..self.target];
        while !rest.is_empty() {
            let (found, length) = extension(rest)?;
            matches.push(found);
            rest = &rest[length..];
        }
        let (target, _) = extension(&self.bytes[self.target..])?;
        let target = if target.name.is_empty() {
            let verdict = i32::from_ne_bytes(target.data.get(..4)?.try_into().ok()?);
            self.standard(verdict, firsts)?
        } else {
            Target::Extension(target)
        };
        Some(Rule {
            header: Header {
                protocol,
                bytes: self.bytes[..layout.header].into(),
            },
            matches,
            target,
            counters: Counters {
                packets: long(self.bytes, layout.counters)?,
                bytes: long(self.bytes, layout.counters + 8)?,
            },
        })
    }

    fn standard(&self, verdict: i32, firsts: &BTreeMap<usize, String>) -> Option<Target> {
        Some(match usize::try_from(verdict) {
            Ok(offset) if offset == self.offset + self.bytes.len() => Target::Next,
            Ok(offset) => Target::Jump(firsts.get(&offset)?.clone()),
            Err(_) => match verdict {
                ACCEPT => Target::Accept,
                DROP => Target::Drop,
                RETURN => Target::Return,
                other => Target::Verdict(other),
            },
        })
    }
}

/// A match or target, and how long it is.
fn extension(bytes: &[u8]) -> Option<(Extension, usize)> {
    let length = half(bytes, 0)?;
    if length < HEAD_LEN || length > bytes.len() {
        return None;
    }
    let found = Extension {
        name: text(bytes.get(2..31)?),
        revision: *bytes.get(31)?,
        data: bytes[HEAD_LEN..length].to_vec(),
    };
    Some((found, length))
}

fn text(bytes: &[u8]) -> String {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?).into())
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}

// ===== writing =====

impl Target {
    fn verdict(&self) -> Option<i32> {
        Some(match self {
            Self::Accept => ACCEPT,
            Self::Drop => DROP,
            Self::Return => RETURN,
            Self::Verdict(other) => *other,
            Self::Jump(_) | Self::Next | Self::Extension(_) => return None,
        })
    }

    fn len(&self) -> usize {
        match self {
            Self::Extension(one) => one.len(),
            _ => STANDARD_LEN,
        }
    }
}

impl Extension {
    fn len(&self) -> usize {
        HEAD_LEN + self.data.len().next_multiple_of(ALIGN)
    }

    fn emit(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        // The kernel bounds entries by 64 KiB, and so does what it gave.
        let length = u16::try_from(self.len()).unwrap_or(u16::MAX);
        out.extend(length.to_ne_bytes());
        out.extend(self.name.bytes().take(28));
        out.resize(begin + 31, 0);
        out.push(self.revision);
        out.extend(&self.data);
        out.resize(begin + self.len(), 0);
    }
}

impl Rule {
    fn len(&self) -> usize {
        let layout = self.header.protocol.layout();
        layout.entry + self.matches.iter().map(Extension::len).sum::<usize>() + self.target.len()
    }
}

/// # Errors
/// [`Error::NoChain`].
pub(super) fn emit(table: &Table) -> Result<Blob, Error> {
    let firsts = first_offsets(table);
    let protocol = table.protocol;
    let mut blob = Blob {
        valid_hooks: table.valid_hooks,
        ..Blob::default()
    };
    for chain in &table.chains {
        match &chain.policy {
            Some(policy) => blob.hook_entry[policy.hook] = blob.offset(),
            None => blob.push(&head(protocol, &chain.name), 0, Counters::default()),
        }
        for rule in &chain.rules {
            let end = blob.entries.len() + rule.len();
            let verdict = match &rule.target {
                Target::Jump(to) => {
                    let first = firsts.get(to.as_str()).ok_or_else(|| Error::NoChain {
                        table: table.name.clone(),
                        chain: to.clone(),
                    })?;
                    offset(*first)
                }
                Target::Next => offset(end),
                other => other.verdict().unwrap_or_default(),
            };
            blob.push(rule, verdict, rule.counters);
        }
        let (verdict, counters) = match &chain.policy {
            Some(policy) => {
                blob.underflow[policy.hook] = blob.offset();
                (policy.verdict, policy.counters)
            }
            None => (RETURN, Counters::default()),
        };
        blob.push(
            &plain(protocol, Target::Verdict(verdict)),
            verdict,
            counters,
        );
    }
    blob.push(&head(protocol, ERROR), 0, Counters::default());
    Ok(blob)
}

/// Where the first rule of each chain that is not built in will be.
fn first_offsets(table: &Table) -> BTreeMap<&str, usize> {
    let mut firsts = BTreeMap::new();
    let mut at = 0;
    for chain in &table.chains {
        if chain.policy.is_none() {
            at += head(table.protocol, &chain.name).len();
            firsts.insert(chain.name.as_str(), at);
        }
        at += chain.rules.iter().map(Rule::len).sum::<usize>();
        at += table.protocol.layout().entry + STANDARD_LEN;
    }
    firsts
}

impl Blob {
    fn offset(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    fn push(&mut self, rule: &Rule, verdict: i32, counters: Counters) {
        let begin = self.entries.len();
        let half = |length: usize| u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes();
        let out = &mut self.entries;
        out.extend(&rule.header.bytes);
        out.extend([0; 4]);
        out.extend(half(rule.len() - rule.target.len()));
        out.extend(half(rule.len()));
        out.resize(begin + rule.header.protocol.layout().entry, 0);
        for one in &rule.matches {
            one.emit(out);
        }
        match &rule.target {
            Target::Extension(one) => one.emit(out),
            _ => Extension {
                name: String::new(),
                revision: 0,
                data: verdict.to_ne_bytes().to_vec(),
            }
            .emit(out),
        }
        self.counters.push(counters);
    }
}

fn offset(at: usize) -> i32 {
    i32::try_from(at).unwrap_or(i32::MAX)
}

fn plain(protocol: Protocol, target: Target) -> Rule {
    Rule {
        header: Header::any(protocol),
        matches: Vec::new(),
        target,
        counters: Counters::default(),
    }
}

fn head(protocol: Protocol, name: &str) -> Rule {
    let mut data: Vec<u8> = name.bytes().take(ERROR_NAME_LEN - 1).collect();
    data.resize(ERROR_NAME_LEN, 0);
    let target = Extension {
        name: ERROR.to_owned(),
        revision: 0,
        data,
    };
    plain(protocol, Target::Extension(target))
}

/// `NF_INET_NUMHOOKS`.
pub(super) const HOOKS: usize = 5;
const HOOK_NAMES: [&str; HOOKS] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];
const HEAD_LEN: usize = 32;
/// `sizeof(struct xt_standard_target)`, padded.
const STANDARD_LEN: usize = 40;
const ALIGN: usize = 8;
/// `XT_ERROR_TARGET` and `XT_FUNCTION_MAXNAMELEN`.
const ERROR: &str = "ERROR";
const ERROR_NAME_LEN: usize = 30;
/// `-NF_ACCEPT - 1`, `-NF_DROP - 1`, `XT_RETURN`.
const ACCEPT: i32 = -2;
const DROP: i32 = -1;
const RETURN: i32 = -5;
