//! What many noisy samples say together: medians, percentiles, ratios.
//!
//! Invariant: nothing here looks at one path alone across time. A machine slows down and speeds up
//! while a benchmark runs, so two paths are compared within each round, where their samples lie
//! next to each other, and the ratio reported is the median of those per-round ratios. Everything
//! is a pure function; an empty or unusable input gives `None`, never a made-up number.

/// The middle of some samples and the quartiles around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    /// A quarter of the samples are at or below this.
    pub(crate) low: f64,
    /// Half of the samples are at or below this.
    pub(crate) middle: f64,
    /// Three quarters of the samples are at or below this.
    pub(crate) high: f64,
}

/// The median of `samples`: the mean of the two in the middle when their number is even.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    quantile(samples, 1, 2)
}

/// Quartiles of `samples`.
pub(crate) fn spread(samples: &[f64]) -> Option<Spread> {
    Some(Spread {
        low: quantile(samples, 1, 4)?,
        middle: quantile(samples, 1, 2)?,
        high: quantile(samples, 3, 4)?,
    })
}

/// Quartiles of `ours[i] / theirs[i]` over all rounds `i`.
///
/// `None` when the two differ in length or a sample of `theirs` is not above zero.
pub(crate) fn paired_ratio(ours: &[f64], theirs: &[f64]) -> Option<Spread> {
    if ours.len() != theirs.len() || theirs.iter().any(|sample| *sample <= 0.0) {
        return None;
    }
    let ratios: Vec<f64> = ours
        .iter()
        .zip(theirs)
        .map(|(ours, theirs)| ours / theirs)
        .collect();
    spread(&ratios)
}

/// The median of `ours[i] - theirs[i]` over all rounds `i`; `None` when they differ in length.
pub(crate) fn paired_difference(ours: &[f64], theirs: &[f64]) -> Option<f64> {
    if ours.len() != theirs.len() {
        return None;
    }
    let differences: Vec<f64> = ours
        .iter()
        .zip(theirs)
        .map(|(ours, theirs)| ours - theirs)
        .collect();
    median(&differences)
}

/// The value that `numerator / denominator` of all samples do not exceed, linear between two
/// neighbours (the "type 7" estimate most statistics programs use).
///
/// `None` when there is no sample, one is not a number, or the fraction is not within 0 and 1.
pub(crate) fn quantile(samples: &[f64], numerator: usize, denominator: usize) -> Option<f64> {
    if samples.is_empty() || numerator > denominator || denominator == 0 {
        return None;
    }
    if samples.iter().any(|sample| sample.is_nan()) {
        return None;
    }
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let scaled = (sorted.len() - 1) * numerator;
    let below = scaled / denominator;
    let above = scaled.div_ceil(denominator);
    let rest = u32::try_from(scaled % denominator).ok()?;
    let weight = f64::from(rest) / f64::from(u32::try_from(denominator).ok()?);
    Some(sorted[below] + (sorted[above] - sorted[below]) * weight)
}

/// The smallest of `times` that at least `percent` of 100 do not exceed; reorders them.
///
/// `None` when there are none, or `percent` is not from 1 to 100.
pub(crate) fn nearest_rank(times: &mut [u32], percent: usize) -> Option<u32> {
    let rank = (times.len() * percent).div_ceil(100).checked_sub(1)?;
    if rank >= times.len() {
        return None;
    }
    let (_, time, _) = times.select_nth_unstable(rank);
    Some(*time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_number_is_the_one_in_the_middle() {
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
    }

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_two() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), Some(3.0));
    }

    #[test]
    fn nothing_measured_gives_nothing() {
        assert_eq!(median(&[]), None);
        assert_eq!(spread(&[]), None);
        assert_eq!(paired_ratio(&[], &[]), None);
        assert_eq!(paired_difference(&[], &[]), None);
        assert_eq!(quantile(&[1.0], 1, 0), None);
        assert_eq!(quantile(&[1.0], 3, 2), None);
        assert_eq!(quantile(&[1.0, f64::NAN], 1, 2), None);
    }

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        let samples: Vec<f64> = (0..=100).map(f64::from).collect();

        assert_eq!(quantile(&samples, 99, 100), Some(99.0));
        assert_eq!(quantile(&samples, 0, 1), Some(0.0));
        assert_eq!(quantile(&samples, 1, 1), Some(100.0));
        assert_eq!(quantile(&[1.0, 2.0], 1, 4), Some(1.25));
    }

    #[test]
    fn one_sample_is_its_own_spread() {
        assert_eq!(
            spread(&[7.0]),
            Some(Spread {
                low: 7.0,
                middle: 7.0,
                high: 7.0
            })
        );
    }

    #[test]
    fn a_ratio_within_rounds_ignores_a_machine_that_slows_down() {
        // Each round both paths lose half of their speed; ours has 9/10 of theirs throughout.
        let theirs = [16.0, 8.0, 4.0, 2.0];
        let ours: Vec<f64> = theirs.iter().map(|sample| sample * 0.9).collect();

        let ratio = paired_ratio(&ours, &theirs).unwrap();

        assert!((ratio.middle - 0.9).abs() < 1e-12);
        assert!((ratio.high - ratio.low).abs() < 1e-12);
    }

    #[test]
    fn one_disturbed_round_does_not_move_the_ratio() {
        let ratio = paired_ratio(&[1.0, 1.0, 0.01, 1.0, 1.0], &[1.0; 5]).unwrap();

        assert_eq!(ratio.middle, 1.0);
    }

    #[test]
    fn a_ratio_to_nothing_is_no_ratio() {
        assert_eq!(paired_ratio(&[1.0, 1.0], &[1.0, 0.0]), None);
        assert_eq!(paired_ratio(&[1.0], &[1.0, 1.0]), None);
    }

    #[test]
    fn added_time_is_the_median_of_differences() {
        assert_eq!(
            paired_difference(&[12.0, 22.0, 99.0], &[10.0, 20.0, 30.0]),
            Some(2.0)
        );
        assert_eq!(paired_difference(&[1.0], &[1.0, 2.0]), None);
    }

    #[test]
    fn percentiles_are_samples_that_occurred() {
        let mut times: Vec<u32> = (1..=200).rev().collect();

        assert_eq!(nearest_rank(&mut times, 50), Some(100));
        assert_eq!(nearest_rank(&mut times, 99), Some(198));
        assert_eq!(nearest_rank(&mut times, 100), Some(200));
        assert_eq!(nearest_rank(&mut times, 0), None);
        assert_eq!(nearest_rank(&mut times, 101), None);
        assert_eq!(nearest_rank(&mut [5], 99), Some(5));
        assert_eq!(nearest_rank(&mut [], 50), None);
    }
}
