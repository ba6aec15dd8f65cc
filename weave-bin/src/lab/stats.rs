//! Order statistics of small samples.

use serde::{Deserialize, Serialize};

/// The middle and the tail of a sample, in the unit of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    /// Half of the sample is not above it.
    pub(crate) p50: f64,
    /// All but one in a hundred of the sample are not above it.
    pub(crate) p99: f64,
}

impl Percentiles {
    /// Of `sample`; `None` when it is empty.
    pub(crate) fn of(sample: &[f64]) -> Option<Self> {
        let mut sorted = sample.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            p50: nearest_rank(&sorted, 50)?,
            p99: nearest_rank(&sorted, 99)?,
        })
    }
}

/// The middle of `sample` by nearest rank; `None` when it is empty.
pub(crate) fn median(sample: &[f64]) -> Option<f64> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    nearest_rank(&sorted, 50)
}

/// The smallest value that at least `percent` % of the ascending `sorted` are not above.
fn nearest_rank(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_sample_has_no_middle() {
        assert_eq!(Percentiles::of(&[]), None);
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn ranks_count_from_the_smallest_value() {
        let sample: Vec<f64> = (1..=200).rev().map(f64::from).collect();

        assert_eq!(
            Percentiles::of(&sample),
            Some(Percentiles {
                p50: 100.0,
                p99: 198.0
            })
        );
        assert_eq!(
            Percentiles::of(&[7.0]),
            Some(Percentiles { p50: 7.0, p99: 7.0 })
        );
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    }
}
