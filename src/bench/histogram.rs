//! Counts durations in buckets whose width grows with them: within 3.2 % at any size.

use std::time::Duration;

use serde::Serialize;

/// Buckets for each doubling, as a power of two.
const BITS: u32 = 5;
/// Below this many microseconds each has a bucket of its own.
const EXACT: u64 = 1 << (BITS + 1);
/// The largest exponent: durations are cut at some 19 hours.
const LARGEST: u32 = 36;

/// A histogram of durations.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

/// What is reported of a histogram, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Latencies {
    /// Half were quicker.
    pub(crate) p50_ms: f64,
    /// 99 of 100 were quicker.
    pub(crate) p99_ms: f64,
    /// 999 of 1,000 were quicker.
    pub(crate) p999_ms: f64,
    /// The slowest.
    pub(crate) max_ms: f64,
}

impl Histogram {
    /// An empty histogram.
    pub(crate) fn new() -> Histogram {
        let buckets = EXACT as usize + ((LARGEST - BITS) as usize + 1) * (1 << BITS);
        Histogram { counts: vec![0; buckets], total: 0, max: 0 }
    }

    /// Counts one duration.
    pub(crate) fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min((1 << LARGEST) - 1);
        if let Some(count) = self.counts.get_mut(bucket(micros)) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(micros);
    }

    /// Adds what another one counted.
    pub(crate) fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    /// Microseconds that a share of `q` does not exceed.
    pub(crate) fn quantile(&self, q: f64) -> u64 {
        let wanted = ((self.total as f64 * q).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (i, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(i).min(self.max);
            }
        }
        self.max
    }

    /// The figures to report; none when nothing was counted.
    pub(crate) fn latencies(&self) -> Option<Latencies> {
        let ms = |micros: u64| micros as f64 / 1e3;
        (self.total > 0).then(|| Latencies {
            p50_ms: ms(self.quantile(0.5)),
            p99_ms: ms(self.quantile(0.99)),
            p999_ms: ms(self.quantile(0.999)),
            max_ms: ms(self.max),
        })
    }
}

fn bucket(micros: u64) -> usize {
    if micros < EXACT {
        return micros as usize;
    }
    let exponent = 63 - micros.leading_zeros();
    let within = (micros >> (exponent - BITS)) & ((1 << BITS) - 1);
    (EXACT + (u64::from(exponent - BITS - 1) << BITS) + within) as usize
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < EXACT {
        return bucket;
    }
    let exponent = ((bucket - EXACT) >> BITS) as u32 + BITS + 1;
    let within = (bucket - EXACT) & ((1 << BITS) - 1);
    (1 << exponent) + ((within + 1) << (exponent - BITS)) - 1
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_value_is_in_a_bucket_that_is_close_to_it() {
        for value in (0..200).chain((8..LARGEST).flat_map(|e| [(1 << e) - 1, 1 << e, (1 << e) + (1 << (e - 2))])) {
            let upper = upper(bucket(value));
            assert!(upper >= value && (upper - value) as f64 <= value as f64 * 0.032, "{value} in {upper}");
            assert!(value == 0 || bucket(value - 1) <= bucket(value));
        }
    }

    #[test]
    fn quantiles() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.latencies(), None);
        for ms in 1..=1000 {
            histogram.record(Duration::from_millis(ms));
        }
        let mut both = Histogram::new();
        both.merge(&histogram);
        let latencies = both.latencies().unwrap();
        assert!((latencies.p50_ms - 500.0).abs() < 17.0, "{latencies:?}");
        assert!((latencies.p99_ms - 990.0).abs() < 33.0, "{latencies:?}");
        assert_eq!(latencies.max_ms, 1000.0);
        both.record(Duration::MAX);
        assert!(both.quantile(1.0) > 1 << 35);
    }
}
