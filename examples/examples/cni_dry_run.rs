//! A CNI plugin of one's own around `weave-datapath`, with a dry run.
//!
//! Called by a container runtime (`CNI_COMMAND` is set) it attaches or detaches a pod with the
//! addresses of its configuration; with `"dryRun": true` there, `ADD` prints on standard error what
//! it would do and changes nothing. Called by hand it plays the runtime for itself: a dry run, an
//! `ADD`, a dry run that finds nothing to do, a `DEL`. Needs root.

use std::error::Error;
use std::io::Read;

use serde::Deserialize;
use serde_json::json;
use weave_datapath::attach::{self, Request};
use weave_datapath::bridge;
use weave_datapath::netlink::mac_text;
use weave_datapath::netns::{Namespace, named_path};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The network configuration, as far as this plugin reads it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    cni_version: String,
    #[serde(default = "weave")]
    bridge: String,
    addresses: Vec<ipnet::IpNet>,
    gateway: Option<std::net::IpAddr>,
    #[serde(default)]
    dry_run: bool,
}

/// What the runtime says about the pod (CNI specification, parameters).
#[derive(Debug, Clone)]
struct Call {
    command: String,
    container_id: String,
    netns: String,
    ifname: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let Ok(command) = std::env::var("CNI_COMMAND") else {
        return play_runtime().await;
    };
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let call = Call {
        command,
        container_id: variable("CNI_CONTAINERID")?,
        netns: variable("CNI_NETNS")?,
        ifname: variable("CNI_IFNAME")?,
    };
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    println!("{}", answer(&Namespace::current()?, &call, &text).await?);
    Ok(())
}

/// Does what the runtime asks for, in the host's namespace `host`; the text for standard output.
async fn answer(host: &Namespace, call: &Call, config: &str) -> Outcome<String> {
    let config: Config = serde_json::from_str(config)?;
    match call.command.as_str() {
        "ADD" => add(host, call, &config).await,
        "DEL" => {
            let pod = Namespace::open(&call.netns).ok();
            attach::detach_from(host, &call.container_id, pod.as_ref(), &call.ifname).await?;
            Ok(String::new())
        }
        "VERSION" => {
            Ok(json!({ "cniVersion": "1.1.0", "supportedVersions": ["1.1.0"] }).to_string())
        }
        other => Err(format!("{other} is not served").into()),
    }
}

async fn add(host: &Namespace, call: &Call, config: &Config) -> Outcome<String> {
    let pod = Namespace::open(&call.netns)?;
    let mut request = Request::new(&call.container_id, pod, &call.ifname);
    request.bridge.clone_from(&config.bridge);
    request.addresses.clone_from(&config.addresses);
    request.gateways = config.gateway.into_iter().collect();

    if config.dry_run {
        let steps = attach::preview_from(host, &request).await?;
        eprintln!("{}: {} steps", call.container_id, steps.len());
        for step in &steps {
            eprintln!("  {step}");
        }
        return Ok(json!({ "cniVersion": config.cni_version }).to_string());
    }
    let done = attach::attach_from(host, &request).await?;
    let ips: Vec<_> = config
        .addresses
        .iter()
        .map(|address| json!({ "address": address, "gateway": config.gateway, "interface": 0 }))
        .collect();
    let result = json!({
        "cniVersion": config.cni_version,
        "interfaces": [
            { "name": done.pod.name, "mac": mac_text(done.pod.mac), "sandbox": call.netns },
        ],
        "ips": ips,
    });
    Ok(result.to_string())
}

/// A host and a pod as namespaces, and the calls a runtime would make.
async fn play_runtime() -> Outcome<()> {
    let host = Namespace::create_named("example-host")?;
    Namespace::create_named("example-pod")?;
    let outcome = call_all(&host).await;
    Namespace::delete_named("example-pod")?;
    Namespace::delete_named("example-host")?;
    outcome
}

async fn call_all(host: &Namespace) -> Outcome<()> {
    bridge::ensure_in(host, &bridge::Config::new([2, 0, 0, 0, 0, 1], 1376)).await?;
    let config = |dry_run: bool| {
        json!({
            "cniVersion": "1.1.0", "name": "example", "type": "cni_dry_run",
            "addresses": ["10.32.0.2/12"], "gateway": "10.32.0.1", "dryRun": dry_run,
        })
        .to_string()
    };
    let call = |command: &str| Call {
        command: command.to_owned(),
        container_id: "0123456789ab".to_owned(),
        netns: named_path("example-pod").display().to_string(),
        ifname: "eth0".to_owned(),
    };
    for (command, dry_run) in [("ADD", true), ("ADD", false), ("ADD", true), ("DEL", false)] {
        println!("{command}, dry run: {dry_run}");
        println!(
            "  {}",
            answer(host, &call(command), &config(dry_run)).await?
        );
    }
    Ok(())
}

fn weave() -> String {
    "weave".to_owned()
}
