//! Commands that watch a running lab while something happens to it: steady pings, a TCP stream.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;

use super::args::Target;
use super::args::commands::{Ping, Stream};
use super::commands::until_signal;
use super::error::Error;
use super::probe::reach::EchoSocket;
use super::record::{Record, StateDir};
use super::{ping, stream, underlay};
use crate::stdout;

/// `weave lab ping`.
///
/// # Errors
/// Why nothing can be sent.
pub(crate) async fn ping_steadily(args: &Ping) -> Result<ExitCode, Error> {
    let record = StateDir::new(&args.place).load_up()?;
    let namespace = underlay::open(record.namespace(args.from)?)?;
    let (from, to) = (
        address(&record, args.from).await?,
        address(&record, args.to).await?,
    );
    let token = u64::from(std::process::id()) << 16 | u64::from(args.count & 0xffff);
    let socket = EchoSocket::open(&namespace, from, token)
        .map_err(|reason| Error::kernel("ping", reason))?;
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, count) = (Arc::clone(&stop), args.count);
    let interval = Duration::from_millis(args.interval);
    let mut work =
        tokio::task::spawn_blocking(move || ping::ping(&socket, to, count, interval, &flag));
    let tally = match until_signal(&mut work, &stop).await {
        Some(tally) => tally,
        // Stopped by hand: what was counted so far is still worth telling.
        None => work.await,
    };
    let tally = tally.map_err(|error| Error::kernel("ping", error))?;
    if args.json {
        show_json("ping", &tally)?;
    } else {
        stdout::show_line(format_args!(
            "{} to {}: {}",
            args.from,
            args.to,
            tally.line()
        ));
    }
    Ok(if tally.lost == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The overlay address of a pod or of a host's bridge.
async fn address(record: &Record, target: Target) -> Result<std::net::Ipv4Addr, Error> {
    if let Some(pod) = target.pod {
        return Ok(record.pod(target.host, pod)?.address.addr());
    }
    let host = record.namespace(target)?;
    let addresses = underlay::bridge_addresses(host).await?;
    addresses.first().map(ipnet::Ipv4Net::addr).ok_or_else(|| {
        Error::State(format!(
            "the bridge of {target} has no address; add a pod there first"
        ))
    })
}

/// `weave lab stream`.
///
/// # Errors
/// Why there is no connection.
pub(crate) async fn stream_steadily(args: &Stream) -> Result<ExitCode, Error> {
    let record = StateDir::new(&args.place).load_up()?;
    let from = underlay::open(record.namespace(args.from)?)?;
    let to = underlay::open(record.namespace(args.to)?)?;
    let address = address(&record, args.to).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let span = Duration::from_secs(args.seconds);
    let mut work =
        tokio::task::spawn_blocking(move || stream::stream(&from, &to, address, span, &flag));
    let flow = match until_signal(&mut work, &stop).await {
        Some(flow) => flow,
        None => work.await,
    };
    let flow = flow
        .map_err(|error| Error::kernel("stream", error))?
        .map_err(|error| Error::kernel("stream", error))?;
    if args.json {
        show_json("stream", &flow)?;
    } else {
        stdout::show_line(format_args!(
            "{} to {}: {}",
            args.from,
            args.to,
            flow.line()
        ));
    }
    Ok(if flow.first_s.is_some() && flow.complaint.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn show_json(what: &str, value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string(value).map_err(|error| Error::kernel(what, error))?;
    stdout::show_line(text);
    Ok(())
}
