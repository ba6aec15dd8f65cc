//! What a lab knows about itself between commands: a directory of files and one record.
//!
//! The record is replaced whole and only by a command that holds the lock. What stands in it may
//! be less than what exists (a command was killed), never more of hosts: removing a lab therefore
//! looks at the kernel as well.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use ipnet::{Ipv4Net, Ipv6Net};

use super::args::{Place, Target};
use super::error::Error;
use super::plan::{Block, Plan};

/// The files of one lab.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    name: String,
    dir: PathBuf,
}

impl StateDir {
    /// The files of the lab at `place`.
    pub(crate) fn new(place: &Place) -> Self {
        let mut state = Self::named(&place.name);
        if let Some(dir) = &place.state_dir {
            state.dir.clone_from(dir);
        }
        state
    }

    /// The files of the lab called `name`, at the usual place.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            dir: Path::new("/run").join(name),
        }
    }

    /// The lab's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// The directory with the plugins' names.
    pub(crate) fn bin(&self) -> PathBuf {
        self.dir.join("bin")
    }

    /// The BPF file system of the lab.
    pub(crate) fn bpf(&self) -> PathBuf {
        self.dir.join("bpf")
    }

    /// The files of one host.
    pub(crate) fn host(&self, number: usize) -> PathBuf {
        self.dir.join(format!("host-{number}"))
    }

    /// Where a host's daemon writes its log.
    pub(crate) fn log(&self, number: usize) -> PathBuf {
        self.host(number).join("daemon.log")
    }

    /// Where the process of a host's daemon is written down.
    pub(crate) fn pid(&self, number: usize) -> PathBuf {
        self.host(number).join("daemon.pid")
    }

    /// The passwords of a host's daemon, one a line, the preferred first.
    pub(crate) fn passwords(&self, number: usize) -> PathBuf {
        self.host(number).join("passwords")
    }

    fn record(&self) -> PathBuf {
        self.dir.join("lab.json")
    }

    /// Takes the lab for this command; released when dropped, also by a kill.
    ///
    /// # Errors
    /// [`Error::Busy`] when another command has it.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        // Beside the directory, because removing the lab removes the directory.
        let mut path = self.dir.clone().into_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = opened.map_err(Error::file(&path))?;
        let busy = || Error::Busy(self.name.clone());
        let held = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| busy())?;
        // The last holder takes the file away: what is locked here must be what others open.
        let current = fs::metadata(&path).ok().map(|meta| meta.ino());
        let locked = held.metadata().ok().map(|meta| meta.ino());
        if current.is_none() || current != locked {
            return Err(busy());
        }
        Ok(Lock { path, _held: held })
    }

    /// The record, if there is one.
    ///
    /// # Errors
    /// [`Error::Record`] when it cannot be understood.
    pub(crate) fn load(&self) -> Result<Option<Record>, Error> {
        let path = self.record();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file(path)(error)),
        };
        match serde_json::from_slice(&bytes) {
            Ok(record) => Ok(Some(record)),
            Err(error) => Err(Error::Record {
                path,
                reason: error.to_string(),
            }),
        }
    }

    /// The record of a lab that is up.
    ///
    /// # Errors
    /// [`Error::NotUp`] when there is none or it was never finished.
    pub(crate) fn load_up(&self) -> Result<Record, Error> {
        match self.load()? {
            Some(record) if record.phase == Phase::Up => Ok(record),
            _ => Err(Error::NotUp(self.name.clone())),
        }
    }

    /// Replaces the record.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save(&self, record: &Record) -> Result<(), Error> {
        let path = self.record();
        let text = serde_json::to_vec_pretty(record).map_err(|error| Error::Record {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        let draft = path.with_extension("json.tmp");
        fs::write(&draft, text).map_err(Error::file(&draft))?;
        fs::rename(&draft, &path).map_err(Error::file(&path))
    }
}

/// A lab held by one command.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _held: Flock<File>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Best effort: a file that stays is locked again by the next command.
        let _gone = fs::remove_file(&self.path);
    }
}

/// A lab, as far as it is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Hosts and cables.
    pub(crate) plan: Plan,
    /// Whether it was finished and is to stay.
    pub(crate) phase: Phase,
    /// Pods that are connected.
    pub(crate) pods: Vec<Pod>,
    /// Log level of the daemons.
    pub(crate) log_level: String,
    /// Whether connections between daemons have passwords.
    #[serde(default)]
    pub(crate) protection: Option<Protection>,
    /// Whether daemons have no data path.
    #[serde(default)]
    pub(crate) mesh_only: bool,
    /// Whether daemons run name servers.
    #[serde(default)]
    pub(crate) names: bool,
    /// The password of connections between daemons until it is written to their files.
    #[serde(skip)]
    pub(crate) password: Option<String>,
    /// Ports that were blocked by hand.
    #[serde(default)]
    pub(crate) blocks: Vec<Block>,
    /// Wall times of CNI ADD in milliseconds.
    pub(crate) cni_add_ms: Vec<f64>,
    /// Kernel settings of this machine that were raised, with what they were.
    pub(crate) raised: Vec<(PathBuf, String)>,
}

/// How far a lab is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// Being made, or made for one command: the next command may remove it.
    Temporary,
    /// Finished and to stay until `down`.
    Up,
}

/// How connections between daemons are protected: by the passwords in [`StateDir::passwords`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Protection {
    /// Whether hosts trust the networks they are cabled to, so that frames need no encryption.
    pub(crate) trusted: bool,
}

/// A connected pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pod {
    /// The host it is on, from 1.
    pub(crate) host: usize,
    /// Its number on that host, from 1.
    pub(crate) number: usize,
    /// Its network namespace under `/run/netns`.
    pub(crate) namespace: String,
    /// Its id as a container runtime would choose it.
    pub(crate) container_id: String,
    /// The address the plugin reported, with the length of its subnet.
    pub(crate) address: Ipv4Net,
    /// The IPv6 address the plugin reported, where there is one.
    #[serde(default)]
    pub(crate) address6: Option<Ipv6Net>,
    /// The hardware address the plugin reported.
    pub(crate) mac: String,
}

impl Pod {
    /// As a person names it.
    pub(crate) fn label(&self) -> String {
        format!("{}/{}", self.host, self.number)
    }
}

impl Record {
    /// A lab of `plan` of which nothing is made.
    pub(crate) fn new(plan: Plan, log_level: String) -> Self {
        Self {
            plan,
            phase: Phase::Temporary,
            pods: Vec::new(),
            log_level,
            protection: None,
            mesh_only: false,
            names: false,
            password: None,
            blocks: Vec::new(),
            cni_add_ms: Vec::new(),
            raised: Vec::new(),
        }
    }

    /// Checks that there is a host `number`.
    ///
    /// # Errors
    /// [`Error::NoSuch`].
    pub(crate) fn require_host(&self, number: usize) -> Result<(), Error> {
        if self.plan.host(number).is_some() {
            return Ok(());
        }
        let there = format!("hosts 1 to {}", self.plan.hosts.len());
        Err(Error::NoSuch {
            what: format!("host {number}"),
            there,
        })
    }

    /// The pod with this number on this host.
    ///
    /// # Errors
    /// [`Error::NoSuch`].
    pub(crate) fn pod(&self, host: usize, number: usize) -> Result<&Pod, Error> {
        self.require_host(host)?;
        let found = self
            .pods
            .iter()
            .find(|pod| pod.host == host && pod.number == number);
        found.ok_or_else(|| {
            let labels: Vec<String> = self
                .pods
                .iter()
                .filter(|pod| pod.host == host)
                .map(Pod::label)
                .collect();
            let there = if labels.is_empty() {
                format!("no pod on host {host}")
            } else {
                format!("pods {}", labels.join(", "))
            };
            Error::NoSuch {
                what: format!("pod {host}/{number}"),
                there,
            }
        })
    }

    /// The namespace of `target`, under `/run/netns`.
    ///
    /// # Errors
    /// [`Error::NoSuch`].
    pub(crate) fn namespace(&self, target: Target) -> Result<&str, Error> {
        self.require_host(target.host)?;
        match target.pod {
            Some(pod) => Ok(&self.pod(target.host, pod)?.namespace),
            None => Ok(&self.plan.hosts[target.host - 1].namespace),
        }
    }

    /// A number no pod of `host` has.
    pub(crate) fn next_pod(&self, host: usize) -> usize {
        let numbers = self
            .pods
            .iter()
            .filter(|pod| pod.host == host)
            .map(|pod| pod.number);
        numbers.max().unwrap_or(0) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::plan::Choice;

    fn record() -> Record {
        let plan = Plan::new(&Choice::full("lab", 2, 1));
        let mut record = Record::new(plan.unwrap(), "info".to_owned());
        record.pods.push(Pod {
            host: 2,
            number: 1,
            namespace: "lab-2-pod-1".to_owned(),
            container_id: "c0ffee".to_owned(),
            address: "10.32.0.2/12".parse().unwrap(),
            address6: None,
            mac: "02:00:00:00:00:01".to_owned(),
        });
        record
    }

    fn state(name: &str) -> StateDir {
        let dir = std::env::temp_dir().join(format!("weave-record-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        StateDir::new(&Place {
            name: name.to_owned(),
            state_dir: Some(dir),
        })
    }

    #[test]
    fn a_record_survives_being_written_and_read() {
        let state = state("roundtrip");
        let record = record();

        state.save(&record).unwrap();

        assert_eq!(state.load().unwrap(), Some(record));
        fs::remove_dir_all(state.path()).unwrap();
    }

    #[test]
    fn a_lab_that_was_never_finished_is_not_up() {
        let state = state("unfinished");
        assert!(matches!(state.load_up(), Err(Error::NotUp(_))));
        let mut record = record();

        state.save(&record).unwrap();
        assert!(matches!(state.load_up(), Err(Error::NotUp(_))));
        record.phase = Phase::Up;
        state.save(&record).unwrap();
        assert!(state.load_up().is_ok());
        fs::remove_dir_all(state.path()).unwrap();
    }

    #[test]
    fn a_damaged_record_names_the_way_out() {
        let state = state("damaged");
        fs::write(state.path().join("lab.json"), "{").unwrap();

        let error = state.load().unwrap_err().to_string();

        assert!(error.contains("weave lab down"), "{error}");
        fs::remove_dir_all(state.path()).unwrap();
    }

    #[test]
    fn one_command_at_a_time_holds_a_lab() {
        let state = state("lock");

        let held = state.lock().unwrap();
        assert!(matches!(state.lock(), Err(Error::Busy(_))));
        drop(held);
        assert!(!state.path().with_extension("lock").exists());
        assert!(state.lock().is_ok());
        fs::remove_dir_all(state.path()).unwrap();
    }

    #[test]
    fn what_is_not_there_is_said_with_what_is() {
        let record = record();

        assert_eq!(
            record.namespace("2/1".parse().unwrap()).unwrap(),
            "lab-2-pod-1"
        );
        assert_eq!(record.namespace("1".parse().unwrap()).unwrap(), "lab-1");
        let missing = |text: &str| {
            record
                .namespace(text.parse().unwrap())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(missing("3"), "the lab has no host 3; it has hosts 1 to 2");
        assert_eq!(missing("2/9"), "the lab has no pod 2/9; it has pods 2/1");
        assert_eq!(
            missing("1/1"),
            "the lab has no pod 1/1; it has no pod on host 1"
        );
        assert_eq!(record.next_pod(2), 2);
        assert_eq!(record.next_pod(1), 1);
    }
}
