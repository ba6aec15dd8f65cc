//! Peers and the API server, asked side by side.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::DATE;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::doctor::evidence::{Api, Dial, Evidence, Page, Reach};
use crate::http::client::Client;
use crate::status::model::Report;

/// Tries mesh ports of peers that are not connected, status pages of those that are, and the API
/// server.
pub(super) async fn reach(evidence: &mut Evidence) {
    let mut dials = JoinSet::new();
    let mut pages = JoinSet::new();
    if let Some(report) = evidence.report() {
        for address in missing(report) {
            dials.spawn(async move {
                let outcome = dial(&address).await;
                Dial { address, outcome }
            });
        }
        let port = report.node.as_ref().and_then(|node| node.status_port);
        for (address, port) in connected(report).into_iter().zip(port.into_iter().cycle()) {
            pages.spawn(page(address, port));
        }
    }
    if let Some(address) = api_server() {
        let outcome = dial(&address).await;
        evidence.api = Some(Api { address, outcome });
    }
    evidence.dials = dials.join_all().await;
    evidence.dials.sort_by(|a, b| a.address.cmp(&b.address));
    evidence.pages = pages.join_all().await.into_iter().flatten().collect();
    evidence.pages.sort_by_key(|page| page.address);
}

/// Addresses that are dialled without success.
fn missing(report: &Report) -> BTreeSet<String> {
    let connections = report.router.connections.iter();
    let down = connections
        .filter(|one| one.outbound && !matches!(one.state.as_str(), "established" | "pending"));
    let addresses = down.map(|one| {
        let has_port = one.address.parse::<SocketAddr>().is_ok() || one.address.contains(':');
        if has_port {
            one.address.clone()
        } else {
            format!("{}:{}", one.address, report.router.port)
        }
    });
    addresses.take(MOST).collect()
}

fn connected(report: &Report) -> BTreeSet<IpAddr> {
    let connections = report.router.connections.iter();
    let up = connections.filter(|one| one.state == "established");
    let addresses = up.filter_map(|one| Some(one.address.parse::<SocketAddr>().ok()?.ip()));
    addresses.take(MOST).collect()
}

async fn dial(address: &str) -> Reach {
    match tokio::time::timeout(DIAL_LIMIT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Reach::Open,
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Reach::Refused,
            // No answer to ARP: the host is off, as if it were silent.
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable => Reach::Silent,
            _ => Reach::Failed(plain(&error)),
        },
        Err(_) => Reach::Silent,
    }
}

fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error")
        .next()
        .unwrap_or(&text)
        .to_lowercase()
}

/// What a peer's page says; nothing, if it serves none.
async fn page(address: IpAddr, port: u16) -> Option<Page> {
    let client = Client::new(&SocketAddr::new(address, port).to_string()).with_limit(PAGE_LIMIT);
    let answer = client.get("/status").await.ok()?;
    let date = answer.headers.get(DATE).and_then(|date| date.to_str().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let now = i64::try_from(now.as_secs()).ok()?;
    let page = Page {
        address,
        version: version(&answer.body),
        ahead: date.and_then(seconds).map(|then| then.saturating_sub(now)),
    };
    (page.version.is_some() || page.ahead.is_some()).then_some(page)
}

/// The version on a status page, ours or Weave Net's: the first word behind the label.
fn version(page: &str) -> Option<String> {
    let mut lines = page.lines().map(str::trim);
    let rest = lines.find_map(|line| line.strip_prefix("Version: "))?;
    let word = rest.split_whitespace().next()?;
    // The words come from another host.
    (word.len() <= LONGEST_VERSION).then(|| word.to_owned())
}

/// Seconds since 1970 of a date as HTTP writes it, `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section
/// 5.6.7).
fn seconds(date: &str) -> Option<i64> {
    let mut words = date.split_once(", ")?.1.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)?;
    let month = i64::try_from(month).ok()? + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words
        .next()?
        .split(':')
        .map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that the leap day is the last.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days - DAYS_BEFORE_1970) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Where Kubernetes says the API server is.
fn api_server() -> Option<String> {
    let host = std::env::var("KUBERNETES_SERVICE_HOST").ok()?;
    let port = std::env::var("KUBERNETES_SERVICE_PORT").unwrap_or_else(|_| "443".to_owned());
    Some(match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    })
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
/// From 1 March of the year 0 to 1 January 1970.
const DAYS_BEFORE_1970: i64 = 719_468;
/// Peers that are asked: enough to see what is wrong with a large mesh.
const MOST: usize = 64;
const LONGEST_VERSION: usize = 64;
/// Beyond the first retransmission of a lost packet, after a second (RFC 6298).
const DIAL_LIMIT: Duration = Duration::from_millis(1500);
const PAGE_LIMIT: Duration = Duration::from_millis(1500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_http_are_read() {
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(
            seconds("Thu, 29 Feb 2024 12:00:00 GMT"),
            Some(1_709_208_000)
        );
        for odd in [
            "",
            "Sun, ",
            "Sun, 6 Nov",
            "Sun, 06 Nov 99999999999999 08:49:37 GMT",
        ] {
            assert_eq!(seconds(odd), None, "{odd}");
        }
    }

    #[test]
    fn versions_of_both_kinds_of_pages_are_read() {
        let old = "\n        Version: 2.8.1 (up to date; next check at 2017/07/10 13:49:29)\n";
        assert_eq!(version(old).as_deref(), Some("2.8.1"));
        assert_eq!(
            version("        Version: 3.0.0\n").as_deref(),
            Some("3.0.0")
        );
        assert_eq!(version("Service: router"), None);
    }
}
