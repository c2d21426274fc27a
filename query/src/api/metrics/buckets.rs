//! Distributions of histograms: differences, sums and quantiles.

use std::collections::BTreeMap;

/// The buckets of one histogram point.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Buckets {
    /// `counts` has one entry more than `bounds`.
    Explicit { bounds: Vec<f64>, counts: Vec<u64> },
    /// Bucket `i` holds `base^i < x <= base^(i+1)`, `base = 2^(2^-scale)`.
    Exponential(Exponential),
}

/// An exponential histogram.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Exponential {
    pub(super) scale: i32,
    pub(super) zero: u64,
    pub(super) positive: BTreeMap<i32, u64>,
    pub(super) negative: BTreeMap<i32, u64>,
}

impl Exponential {
    /// The same with a coarser scale: each step joins two neighbours.
    fn coarser(&self, scale: i32) -> Self {
        let by = u32::try_from(i64::from(self.scale) - i64::from(scale)).unwrap_or(0).min(31);
        let join = |buckets: &BTreeMap<i32, u64>| {
            let mut joined = BTreeMap::new();
            for (index, count) in buckets {
                *joined.entry(index >> by).or_default() += count;
            }
            joined
        };
        Self {
            scale: self.scale.min(scale),
            zero: self.zero,
            positive: join(&self.positive),
            negative: join(&self.negative),
        }
    }

    /// The lower bound of bucket `index`.
    fn bound(&self, index: i64) -> f64 {
        (index as f64 * 2f64.powi(-self.scale)).exp2()
    }
}

impl Buckets {
    /// What came on top of `before`. Nothing if the two do not belong together.
    pub(super) fn since(&self, before: &Buckets) -> Option<Buckets> {
        match (self, before) {
            (Self::Explicit { bounds, counts }, Self::Explicit { bounds: old_bounds, counts: old }) => {
                if bounds != old_bounds || counts.len() != old.len() {
                    return None;
                }
                let counts = counts.iter().zip(old).map(|(new, old)| new.checked_sub(*old)).collect::<Option<_>>()?;
                Some(Self::Explicit { bounds: bounds.clone(), counts })
            }
            (Self::Exponential(new), Self::Exponential(old)) => {
                let scale = new.scale.min(old.scale);
                let (mut new, old) = (new.coarser(scale), old.coarser(scale));
                new.zero = new.zero.checked_sub(old.zero)?;
                for (new, old) in [(&mut new.positive, &old.positive), (&mut new.negative, &old.negative)] {
                    for (index, count) in old {
                        let left = new.get(index).copied().unwrap_or(0).checked_sub(*count)?;
                        new.insert(*index, left);
                    }
                }
                Some(Self::Exponential(new))
            }
            _ => None,
        }
    }
}

/// A bucket's ends, comparable: the upper end first.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Interval {
    upper: f64,
    lower: f64,
}

impl Eq for Interval {}

impl Ord for Interval {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.upper.total_cmp(&other.upper).then_with(|| self.lower.total_cmp(&other.lower))
    }
}

impl PartialOrd for Interval {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Many histograms together.
#[derive(Debug, Clone, Default)]
pub(super) struct Distribution {
    counts: BTreeMap<Interval, u64>,
    min: Option<f64>,
    max: Option<f64>,
}

impl Distribution {
    pub(super) fn add(&mut self, buckets: &Buckets, min: Option<f64>, max: Option<f64>) {
        let mut put = |lower: f64, upper: f64, count: u64| {
            if count > 0 && lower <= upper {
                *self.counts.entry(Interval { upper, lower }).or_default() += count;
            }
        };
        match buckets {
            Buckets::Explicit { bounds, counts } => {
                let lowers = std::iter::once(f64::NEG_INFINITY).chain(bounds.iter().copied());
                let uppers = bounds.iter().copied().chain([f64::INFINITY]);
                lowers.zip(uppers).zip(counts).for_each(|((lower, upper), count)| put(lower, upper, *count));
            }
            Buckets::Exponential(exponential) => {
                put(0.0, 0.0, exponential.zero);
                let ends =
                    |index: &i32| (exponential.bound(i64::from(*index)), exponential.bound(i64::from(*index) + 1));
                for (index, count) in &exponential.positive {
                    let (lower, upper) = ends(index);
                    put(lower, upper, *count);
                }
                for (index, count) in &exponential.negative {
                    let (lower, upper) = ends(index);
                    put(-upper, -lower, *count);
                }
            }
        }
        self.min = min.into_iter().chain(self.min).reduce(f64::min);
        self.max = max.into_iter().chain(self.max).reduce(f64::max);
    }

    /// The value below which the share `q` of all observations lies, as exactly as the buckets
    /// tell: observations are taken as evenly spread over their bucket.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let total: u64 = self.counts.values().sum();
        if total == 0 {
            return None;
        }
        let rank = q * total as f64;
        let mut below = 0.0;
        let mut value = None;
        for (Interval { upper, lower }, count) in &self.counts {
            let share = ((rank - below) / *count as f64).clamp(0.0, 1.0);
            below += *count as f64;
            // Without a bound, the smallest and largest observation stand in, or the other end.
            let upper_end = if upper.is_finite() { *upper } else { self.max.unwrap_or(*lower).max(*lower) };
            let lower_end = match lower.is_finite() {
                true => *lower,
                false => self.min.unwrap_or(upper_end.min(0.0)).min(upper_end),
            };
            value = Some(lower_end + (upper_end - lower_end) * share);
            if below >= rank {
                break;
            }
        }
        let value = value.filter(|v| v.is_finite())?;
        Some(value.max(self.min.unwrap_or(value)).min(self.max.unwrap_or(value)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn explicit(counts: &[u64]) -> Buckets {
        Buckets::Explicit { bounds: vec![10.0, 20.0, 40.0], counts: counts.to_vec() }
    }

    #[test]
    fn quantiles_of_explicit_buckets() {
        let mut all = Distribution::default();
        assert_eq!(all.quantile(0.5), None);
        all.add(&explicit(&[2, 4, 2, 0]), None, None);
        all.add(&explicit(&[0, 4, 0, 0]), None, None);
        assert_eq!(all.quantile(0.5), Some(15.0));
        assert_eq!(all.quantile(1.0), Some(40.0));
        all.add(&explicit(&[0, 0, 0, 12]), Some(1.0), Some(99.0));
        assert_eq!(all.quantile(1.0), Some(99.0));
        assert!(all.quantile(0.99).unwrap() > 90.0);
    }

    #[test]
    fn quantiles_of_exponential_buckets() {
        let mut exponential = Exponential { scale: 3, zero: 1, ..Exponential::default() };
        let base = 2f64.powf(0.125);
        let index = (100f64.ln() / base.ln()).ceil() as i32 - 1;
        exponential.positive.insert(index, 98);
        exponential.negative.insert(index, 1);
        let mut all = Distribution::default();
        all.add(&Buckets::Exponential(exponential), None, None);
        let median = all.quantile(0.5).unwrap();
        assert!((91.0..110.0).contains(&median), "{median}");
        assert!(all.quantile(0.0).unwrap() < -90.0);
    }

    #[test]
    fn differences() {
        assert_eq!(explicit(&[2, 4, 2, 1]).since(&explicit(&[1, 4, 0, 0])), Some(explicit(&[1, 0, 2, 1])));
        assert_eq!(explicit(&[0, 4, 0, 0]).since(&explicit(&[1, 4, 0, 0])), None);
        let fine = Exponential { scale: 1, positive: [(4, 1), (5, 2)].into(), ..Exponential::default() };
        let coarse = Exponential { scale: 0, positive: [(2, 5), (3, 1)].into(), ..Exponential::default() };
        let since = Buckets::Exponential(coarse).since(&Buckets::Exponential(fine)).unwrap();
        let left = Exponential { scale: 0, positive: [(2, 2), (3, 1)].into(), ..Exponential::default() };
        assert_eq!(since, Buckets::Exponential(left));
    }
}
