//! Making a fault, and undoing what the doctor's command has not undone.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;
use weave_datapath::netns::Namespace;

use super::bed::{Bed, STATUS_PORT};
use super::faults::{Fault, SPARE};
use crate::lab::error::Error;
use crate::lab::plan::{Block, TUNNEL_PORT};
use crate::lab::progress::Progress;
use crate::lab::{build, daemons, faults, pods, underlay};
use crate::logging::timestamp;

/// Makes `fault`.
///
/// # Errors
/// What stood in the way.
pub(super) async fn plant(bed: &mut Bed, fault: Fault) -> Result<(), Error> {
    match fault {
        Fault::IpForwardOff => setting(bed, "net/ipv4/ip_forward", "0").await,
        Fault::BridgeNfOff => setting(bed, "net/bridge/bridge-nf-call-iptables", "0").await,
        Fault::ForwardDrop => bed.shell(1, FORWARD_DROP).await,
        Fault::InputDrop => bed.shell(1, INPUT_DROP).await,
        Fault::RangeOverlap => {
            let device = bed.device(1);
            bed.shell(1, &format!("ip route add 10.40.0.0/16 dev {device}"))
                .await
        }
        Fault::StaleCni => bed.shell(1, FLANNEL).await,
        Fault::ForeignConflist => write_configurations(bed),
        Fault::LeakedAddress => leak(bed),
        Fault::ApiUnreachable => Ok(()),
        Fault::VersionSkew => stand_in(bed, "2.8.1", 0).await,
        Fault::ClockSkew => stand_in(bed, env!("CARGO_PKG_VERSION"), 7200).await,
        Fault::UdpBlocked => {
            let block = Block {
                a: 1,
                b: 2,
                port: TUNNEL_PORT,
            };
            faults::put(&bed.plan, &[block]).await
        }
        Fault::TcpBlocked => block_tcp(bed).await,
        Fault::DaemonDown => bed.kill(1),
        Fault::DeadPeer => bed.kill(3),
        _ => plant_on_spare(bed, fault).await,
    }
}

async fn plant_on_spare(bed: &Bed, fault: Fault) -> Result<(), Error> {
    bed.replace_spare().await?;
    let label = fault.name();
    match fault {
        Fault::WrongPassword => {
            let file = bed.state.host(SPARE).join("other-password");
            fs::write(&file, "something else\n").map_err(Error::file(&file))?;
            let flag = format!("--password-file={}", file.display());
            bed.join(&label, &[&flag], &[1]).await
        }
        Fault::OneSidedEncryption => bed.join(&label, &["--password="], &[1]).await,
        Fault::DuplicateMachineId => {
            bed.name_machine(&bed.machine_id(1)?)?;
            bed.join(&label, &[], &[1]).await
        }
        Fault::ConnectionLimit => bed.join(&label, &["--conn-limit=1"], &[1, 2]).await,
        Fault::MtuTooLarge => bed.join(&label, &["--mtu=1500"], &[1]).await,
        Fault::DiskFull => {
            let directory = bed.mount_disk(&label)?;
            bed.join(&label, &[], &[1]).await?;
            fill(&directory.join("filler"))
        }
        Fault::Ipv6Off => {
            let namespace = bed.namespace(SPARE)?;
            underlay::write_setting(&namespace, "net/ipv6/conf/all/disable_ipv6", "1").await?;
            let ranges = format!("--ipalloc-range={},fd00:10:32::/64", bed.plan.range);
            bed.join(&label, &[&ranges], &[1]).await
        }
        Fault::NoConsensus => {
            bed.join(&label, &["--ipalloc-init=consensus=3"], &[])
                .await?;
            // Somebody waits for an address.
            bed.shell(SPARE, "weave expose > /dev/null 2>&1 &").await
        }
        Fault::PeerDown => {
            // A host that is there and no daemon on it: an address that the spare machine has besides the
            // one that its daemon listens on.
            let device = bed.device(SPARE);
            bed.shell(
                SPARE,
                &format!("ip address add {ELSEWHERE}/32 dev {device}"),
            )
            .await?;
            let host = format!("--host={}", bed.address(SPARE));
            bed.join(&label, &[&host], &[1]).await?;
            bed.shell(SPARE, &format!("weave connect {ELSEWHERE}"))
                .await
        }
        Fault::OtherRange => {
            let flags = ["--ipalloc-range=10.64.0.0/12"];
            bed.join(&label, &flags, &[1]).await
        }
        Fault::OtherSeed => {
            let name = "02:00:00:00:00:99";
            let flags = [
                format!("--name={name}"),
                format!("--ipalloc-init=seed={name}"),
            ];
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            bed.join(&label, &flags, &[]).await?;
            let connect = format!(
                "weave expose > /dev/null && weave connect {}",
                bed.address(1)
            );
            bed.shell(SPARE, &connect).await
        }
        _ => Ok(()),
    }
}

/// Undoes `fault`, or what is left of it after the doctor's command was typed.
///
/// # Errors
/// What stood in the way.
pub(super) async fn mend(bed: &mut Bed, fault: Fault, typed: bool) -> Result<(), Error> {
    match fault {
        Fault::IpForwardOff => bed.forward(1).await,
        Fault::BridgeNfOff => setting(bed, "net/bridge/bridge-nf-call-iptables", "1").await,
        Fault::ForwardDrop => nothing_if(typed, bed.shell(1, "nft delete table inet site").await),
        Fault::InputDrop => nothing_if(typed, bed.shell(1, INPUT_ACCEPT).await),
        Fault::RangeOverlap if !typed => bed.shell(1, "ip route delete 10.40.0.0/16").await,
        Fault::ForeignConflist => {
            let directory = bed.state.host(1).join("root/etc/cni/net.d");
            fs::remove_dir_all(&directory).map_err(Error::file(&directory))
        }
        Fault::LeakedAddress => pods::add(&bed.state, &mut bed.record, 1).await.map(drop),
        Fault::VersionSkew | Fault::ClockSkew => {
            bed.stand_in.cancel();
            bed.kill(2)?;
            // The port is free when the one that stood in has looked at its flag.
            tokio::time::sleep(LOOK * 2).await;
            bed.start(2, true)?;
            daemons::wait_ready(&bed.state, &bed.record, &Progress::new()).await
        }
        Fault::UdpBlocked => faults::put(&bed.plan, &[]).await,
        Fault::TcpBlocked => {
            for host in [1, 2] {
                bed.shell(host, "iptables -F INPUT && iptables -F OUTPUT")
                    .await?;
            }
            daemons::wait_ready(&bed.state, &bed.record, &Progress::new()).await
        }
        Fault::DaemonDown => {
            bed.start(1, true)?;
            daemons::wait_ready(&bed.state, &bed.record, &Progress::new()).await
        }
        Fault::DiskFull => {
            let filler = bed.state.host(SPARE).join(fault.name()).join("filler");
            fs::remove_file(&filler).map_err(Error::file(&filler))
        }
        _ => Ok(()),
    }
}

/// Undoing by hand what was undone already may fail.
fn nothing_if(typed: bool, outcome: Result<(), Error>) -> Result<(), Error> {
    if typed { Ok(()) } else { outcome }
}

async fn setting(bed: &Bed, name: &'static str, value: &'static str) -> Result<(), Error> {
    underlay::write_setting(&bed.namespace(1)?, name, value).await
}

fn write_configurations(bed: &Bed) -> Result<(), Error> {
    let directory = bed.state.host(1).join("root/etc/cni/net.d");
    build::make_dir(&directory)?;
    for (name, kind) in [
        ("05-bridge.conflist", "bridge"),
        ("10-weave.conflist", "weave-net"),
    ] {
        let file = directory.join(name);
        let text =
            format!(r#"{{"cniVersion": "1.0.0", "name": "x", "plugins": [{{"type": "{kind}"}}]}}"#);
        fs::write(&file, text).map_err(Error::file(&file))?;
    }
    Ok(())
}

/// The pod of host 1 goes as with a runtime that crashed.
fn leak(bed: &mut Bed) -> Result<(), Error> {
    let pod = bed.record.pod(1, 1)?.clone();
    Namespace::delete_named(&pod.namespace)
        .map_err(|error| Error::kernel(&pod.namespace, error))?;
    bed.record.pods.retain(|other| *other != pod);
    Ok(())
}

/// Nothing of TCP 6783 passes between hosts 1 and 2, and both notice at once.
async fn block_tcp(bed: &Bed) -> Result<(), Error> {
    let one = bed.address(1);
    bed.kill(1)?;
    let drop = format!(
        "iptables -A INPUT -s {one} -p tcp -m tcp --dport 6783 -j DROP && \
         iptables -A OUTPUT -d {one} -p tcp -m tcp --dport 6783 -j DROP"
    );
    bed.shell(2, &drop).await?;
    bed.start(1, true)?;
    daemons::wait_answer(&bed.state, &bed.record, 1).await
}

/// Fills the disk to the last block.
fn fill(file: &std::path::Path) -> Result<(), Error> {
    let mut filler = fs::File::create(file).map_err(Error::file(file))?;
    // The last write fails, which is what it is for.
    while filler.write_all(&[0; 4096]).is_ok() {}
    Ok(())
}

/// The daemon of host 2 serves no page, and something in its place says that it has `version` and a
/// clock that is `behind` by that many seconds.
async fn stand_in(bed: &mut Bed, version: &'static str, behind: u64) -> Result<(), Error> {
    bed.kill(2)?;
    bed.start(2, false)?;
    let failed = |error: &dyn std::fmt::Display| Error::kernel("status page", error);
    let listener = listen(bed).await?;
    listener
        .set_nonblocking(true)
        .map_err(|error| failed(&error))?;
    let stop = CancellationToken::new();
    bed.stand_in = stop.clone();
    let date = http_date(behind);
    let body = format!("        Version: {version}\n");
    let answer = format!(
        "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    std::thread::spawn(move || serve(&listener, answer.as_bytes(), &stop));
    daemons::wait_ready(&bed.state, &bed.record, &Progress::new()).await
}

/// Listens where the daemon of host 2 did, as soon as all of it is gone.
async fn listen(bed: &Bed) -> Result<TcpListener, Error> {
    let namespace = bed.namespace(2)?;
    let deadline = Instant::now() + GONE_LIMIT;
    loop {
        let opened = namespace.run_async(|| TcpListener::bind(("0.0.0.0", STATUS_PORT)));
        let failed = |error: &dyn std::fmt::Display| Error::kernel("status page", error);
        match opened.await.map_err(|error| failed(&error))? {
            Ok(listener) => return Ok(listener),
            Err(error) if Instant::now() > deadline => return Err(failed(&error)),
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

fn serve(listener: &TcpListener, answer: &[u8], stop: &CancellationToken) {
    while !stop.is_cancelled() {
        if let Ok((mut stream, _)) = listener.accept() {
            // Who goes away early is no trouble.
            let _ = stream.set_read_timeout(Some(LOOK));
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
        } else {
            std::thread::sleep(LOOK);
        }
    }
}

/// This moment or one before, as HTTP writes it (RFC 9110, section 5.6.7).
fn http_date(behind: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let then = now
        .unwrap_or_default()
        .saturating_sub(Duration::from_secs(behind));
    let text = timestamp(then);
    let mut parts = text.split(['/', ' ', '.']);
    let mut part = || parts.next().unwrap_or_default();
    let (year, month, day, clock) = (part(), part(), part(), part());
    let months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    let month = month
        .parse()
        .ok()
        .and_then(|month: usize| months.split(' ').nth(month.checked_sub(1)?));
    // Nobody looks at the day of the week.
    format!("Mon, {day} {} {year} {clock} GMT", month.unwrap_or("Jan"))
}

const FORWARD_DROP: &str = "nft 'add table inet site; \
    add chain inet site forward { type filter hook forward priority 0; policy drop; }; \
    add rule inet site forward ct state established,related accept'";
const INPUT_DROP: &str = "iptables -A INPUT -i lo -j ACCEPT && \
    iptables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT && \
    iptables -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT && iptables -P INPUT DROP";
const INPUT_ACCEPT: &str = "iptables -P INPUT ACCEPT && iptables -F INPUT";
const FLANNEL: &str = "iptables -N FLANNEL-FWD && iptables -A FORWARD -j FLANNEL-FWD && \
    iptables -A FLANNEL-FWD -s 10.244.0.0/16 -j ACCEPT && \
    ip link add flannel.1 type vxlan id 1 dstport 8472 && ip link set flannel.1 up";
/// Of the networks for documentation (RFC 5737).
const ELSEWHERE: &str = "203.0.113.9";
/// For the threads of a process that was killed to let go of its sockets.
const GONE_LIMIT: Duration = Duration::from_secs(5);
/// Between looks at a flag.
const LOOK: Duration = Duration::from_millis(50);
