//! Medians, and how sure a paired ratio is.
//!
//! Pure. Called by `compare`. Invariant: the same numbers give the same interval (the bootstrap is
//! seeded).

use serde::Serialize;

use crate::load::schedule::Random;

/// Resamples of a bootstrap.
const RESAMPLES: usize = 10_000;

/// A ratio with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    /// The median of the paired ratios.
    pub(crate) median: f64,
    /// 2.5 % of the resampled medians are below.
    pub(crate) low: f64,
    /// 2.5 % are above.
    pub(crate) high: f64,
    /// Pairs.
    pub(crate) rounds: usize,
}

/// The middle, or the mean of the two middle values.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The value below which `share` of sorted values lie.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (share * (sorted.len() - 1) as f64).round() as usize;
    sorted[at]
}

/// Divides pair by pair and bootstraps the median.
pub(crate) fn ratio(pairs: &[(f64, f64)]) -> Option<Ratio> {
    let ratios: Vec<f64> = pairs
        .iter()
        .filter(|(_, below)| *below > 0.0)
        .map(|(above, below)| above / below)
        .collect();
    let middle = median(&ratios)?;
    let mut random = Random::new(42);
    let mut sample = vec![0.0; ratios.len()];
    let mut medians = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        for value in &mut sample {
            *value = ratios[random.below(ratios.len() as u64) as usize];
        }
        medians.extend(median(&sample));
    }
    medians.sort_by(f64::total_cmp);
    Some(Ratio {
        median: middle,
        low: quantile(&medians, 0.025),
        high: quantile(&medians, 0.975),
        rounds: ratios.len(),
    })
}

/// The least-squares slope of `y` over `x`.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (mean_x, mean_y) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let (mut xy, mut xx) = (0.0, 0.0);
    for (x, y) in points {
        xy += (x - mean_x) * (y - mean_y);
        xx += (x - mean_x) * (x - mean_x);
    }
    if xx == 0.0 { 0.0 } else { xy / xx }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_ratio_that_never_changes_is_certain() {
        let pairs: Vec<_> = (1..=9).map(|n| (f64::from(n), 2.0 * f64::from(n))).collect();
        let found = ratio(&pairs).unwrap();
        assert_eq!(found, Ratio { median: 0.5, low: 0.5, high: 0.5, rounds: 9 });
        assert_eq!(ratio(&[(1.0, 0.0)]), None);
    }

    #[test]
    fn the_interval_holds_the_median_and_covers_the_true_value() {
        // Of 200 experiments on noise whose true median is 1, about 95 % must cover it.
        let mut random = Random::new(9);
        let mut covered = 0;
        for _ in 0..200 {
            let pairs: Vec<_> = (0..15).map(|_| (0.5 + random.unit(), 1.0)).collect();
            let found = ratio_of(&pairs);
            assert!(found.low <= found.median && found.median <= found.high);
            covered += u32::from(found.low <= 1.0 && 1.0 <= found.high);
        }
        assert!((180..=199).contains(&covered), "{covered} of 200");
    }

    fn ratio_of(pairs: &[(f64, f64)]) -> Ratio {
        ratio(pairs).unwrap()
    }

    #[test]
    fn the_slope_of_a_line_is_its_own() {
        let points: Vec<_> = (0..10).map(|n| (f64::from(n), 3.0 * f64::from(n) + 1.0)).collect();
        assert!((slope(&points) - 3.0).abs() < 1e-9);
        assert_eq!(slope(&[(1.0, 5.0)]), 0.0);
    }
}
