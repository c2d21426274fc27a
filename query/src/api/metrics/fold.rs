//! Folds data points into series with one value a step.
//!
//! Takes the points ordered by series and time. Cumulative points become increments: the
//! difference to the point before, or the whole value after a reset (a new start time, or a
//! value that fell). The first point of a series counts only if its start time is known to
//! lie within the time that was read; else nobody knows when its value came about.

use std::collections::BTreeMap;

use super::buckets::{Buckets, Distribution};

/// How the points of a step become one value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Agg {
    /// Mean of the points; of histograms, mean of the observations.
    Avg,
    /// Total: of counters and histograms the increase, of gauges the sum over the series.
    Sum,
    /// Smallest.
    Min,
    /// Largest.
    Max,
    /// Number of points; of histograms and summaries, number of observations.
    Count,
    /// Increase a second; of histograms, observations a second.
    Rate,
    /// A quantile, from 0 to 1.
    Quantile(f64),
}

/// What the value of a point means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A level: gauges, and totals that rise and fall.
    Level,
    /// What came since the point before.
    Increment,
    /// What came since the start time.
    Total,
}

/// One data point.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    pub(super) series: [u8; 8],
    pub(super) time: i64,
    pub(super) start_time: Option<i64>,
    pub(super) meaning: Meaning,
    pub(super) labels: Vec<Option<String>>,
    pub(super) data: Data,
}

/// The value of a point.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Data {
    Number(f64),
    /// Histograms and summaries.
    Distribution {
        count: u64,
        sum: Option<f64>,
        min: Option<f64>,
        max: Option<f64>,
        buckets: Option<Buckets>,
        /// Of summaries.
        quantiles: Vec<(f64, f64)>,
    },
}

/// The steps that are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) step: i64,
    /// Points from then on are read, for the differences.
    pub(super) read_from: i64,
}

/// A series of the answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) labels: Vec<Option<String>>,
    /// Start of the step, value.
    pub(super) points: Vec<(i64, f64)>,
}

/// Folds points; see the module.
#[derive(Debug)]
pub(super) struct Fold {
    steps: Steps,
    agg: Agg,
    groups_max: usize,
    groups: BTreeMap<Vec<Option<String>>, BTreeMap<i64, Cell>>,
    before: Option<Point>,
    /// Groups that did not fit.
    pub(super) left_out: bool,
    /// Whether there were levels among the points.
    pub(super) levels: bool,
    /// Whether there were numbers among the points.
    pub(super) numbers: bool,
}

impl Fold {
    pub(super) fn new(steps: Steps, agg: Agg, groups_max: usize) -> Self {
        Self {
            steps,
            agg,
            groups_max,
            groups: BTreeMap::new(),
            before: None,
            left_out: false,
            levels: false,
            numbers: false,
        }
    }

    /// Takes the next point.
    pub(super) fn push(&mut self, point: Point) {
        self.levels |= point.meaning == Meaning::Level;
        self.numbers |= matches!(point.data, Data::Number(_));
        let before = self.before.take().filter(|before| before.series == point.series);
        // The same point, sent twice, adds nothing to a total; an increment that is sent twice is the sender's word.
        let data = match point.meaning {
            Meaning::Total => increase(&point, before.as_ref(), self.steps.read_from)
                .or_else(|| quantiles(&point).filter(|_| matches!(self.agg, Agg::Quantile(_)))),
            Meaning::Level | Meaning::Increment => Some(point.data.clone()),
        };
        if let Some(data) = data.filter(|_| (self.steps.start..self.steps.end).contains(&point.time)) {
            let step = (point.time - self.steps.start) / self.steps.step;
            if self.groups.len() < self.groups_max || self.groups.contains_key(&point.labels) {
                let cells = self.groups.entry(point.labels.clone()).or_default();
                cells.entry(step).or_default().add(&point, &data);
            } else {
                self.left_out = true;
            }
        }
        self.before = Some(point);
    }

    /// The series, by labels.
    pub(super) fn finish(self) -> Vec<Series> {
        let Self { steps, agg, groups, .. } = self;
        let seconds = steps.step as f64 / 1e9;
        let series = groups.into_iter().map(|(labels, cells)| {
            let points = cells
                .into_iter()
                .filter_map(|(step, cell)| Some((steps.start + step * steps.step, cell.value(agg, seconds)?)));
            Series { labels, points: points.collect() }
        });
        series.filter(|series| !series.points.is_empty()).collect()
    }
}

/// What came with a cumulative point.
fn increase(point: &Point, before: Option<&Point>, read_from: i64) -> Option<Data> {
    let Some(before) = before else {
        // A counter that began within the time that was read began at zero.
        return point.start_time.filter(|start| *start >= read_from && *start > 0).map(|_| point.data.clone());
    };
    if point.start_time.is_some_and(|start| start >= before.time && before.time < point.time) {
        return Some(point.data.clone());
    }
    match (&point.data, &before.data) {
        (Data::Number(new), Data::Number(old)) if new >= old => Some(Data::Number(new - old)),
        (
            Data::Distribution { count, sum, min, max, buckets, quantiles },
            Data::Distribution { count: old, sum: old_sum, buckets: old_buckets, .. },
        ) if count >= old => {
            let buckets = match (buckets, old_buckets) {
                (Some(new), Some(old)) => Some(new.since(old).unwrap_or_else(|| new.clone())),
                _ => None,
            };
            let sum = sum.zip(*old_sum).map(|(new, old)| new - old);
            Some(Data::Distribution {
                count: count - old,
                sum,
                min: *min,
                max: *max,
                buckets,
                quantiles: quantiles.clone(),
            })
        }
        // It fell: it began anew.
        _ => Some(point.data.clone()),
    }
}

/// The quantiles of a summary: they are no totals, so nothing need be known of what was before.
fn quantiles(point: &Point) -> Option<Data> {
    match &point.data {
        Data::Distribution { quantiles, .. } if !quantiles.is_empty() => Some(Data::Distribution {
            count: 0,
            sum: None,
            min: None,
            max: None,
            buckets: None,
            quantiles: quantiles.clone(),
        }),
        _ => None,
    }
}

/// What is known of one step of one group.
#[derive(Debug, Default)]
struct Cell {
    points: u64,
    /// Observations, of histograms and summaries.
    observed: u64,
    is_distribution: bool,
    total: f64,
    has_total: bool,
    min: Option<f64>,
    max: Option<f64>,
    distribution: Distribution,
    quantiles: Vec<(f64, f64)>,
    /// Of levels: total and number of each series' points.
    levels: BTreeMap<[u8; 8], (f64, u64)>,
}

impl Cell {
    fn add(&mut self, point: &Point, data: &Data) {
        self.points += 1;
        match data {
            Data::Number(value) => {
                self.total += value;
                self.has_total = true;
                self.min = self.min.into_iter().chain([*value]).reduce(f64::min);
                self.max = self.max.into_iter().chain([*value]).reduce(f64::max);
                if point.meaning == Meaning::Level {
                    let level = self.levels.entry(point.series).or_default();
                    *level = (level.0 + value, level.1 + 1);
                }
            }
            Data::Distribution { count, sum, min, max, buckets, quantiles } => {
                self.is_distribution = true;
                self.observed += count;
                if let Some(sum) = sum {
                    self.total += sum;
                    self.has_total = true;
                }
                self.min = self.min.into_iter().chain(*min).reduce(f64::min);
                self.max = self.max.into_iter().chain(*max).reduce(f64::max);
                if let Some(buckets) = buckets {
                    self.distribution.add(buckets, *min, *max);
                }
                self.quantiles.extend(quantiles);
            }
        }
    }

    fn value(&self, agg: Agg, seconds: f64) -> Option<f64> {
        match agg {
            Agg::Count => Some(if self.is_distribution { self.observed } else { self.points } as f64),
            Agg::Rate if self.is_distribution => Some(self.observed as f64 / seconds),
            Agg::Rate => self.has_total.then(|| self.total / seconds),
            Agg::Sum if !self.levels.is_empty() => {
                Some(self.levels.values().map(|(total, points)| total / *points as f64).sum())
            }
            Agg::Sum => self.has_total.then_some(self.total),
            Agg::Avg if self.is_distribution => {
                (self.has_total && self.observed > 0).then(|| self.total / self.observed as f64)
            }
            Agg::Avg => self.has_total.then(|| self.total / self.points as f64),
            Agg::Min => self.min,
            Agg::Max => self.max,
            Agg::Quantile(q) => self.distribution.quantile(q).or_else(|| {
                // Quantiles of summaries cannot be joined: their mean is the best there is.
                let same: Vec<f64> =
                    self.quantiles.iter().filter(|(of, _)| (of - q).abs() < 1e-9).map(|(_, value)| *value).collect();
                (!same.is_empty()).then(|| same.iter().sum::<f64>() / same.len() as f64)
            }),
        }
    }
}

#[cfg(test)]
mod tests;
