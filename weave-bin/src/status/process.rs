//! Metrics of the process itself, in the names every Prometheus client uses.
//!
//! Read from `/proc/self` when the page is asked for; what cannot be read is left out.

use std::fs;

use super::page::Page;

/// What `/proc` says about a process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Process {
    /// User and system time, in seconds.
    cpu: f64,
    /// Start, in seconds since 1970.
    started: f64,
    /// Virtual memory, in bytes.
    virtual_bytes: f64,
    /// Most virtual memory, in bytes.
    most_virtual_bytes: f64,
    /// Resident memory, in bytes.
    resident_bytes: f64,
    /// Open file descriptors.
    open_files: f64,
    /// Most file descriptors.
    most_files: f64,
}

impl Process {
    /// This process, if `/proc` tells.
    pub(crate) fn read() -> Option<Self> {
        let text = |path: &str| fs::read_to_string(path).ok();
        let files = fs::read_dir("/proc/self/fd").ok()?.count();
        let process = Self::parse(
            &text("/proc/self/stat")?,
            &text("/proc/self/status")?,
            &text("/proc/stat")?,
            &text("/proc/self/limits")?,
        )?;
        Some(Self {
            // One of them is the directory itself.
            open_files: f64::from(u32::try_from(files.saturating_sub(1)).ok()?),
            ..process
        })
    }

    /// From the texts of `/proc/self/stat`, `/proc/self/status`, `/proc/stat` and `/proc/self/limits`
    /// (`proc(5)`).
    fn parse(stat: &str, status: &str, kernel: &str, limits: &str) -> Option<Self> {
        // The name in parentheses may hold anything; fields count from the state, which is the third.
        let (_, after) = stat.rsplit_once(')')?;
        let fields: Vec<f64> = after
            .split_whitespace()
            .skip(1)
            .map_while(|field| field.parse().ok())
            .collect();
        let field = |number: usize| fields.get(number - 4).copied();
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        let boot = kernel.lines().find_map(|line| line.strip_prefix("btime "));
        let limit = |name: &str| {
            let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
            let soft = line.split_whitespace().next()?;
            Some(soft.parse().unwrap_or(UNLIMITED))
        };
        Some(Self {
            cpu: (field(14)? + field(15)?) / TICKS,
            started: boot?.trim().parse::<f64>().ok()? + field(22)? / TICKS,
            virtual_bytes: kilobytes("VmSize:")? * 1024.0,
            resident_bytes: kilobytes("VmRSS:")? * 1024.0,
            open_files: 0.0,
            most_files: limit("Max open files")?,
            most_virtual_bytes: limit("Max address space")?,
        })
    }

    /// Adds the families.
    pub(crate) fn write(&self, page: &mut Page) {
        page.counter(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
        )
        .value(self.cpu);
        for (name, help, value) in [
            (
                "process_max_fds",
                "Maximum number of open file descriptors.",
                self.most_files,
            ),
            (
                "process_open_fds",
                "Number of open file descriptors.",
                self.open_files,
            ),
            (
                "process_resident_memory_bytes",
                "Resident memory size in bytes.",
                self.resident_bytes,
            ),
            (
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
                self.started,
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes.",
                self.virtual_bytes,
            ),
            (
                "process_virtual_memory_max_bytes",
                "Maximum amount of virtual memory available in bytes.",
                self.most_virtual_bytes,
            ),
        ] {
            page.gauge(name, help).value(value);
        }
    }
}

/// What Prometheus clients say where there is no limit: 2^64.
const UNLIMITED: f64 = 18_446_744_073_709_551_616.0;
/// Ticks a second of the times in `/proc`: `USER_HZ`, which is 100 on every platform the kernel
/// supports but alpha.
const TICKS: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_a_name_with_anything_in_it() {
        let stat = "7 (we) ) ave) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 2 0 1000 5 6";
        let status = "VmSize:\t    2000 kB\nVmRSS:\t 1000 kB\n";
        let kernel = "cpu 1\nbtime 1795211000\n";
        let limits = "Limit Soft Hard Units\n\
                      Max open files            1024   4096   files\n\
                      Max address space         unlimited   unlimited   bytes\n";

        let process = Process::parse(stat, status, kernel, limits).unwrap();

        assert_eq!(process.cpu, 3.0);
        assert_eq!(process.started, 1_795_211_010.0);
        assert_eq!(process.resident_bytes, 1_024_000.0);
        assert_eq!(process.most_files, 1024.0);
        assert_eq!(process.most_virtual_bytes, UNLIMITED);
        assert_eq!(Process::parse("7 (x", status, kernel, limits), None);
    }

    #[test]
    fn this_process_has_memory_and_files() {
        let process = Process::read().unwrap();

        assert!(process.resident_bytes > 100_000.0 && process.open_files >= 3.0);
        assert!(process.started > 1_600_000_000.0);
    }
}
