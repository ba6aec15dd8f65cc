//! Processes of a lab: starting daemons, knowing whether one lives, ending it.
//!
//! A process is known by its id and the time it started, as the kernel counts it: an id that was
//! given to another process meanwhile is never signalled.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid, setsid};
use weave_datapath::netns::{Namespace, named_path};

use super::args::commands::Launch;
use super::error::Error;
use super::plan::CABLED;
use super::record::{Record, StateDir};

/// A process that may have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    id: i32,
    /// Clock ticks since boot, field 22 of `/proc/PID/stat` (`proc_pid_stat(5)`).
    started: u64,
}

impl Process {
    /// The process that has `id` at this moment, unless it has ended.
    pub(crate) fn of(id: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let (state, started) = parse_stat(&stat)?;
        (state != 'Z' && state != 'X').then_some(Self { id, started })
    }

    /// The process written down in `file`, if it still lives.
    pub(crate) fn written(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let (id, started) = text.trim().split_once(' ')?;
        let written = Self {
            id: id.parse().ok()?,
            started: started.parse().ok()?,
        };
        (Self::of(written.id)? == written).then_some(written)
    }

    /// Writes the process down.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(self, file: &Path) -> Result<(), Error> {
        fs::write(file, format!("{} {}\n", self.id, self.started)).map_err(Error::file(file))
    }

    /// Resident memory in KiB (`VmRSS`), while it lives.
    pub(crate) fn resident_kib(self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches("kB").trim().parse().ok()
    }

    /// Processor time used so far, by the program and by the kernel for it, while it lives.
    pub(crate) fn processor_time(self) -> Option<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id)).ok()?;
        let ticks = parse_ticks(&stat)?;
        Some(Duration::from_millis(ticks.checked_mul(TICK_MS)?))
    }

    /// Sends `signal`; nothing happens when the process has ended.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub(crate) fn signal(self, signal: Signal) -> io::Result<()> {
        if Self::of(self.id) == Some(self) {
            kill(Pid::from_raw(self.id), signal)?;
        }
        Ok(())
    }

    /// Sends SIGKILL and waits until the process is gone.
    ///
    /// # Errors
    /// When it cannot be signalled or does not go.
    pub(crate) fn kill(self) -> io::Result<()> {
        if Self::of(self.id) != Some(self) {
            return Ok(());
        }
        kill(Pid::from_raw(self.id), Signal::SIGKILL)?;
        let deadline = Instant::now() + KILL_LIMIT;
        while Self::of(self.id) == Some(self) {
            if Instant::now() > deadline {
                return Err(io::Error::other(format!(
                    "process {} does not end",
                    self.id
                )));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

/// Starts the daemon of host `number`, detached from the terminal. With `die_with_parent` it ends
/// when the calling thread's process does; call it on the main thread then.
///
/// # Errors
/// When the program cannot be started or its files cannot be written.
pub(crate) fn start_daemon(
    state: &StateDir,
    record: &Record,
    number: usize,
    die_with_parent: bool,
) -> Result<Child, Error> {
    let namespace = named_path(&record.plan.hosts[number - 1].namespace);
    let mut words = vec!["weaver".into()];
    words.extend(
        daemon_flags(state, record, number)
            .into_iter()
            .map(Into::into),
    );
    start(state, number, &namespace, die_with_parent, &words)
}

/// Starts this program with `words` in the network `namespace`, as the process of host `number`: its
/// output goes to the host's log, its id is written down.
///
/// # Errors
/// As [`start_daemon`].
pub(crate) fn start(
    state: &StateDir,
    number: usize,
    namespace: &Path,
    die_with_parent: bool,
    words: &[OsString],
) -> Result<Child, Error> {
    start_with(state, number, namespace, die_with_parent, words, &[])
}

/// The same with `variables` in its environment.
///
/// # Errors
/// As [`start_daemon`].
pub(crate) fn start_with(
    state: &StateDir,
    number: usize,
    namespace: &Path,
    die_with_parent: bool,
    words: &[OsString],
    variables: &[(&str, String)],
) -> Result<Child, Error> {
    let log = state.log(number);
    let opened = OpenOptions::new().create(true).append(true).open(&log);
    let output = opened.map_err(Error::file(&log))?;
    let copy = output.try_clone().map_err(Error::file(&log))?;
    let program = std::env::current_exe().map_err(Error::file("/proc/self/exe"))?;
    let mut command = Command::new(&program);
    command.args(["lab", "launch", "--netns"]).arg(namespace);
    if die_with_parent {
        command.arg("--die-with-parent");
    }
    command.arg("--").arg(&program).args(words);
    clean_environment(&mut command);
    let child = command
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(copy)
        .spawn()
        .map_err(Error::file(&program))?;
    let process = i32::try_from(child.id()).ok().and_then(Process::of);
    if let Some(process) = process {
        process.write(&state.pid(number))?;
    }
    Ok(child)
}

/// What the daemon of host `number` is told. The same at every start, so that a daemon started
/// again is the same peer.
pub(crate) fn daemon_flags(state: &StateDir, record: &Record, number: usize) -> Vec<String> {
    let host = state.host(number);
    let plan = &record.plan;
    let mut flags: Vec<String> = [
        ("--port", "6783".to_owned()),
        ("--http-addr", CONTROL_ADDRESS.to_owned()),
        ("--nickname", format!("host-{number}")),
        ("--ipalloc-range", plan.ranges()),
        ("--ipalloc-init", format!("consensus={}", plan.hosts.len())),
        ("--db-prefix", host.join("weave").display().to_string()),
        (
            "--bpf-dir",
            state
                .bpf()
                .join(format!("host-{number}"))
                .display()
                .to_string(),
        ),
        ("--host-root", host.join("root").display().to_string()),
        ("--log-level", record.log_level.clone()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect();
    if record.names {
        let servers = host.join("resolv.conf").display().to_string();
        flags.extend(["--resolv-conf".to_owned(), servers]);
    } else {
        flags.push("--no-dns".to_owned());
    }
    if let Some(mtu) = plan.mtu {
        flags.extend(["--mtu".to_owned(), mtu.to_string()]);
    }
    if record.mesh_only {
        flags.push("--no-overlay".to_owned());
    } else if !plan.has_fastdp(number) {
        flags.push("--no-fastdp".to_owned());
    }
    if let Some(protection) = record.protection {
        let file = state.passwords(number).display().to_string();
        flags.extend(["--password-file".to_owned(), file]);
        let trusted = match plan.conditions.trusted.as_deref() {
            Some(CABLED) => Some(plan.networks(number)),
            Some(given) => Some(given.to_owned()),
            None => protection.trusted.then(|| plan.networks(number)),
        };
        if let Some(networks) = trusted {
            flags.extend(["--trusted-subnets".to_owned(), networks]);
        }
    }
    flags.extend(
        plan.hosts[number - 1]
            .neighbours
            .iter()
            .filter(|n| plan.is_dialled(n.number))
            .map(|n| n.address.to_string()),
    );
    flags
}

/// Takes away what would change the behaviour of daemons and plugins behind the lab's back.
pub(crate) fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let ours = ["WEAVE", "CNI_", "CONN_LIMIT", "IPALLOC", "KUBE"];
        if ours.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
}

/// The end of a host's log, for messages.
pub(crate) fn log_tail(state: &StateDir, number: usize) -> String {
    let bytes = fs::read(state.log(number)).unwrap_or_default();
    let from = bytes.len().saturating_sub(8192);
    let text = String::from_utf8_lossy(&bytes[from..]).into_owned();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(5)..];
    if last.is_empty() {
        "it logged nothing".to_owned()
    } else {
        last.join("\n  ")
    }
}

/// `weave lab launch`: becomes another command inside a namespace. Call it before any thread is
/// started. Returns only on failure.
pub(crate) fn launch(launch: &Launch) -> ExitCode {
    let parent = getppid();
    let ready = || -> io::Result<()> {
        // A session of its own: Ctrl-C in the terminal is for the lab, which ends its daemons.
        setsid()?;
        if launch.die_with_parent {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            if getppid() != parent {
                return Err(io::Error::other("the lab has ended"));
            }
        }
        Ok(())
    };
    if let Err(error) = ready() {
        eprintln!("weave lab launch: {error}");
        return ExitCode::FAILURE;
    }
    let failure = match Namespace::open(&launch.netns) {
        Ok(namespace) => become_command(&namespace, &launch.command),
        Err(error) => error.to_string(),
    };
    eprintln!("weave lab launch: {failure}");
    ExitCode::FAILURE
}

/// Enters `namespace` and replaces this process by `command`. Returns only on failure, with the
/// reason.
pub(crate) fn become_command(namespace: &Namespace, command: &[OsString]) -> String {
    let Some((program, arguments)) = command.split_first() else {
        return "no command given".to_owned();
    };
    if let Err(error) = namespace.enter_current_thread() {
        return error.to_string();
    }
    let error = Command::new(program)
        .args(arguments)
        .env("PATH", search_path())
        .exec();
    format!("{}: {error}", program.display())
}

/// Where commands are looked for, with the directory of this program first.
pub(crate) fn search_path() -> OsString {
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.to_owned()));
    let directories = own.into_iter().chain(std::env::split_paths(&usual));
    std::env::join_paths(directories).unwrap_or(usual)
}

/// State and start time; the name in brackets before them may hold blanks and brackets.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let rest = stat.rsplit_once(')')?.1;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3, the start time field 22.
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

/// Clock ticks of user and system time together: fields 14 and 15.
fn parse_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

/// Milliseconds of a clock tick: the kernel shows 100 ticks a second on every architecture
/// (`proc_pid_stat(5)`, `USER_HZ`).
const TICK_MS: u64 = 10;
/// Where every daemon of a lab listens, each on its own host's loopback.
pub(crate) const CONTROL_ADDRESS: &str = "127.0.0.1:6784";
const KILL_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_and_start_time_are_found_behind_any_name() {
        let stat = "12 (a b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";

        assert_eq!(parse_stat(stat), Some(('S', 4242)));
        assert_eq!(parse_ticks(stat), Some(11 + 12));
        assert_eq!(parse_stat("12 (x"), None);
        assert_eq!(parse_stat("12 (x) S 1"), None);
    }

    #[test]
    fn a_written_process_is_found_again_until_it_ends() {
        let file = std::env::temp_dir().join(format!("weave-pid-{}", std::process::id()));
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::of(i32::try_from(child.id()).unwrap()).unwrap();
        process.write(&file).unwrap();

        assert_eq!(Process::written(&file), Some(process));
        assert!(process.resident_kib().unwrap() > 0);
        process.kill().unwrap();
        assert_eq!(Process::written(&file), None);
        child.wait().unwrap();
        fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_reused_number_is_not_the_same_process() {
        let own = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let earlier = Process {
            started: own.started - 1,
            ..own
        };
        let file = std::env::temp_dir().join(format!("weave-reused-{}", std::process::id()));
        earlier.write(&file).unwrap();

        assert_eq!(Process::written(&file), None);
        earlier.kill().unwrap();
        fs::remove_file(file).unwrap();
    }
}
