//! Echo requests at a steady rate, for watching a network while something happens to it.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::probe::reach::{EchoSocket, Received, plain};
use super::stats::Percentiles;

/// What became of the requests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Tally {
    /// Requests sent.
    pub(crate) sent: u32,
    /// Requests answered.
    pub(crate) received: u32,
    /// Requests that were not.
    pub(crate) lost: u32,
    /// The longest run of requests without an answer.
    pub(crate) longest_gap: u32,
    /// Round trips in milliseconds.
    pub(crate) rtt_ms: Option<Percentiles>,
    /// The last complaint of our own kernel.
    pub(crate) complaint: Option<String>,
}

/// Sends `count` requests to `target`, one every `interval`, until done or `stop` is set.
pub(crate) fn ping(
    socket: &EchoSocket,
    target: Ipv4Addr,
    count: u32,
    interval: Duration,
    stop: &AtomicBool,
) -> Tally {
    let mut sent: Vec<Instant> = Vec::new();
    let mut times: Vec<Option<f64>> = Vec::new();
    let mut complaint = socket
        .set_nonblocking(true)
        .err()
        .map(|error| plain(&error));
    let begun = Instant::now();
    for number in 0..count {
        let due = begun + interval * number;
        while Instant::now() < due {
            collect(socket, &sent, &mut times);
            let left = due.saturating_duration_since(Instant::now());
            std::thread::sleep(left.min(STEP));
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // Before sending: between namespaces the whole way may be gone within the call.
        sent.push(Instant::now());
        if let Err(error) = socket.send(target, number) {
            complaint = Some(plain(&error));
        }
        times.push(None);
    }
    let last = Instant::now();
    while last.elapsed() < STRAGGLERS && times.iter().any(Option::is_none) {
        collect(socket, &sent, &mut times);
        std::thread::sleep(STEP);
    }
    tally(&times, complaint)
}

fn collect(socket: &EchoSocket, sent: &[Instant], times: &mut [Option<f64>]) {
    loop {
        match socket.receive() {
            Ok(Received::Answer(number)) => {
                let Ok(number) = usize::try_from(number) else {
                    continue;
                };
                if let (Some(at), Some(time)) = (sent.get(number), times.get_mut(number)) {
                    time.get_or_insert_with(|| at.elapsed().as_secs_f64() * 1000.0);
                }
            }
            Ok(Received::Other) => {}
            Ok(Received::Nothing) | Err(_) => return,
        }
    }
}

fn tally(times: &[Option<f64>], complaint: Option<String>) -> Tally {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let answered: Vec<f64> = times.iter().copied().flatten().collect();
    let gaps = times.split(Option::is_some).map(<[_]>::len);
    Tally {
        sent: count(times.len()),
        received: count(answered.len()),
        lost: count(times.len() - answered.len()),
        longest_gap: count(gaps.max().unwrap_or(0)),
        rtt_ms: Percentiles::of(&answered),
        complaint,
    }
}

impl Tally {
    /// One line for a person.
    pub(crate) fn line(&self) -> String {
        let mut text = format!("{} sent, {} lost", self.sent, self.lost);
        if self.lost > 0 {
            text.push_str(&format!(", {} in a row", self.longest_gap));
        }
        if let Some(rtt) = self.rtt_ms {
            text.push_str(&format!(
                ", round trip p50 {:.3} ms, p99 {:.3} ms",
                rtt.p50, rtt.p99
            ));
        }
        if let Some(complaint) = &self.complaint {
            text.push_str(&format!("; cannot send: {complaint}"));
        }
        text
    }
}

/// Between looks for answers.
const STEP: Duration = Duration::from_micros(250);
/// How long the last answers may take.
const STRAGGLERS: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_counted_and_the_longest_gap_is_found() {
        let tally = tally(&[Some(0.1), None, Some(0.3), None, None, Some(0.2)], None);

        assert_eq!(
            (tally.sent, tally.received, tally.lost, tally.longest_gap),
            (6, 3, 3, 2)
        );
        assert_eq!(
            tally.line(),
            "6 sent, 3 lost, 2 in a row, round trip p50 0.200 ms, p99 0.300 ms"
        );
    }

    #[test]
    fn without_loss_there_is_no_gap() {
        assert_eq!(tally(&[Some(0.1)], None).longest_gap, 0);
        assert_eq!(tally(&[], None).line(), "0 sent, 0 lost");
    }
}
