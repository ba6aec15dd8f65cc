//! The flags of the name server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Parsed, SettingsError, bad, number};
use crate::dns::answer::Zone;

/// The name server as the flags tell it.
#[derive(Debug, Clone)]
pub struct DnsSettings {
    /// What it answers for, and for how long answers live.
    pub zone: Zone,
    /// Where it listens, over UDP and TCP.
    pub listen: SocketAddr,
    /// How long each other server has to answer.
    pub fallback_timeout: Duration,
    /// The file that names other servers; without it none is asked.
    pub resolv_conf: Option<PathBuf>,
}

/// The settings, unless the name server is off.
pub(super) fn read(given: &Parsed) -> Result<Option<DnsSettings>, SettingsError> {
    if given.is_on("no-dns") {
        return Ok(None);
    }
    let text = |name: &str| given.value(name).filter(|text| !text.is_empty());
    let ttl: u32 = number(given, "dns-ttl", "--dns-ttl", 1)?;
    let domain = text("dns-domain").unwrap_or("weave.local.");
    let zone = Zone::new(domain, ttl).map_err(|reason| bad("--dns-domain", reason))?;
    let listen = text("dns-listen-address").unwrap_or("0.0.0.0:53");
    let listen = listen.parse().map_err(|_| {
        let reason = format!("{listen:?} is not IP:PORT");
        bad("--dns-listen-address", reason)
    })?;
    let timeout = text("dns-fallback-timeout").unwrap_or("5s");
    let fallback_timeout = duration(timeout)
        .filter(|time| !time.is_zero())
        .ok_or_else(|| {
            let reason = format!("{timeout:?} is not a time such as 5s or 500ms");
            bad("--dns-fallback-timeout", reason)
        })?;
    Ok(Some(DnsSettings {
        zone,
        listen,
        fallback_timeout,
        resolv_conf: text("resolv-conf").map(PathBuf::from),
    }))
}

/// A time as Go's flags have it, such as `1m30s`; a bare number is seconds. At most a day.
fn duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return within_a_day(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let end = unit.find(|c: char| c.is_ascii_digit());
        let (unit, tail) = unit.split_at(end.unwrap_or(unit.len()));
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            "us" | "µs" => 0.000_001,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        let part = Duration::try_from_secs_f64(number * seconds).ok()?;
        total = within_a_day(total.checked_add(part)?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

fn within_a_day(time: Duration) -> Option<Duration> {
    (time <= Duration::from_secs(86_400)).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::daemon::Settings;

    fn settings(line: &str) -> Result<Option<DnsSettings>, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let read = Settings::read(&words, |_| None);
        read.map(|settings| settings.dns)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_name_server_is_on_with_the_documented_defaults_and_can_be_turned_off() {
        let dns = settings("").unwrap().unwrap();

        assert_eq!((dns.zone.text(), dns.zone.ttl()), ("weave.local.", 1));
        assert_eq!(dns.listen.to_string(), "0.0.0.0:53");
        assert_eq!(dns.fallback_timeout, Duration::from_secs(5));
        assert_eq!(dns.resolv_conf, None);
        assert!(settings("--no-dns").unwrap().is_none());
    }

    #[test]
    fn its_flags_are_read() {
        let line = "--dns-domain=Example.test --dns-ttl=30 --dns-listen-address=10.0.0.1:5353 \
                    --dns-fallback-timeout=1m0.5s --resolv-conf=/etc/resolv.conf";

        let dns = settings(line).unwrap().unwrap();

        assert_eq!((dns.zone.text(), dns.zone.ttl()), ("Example.test.", 30));
        assert_eq!(dns.listen.to_string(), "10.0.0.1:5353");
        assert_eq!(dns.fallback_timeout, Duration::from_millis(60_500));
        assert_eq!(dns.resolv_conf, Some("/etc/resolv.conf".into()));
    }

    #[test]
    fn values_that_make_no_sense_are_named_with_their_flag() {
        let label = "x".repeat(64);
        for (flag, value) in [
            ("--dns-domain", "a..b"),
            ("--dns-domain", "."),
            ("--dns-domain", label.as_str()),
            ("--dns-ttl", "-1"),
            ("--dns-listen-address", "nonsense"),
            ("--dns-listen-address", "10.0.0.1"),
            ("--dns-fallback-timeout", "soon"),
            ("--dns-fallback-timeout", "0"),
            ("--dns-fallback-timeout", "5x"),
            ("--dns-fallback-timeout", "100h"),
        ] {
            let refusal = settings(&format!("{flag}={value}")).unwrap_err();
            assert!(refusal.contains(flag), "{value}: {refusal}");
        }
    }
}
