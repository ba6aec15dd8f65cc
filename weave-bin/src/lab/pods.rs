//! Pods of a lab: each a namespace that the real CNI plugin connects and disconnects.
//!
//! The plugin is the program itself under the plugin's name, started the way a container runtime
//! starts it: inside the host, with the `CNI_*` environment and a configuration on standard input.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use ipnet::{Ipv4Net, Ipv6Net};
use serde_json::{Value, json};
use weave_datapath::netns::{Namespace, named_path};

use super::error::Error;
use super::process::clean_environment;
use super::record::{Pod, Record, StateDir};
use super::underlay;

/// How the runtime of a host calls the plugin.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    /// The directory with the plugins.
    pub(crate) bin: PathBuf,
    /// The plugin's configuration.
    pub(crate) config: Value,
    /// Where releases wait for the daemon.
    pub(crate) pending: PathBuf,
}

impl Runtime {
    /// With the plugins and a configuration of the lab itself.
    pub(crate) fn of_lab(state: &StateDir, host: usize) -> Self {
        Self {
            bin: state.bin(),
            config: json!({
                "cniVersion": "1.0.0",
                "name": "weave",
                "type": "weave-net",
                "hairpinMode": true,
            }),
            pending: state.host(host).join("cni-pending"),
        }
    }
}

/// Adds a pod to `host` and writes it into `record`. Returns how long ADD took.
///
/// # Errors
/// What the plugin said; the pod is not there then.
pub(crate) async fn add(
    state: &StateDir,
    record: &mut Record,
    host: usize,
) -> Result<Duration, Error> {
    add_by(&Runtime::of_lab(state, host), record, host).await
}

/// The same by a runtime.
///
/// # Errors
/// As [`add`].
pub(crate) async fn add_by(
    runtime: &Runtime,
    record: &mut Record,
    host: usize,
) -> Result<Duration, Error> {
    let number = record.next_pod(host);
    let label = format!("{host}/{number}");
    let namespace = record.plan.pod_namespace(host, number);
    underlay::create(&namespace).await?;
    let container_id = fresh_id().map_err(|reason| Error::kernel("random numbers", reason))?;
    let call = Call {
        runtime,
        record,
        host,
        namespace: &namespace,
        container_id: &container_id,
    };
    let failed = |reason: String| Error::Cni {
        command: "ADD",
        pod: label.clone(),
        reason,
    };
    let outcome = match call.run("ADD").await {
        Ok((output, took)) => result_of(&output).map(|found| (found, took)),
        Err(error) => Err(error.to_string()),
    };
    let (Connected { four, six, mac }, took) = match outcome {
        Ok(found) => found,
        Err(reason) => {
            // The namespace is of no use without its interface; the first error is the one told.
            let _gone = Namespace::delete_named(&namespace);
            return Err(failed(reason));
        }
    };
    record.cni_add_ms.push(took.as_secs_f64() * 1000.0);
    record.pods.push(Pod {
        host,
        number,
        namespace,
        container_id,
        address: four,
        address6: six,
        mac,
    });
    Ok(took)
}

/// Removes a pod and takes it out of `record`.
///
/// # Errors
/// What the plugin said; the pod stays then.
pub(crate) async fn remove(
    state: &StateDir,
    record: &mut Record,
    host: usize,
    number: usize,
) -> Result<(), Error> {
    remove_by(&Runtime::of_lab(state, host), record, host, number).await
}

/// The same by a runtime.
///
/// # Errors
/// As [`remove`].
pub(crate) async fn remove_by(
    runtime: &Runtime,
    record: &mut Record,
    host: usize,
    number: usize,
) -> Result<(), Error> {
    let pod = record.pod(host, number)?.clone();
    let call = Call {
        runtime,
        record,
        host,
        namespace: &pod.namespace,
        container_id: &pod.container_id,
    };
    let failed = |reason: String| Error::Cni {
        command: "DEL",
        pod: pod.label(),
        reason,
    };
    let (output, _) = call.run("DEL").await?;
    if !output.status.success() {
        return Err(failed(words_of(&output)));
    }
    Namespace::delete_named(&pod.namespace).map_err(|error| failed(error.to_string()))?;
    record.pods.retain(|other| *other != pod);
    Ok(())
}

/// One call of the plugin.
struct Call<'a> {
    runtime: &'a Runtime,
    record: &'a Record,
    host: usize,
    namespace: &'a str,
    container_id: &'a str,
}

impl Call<'_> {
    /// Runs the plugin inside the host; its output and how long it took.
    async fn run(&self, command: &'static str) -> Result<(Output, Duration), Error> {
        let host = underlay::open(&self.record.plan.hosts[self.host - 1].namespace)?;
        let mut process = Command::new(self.runtime.bin.join("weave-net"));
        clean_environment(&mut process);
        process
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", self.container_id)
            .env("CNI_NETNS", named_path(self.namespace))
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &self.runtime.bin)
            .env("WEAVE_CNI_PENDING_DIR", &self.runtime.pending)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let what = || format!("CNI {command}");
        let config = self.runtime.config.to_string();
        host.run_async(move || exchange(&mut process, &config))
            .await
            .map_err(|error| Error::kernel(what(), error))?
            .map_err(|error| Error::kernel(what(), error))
    }
}

/// The same from the first to the last moment of the process.
pub(crate) fn exchange(process: &mut Command, config: &str) -> std::io::Result<(Output, Duration)> {
    let begun = Instant::now();
    let mut child = process.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A plugin that ends without reading says why on its standard output.
        let _unread = stdin.write_all(config.as_bytes());
    }
    let output = child.wait_with_output()?;
    Ok((output, begun.elapsed()))
}

/// The pod's side as the plugin tells it.
#[derive(Debug)]
struct Connected {
    four: Ipv4Net,
    six: Option<Ipv6Net>,
    mac: String,
}

/// Addresses and hardware address of the pod's side.
fn result_of(output: &Output) -> Result<Connected, String> {
    if !output.status.success() {
        return Err(words_of(output));
    }
    let result: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("the plugin's result is not JSON: {error}"))?;
    let text = |pointer: &str| result.pointer(pointer).and_then(Value::as_str);
    let address = text("/ips/0/address").and_then(|address| address.parse().ok());
    let six = text("/ips/1/address").and_then(|address| address.parse().ok());
    let index = result
        .pointer("/ips/0/interface")
        .and_then(Value::as_u64)
        .unwrap_or(0);
    match (address, text(&format!("/interfaces/{index}/mac"))) {
        (Some(four), Some(mac)) => Ok(Connected {
            four,
            six,
            mac: mac.to_owned(),
        }),
        _ => Err(format!(
            "the plugin's result has no IPv4 address with its interface: {result}"
        )),
    }
}

/// The plugin's own words about its failure.
pub(crate) fn words_of(output: &Output) -> String {
    let error: Option<Value> = serde_json::from_slice(&output.stdout).ok();
    let message = error.as_ref().and_then(|error| error.get("msg")?.as_str());
    let log = String::from_utf8_lossy(&output.stderr);
    message.map_or_else(
        || format!("{}; {}", output.status, log.trim()),
        str::to_owned,
    )
}

/// An id as container runtimes choose them: 64 hexadecimal digits.
pub(crate) fn fresh_id() -> Result<String, String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    fn output(code: i32, stdout: &str, stderr: &str) -> Output {
        Output {
            status: ExitStatus::from_raw(code << 8),
            stdout: stdout.into(),
            stderr: stderr.into(),
        }
    }

    #[test]
    fn the_pods_side_is_found_by_its_index() {
        let stdout = r#"{"interfaces":[{"name":"vethweplx","mac":"02:00:00:00:00:01"},
            {"name":"eth0","mac":"02:00:00:00:00:02","sandbox":"/x"}],
            "ips":[{"interface":1,"address":"10.32.0.2/12"},
                   {"interface":1,"address":"fd00::2/64"}]}"#;

        let found = result_of(&output(0, stdout, "")).unwrap();

        assert_eq!(found.four.to_string(), "10.32.0.2/12");
        assert_eq!(found.six.unwrap().to_string(), "fd00::2/64");
        assert_eq!(found.mac, "02:00:00:00:00:02");
    }

    #[test]
    fn the_plugins_words_are_passed_on() {
        let refused = output(1, r#"{"code":11,"msg":"unable to allocate"}"#, "");
        assert_eq!(result_of(&refused).unwrap_err(), "unable to allocate");

        let crashed = output(101, "", "panicked at x\n");
        assert_eq!(
            result_of(&crashed).unwrap_err(),
            "exit status: 101; panicked at x"
        );
        assert!(result_of(&output(0, "{}", "")).is_err());
    }

    #[test]
    fn ids_differ() {
        let (a, b) = (fresh_id().unwrap(), fresh_id().unwrap());

        assert_eq!(a.len(), 64);
        assert_ne!(a[..7], b[..7]);
    }
}
