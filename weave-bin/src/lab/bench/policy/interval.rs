//! How far the median of some samples can be from that of all samples there could be.
//!
//! Invariant: nothing is assumed about how samples are spread, only that they come one by one from
//! the same source: the bounds are samples, found by their rank.

use serde::Serialize;

use crate::lab::bench::stats::median;

/// A median with the bounds that hold it in 95 of 100 measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Interval {
    /// The median.
    pub(super) middle: f64,
    /// The lower bound.
    pub(super) low: f64,
    /// The upper bound.
    pub(super) high: f64,
}

impl Interval {
    /// Of these samples; nothing if there are none or one is not a number.
    ///
    /// How many of `n` samples lie below the true median is binomial with the mean `n/2` and the
    /// deviation `√n/2`, of which 1.96 hold 95 of 100.
    pub(super) fn of(samples: &[f64]) -> Option<Self> {
        let middle = median(samples)?;
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        // 0.98 √n, rounded up.
        let reach = (count * 9604).isqrt() / 100 + 1;
        let first = (count / 2).saturating_sub(reach + 1);
        Some(Self {
            middle,
            low: sorted[first],
            high: sorted[count - 1 - first],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_samples_found_by_rank() {
        let samples: Vec<f64> = (1..=100).map(f64::from).collect();

        let interval = Interval::of(&samples).unwrap();

        // Tables of the binomial distribution give the ranks 40 and 61.
        assert_eq!((interval.low, interval.high), (40.0, 61.0));
        assert_eq!(interval.middle, 50.5);
    }

    #[test]
    fn few_samples_bound_by_the_extremes() {
        let interval = Interval::of(&[3.0, 1.0, 2.0]).unwrap();

        assert_eq!(
            (interval.low, interval.middle, interval.high),
            (1.0, 2.0, 3.0)
        );
        assert_eq!(Interval::of(&[]), None);
        assert_eq!(Interval::of(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn more_samples_bound_closer() {
        let drawn =
            |count: u32| -> Vec<f64> { (0..count).map(|n| f64::from(n * 7919 % 1000)).collect() };
        let width = |count| {
            let interval = Interval::of(&drawn(count)).unwrap();
            interval.high - interval.low
        };

        assert!(
            width(1000) * 2.0 < width(100),
            "{} {}",
            width(1000),
            width(100)
        );
    }
}
