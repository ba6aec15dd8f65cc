//! What TCP makes of a network that loses packets: delay.
//!
//! A chunk is cut into segments of [`SEGMENT`] bytes, each lost with the same probability. As long
//! as at least three segments arrive after a lost one, their acknowledgements tell the sender,
//! which sends again after one round trip. Otherwise it waits for its retransmission timer, 200 ms
//! and twice as long each time, as Linux does. Bytes arrive in order, so a chunk arrives when all
//! of its segments and all earlier chunks have. Congestion windows are not modelled: gossip comes
//! in bursts with long pauses, in which a window recovers.

use std::time::Duration;

use super::Settings;
use crate::random::Random;

/// The time from sending `bytes` in one go until the last of them is there.
pub(super) fn transfer(settings: &Settings, bytes: usize, random: &mut Random) -> Duration {
    let segments = bytes.div_ceil(SEGMENT).max(1);
    let mut delay = one_way(settings, random);
    let mut timer = RETRANSMISSION;
    let mut in_flight = segments;
    let mut lost = draw(in_flight, settings.loss, random);
    while lost > 0 {
        let is_noticed = in_flight - lost >= FAST_RETRANSMIT;
        if is_noticed {
            delay += 2 * settings.latency;
        } else {
            delay += timer;
            timer = (2 * timer).min(MAX_RETRANSMISSION);
        }
        in_flight = lost;
        lost = draw(in_flight, settings.loss, random);
    }
    delay
}

/// The time from a connection request until the other side has it: one way, or one, three, seven …
/// seconds more if requests get lost.
pub(super) fn request(settings: &Settings, random: &mut Random) -> Duration {
    let mut delay = one_way(settings, random);
    let mut timer = REQUEST_TIMER;
    while draw(1, settings.loss, random) > 0 {
        delay += timer;
        timer *= 2;
    }
    delay
}

/// The time one packet takes.
pub(super) fn one_way(settings: &Settings, random: &mut Random) -> Duration {
    let tenth = u64::try_from((settings.latency / 10).as_nanos()).unwrap_or(u64::MAX);
    let spread = Duration::from_nanos(random.below(tenth.saturating_mul(2)));
    settings.latency - settings.latency / 10 + spread
}

/// How many of `count` are lost.
fn draw(count: usize, loss: f64, random: &mut Random) -> usize {
    if loss <= 0.0 {
        return 0;
    }
    (0..count).filter(|_| is_hit(loss, random)).count()
}

/// True with the given probability.
pub(super) fn is_hit(probability: f64, random: &mut Random) -> bool {
    let bits = u32::try_from(random.next_u64() >> 32).unwrap_or(u32::MAX);
    f64::from(bits) < probability * (f64::from(u32::MAX) + 1.0)
}

/// Bytes of one segment: an Ethernet frame without the headers of IP and TCP.
const SEGMENT: usize = 1448;
/// Acknowledgements of later segments that show a loss (RFC 5681, section 3.2).
const FAST_RETRANSMIT: usize = 3;
/// First retransmission timer (Linux `TCP_RTO_MIN`).
const RETRANSMISSION: Duration = Duration::from_millis(200);
/// Longest retransmission timer (Linux `TCP_RTO_MAX`).
const MAX_RETRANSMISSION: Duration = Duration::from_secs(120);
/// First timer of a connection request (RFC 6298, section 2.1).
const REQUEST_TIMER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn times(bytes: usize, loss: f64) -> Vec<Duration> {
        let settings = Settings::default().loss(loss);
        let mut random = Random::new(1);
        let mut times: Vec<_> = (0..2000)
            .map(|_| transfer(&settings, bytes, &mut random))
            .collect();
        times.sort_unstable();
        times
    }

    #[test]
    fn without_loss_a_chunk_takes_the_latency() {
        let times = times(1 << 20, 0.0);

        assert!(times[0] >= Duration::from_micros(4500));
        assert!(times[1999] <= Duration::from_micros(5500));
    }

    #[test]
    fn a_lost_single_segment_waits_for_the_timer() {
        let times = times(100, 0.05);

        let late = times.iter().filter(|time| time.as_millis() >= 200).count();
        assert!((50..150).contains(&late), "{late} of 2000 at 5 %");
        assert!(times[1700] < Duration::from_millis(6));
    }

    #[test]
    fn a_lost_segment_of_many_costs_a_round_trip_first() {
        let times = times(100 * SEGMENT, 0.05);

        assert!(times[1000] >= Duration::from_millis(14), "most lose one");
        assert!(times[200] < Duration::from_millis(200));
    }
}
