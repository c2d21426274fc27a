//! Plays the shop: takes its steps and sends what they say, live or as fast as it goes.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _};
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::export::{Exporters, persistently};
use super::meters::Meters;
use super::platform;
use super::station::{Record, Station};
use super::words::{Flush, MS, Nanos};

/// Environments whose providers are kept; others are made again when they speak again.
const STATIONS: usize = 256;

/// Exports that may be under way at once.
const AT_ONCE: usize = 32;

/// What was sent, and what the server did not take.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Exports that were answered with success.
    pub(crate) exports: AtomicU64,
    /// Spans in them.
    pub(crate) spans: AtomicU64,
    /// Log records in them.
    pub(crate) logs: AtomicU64,
    /// Exports of metrics in them.
    pub(crate) metrics: AtomicU64,
    /// Exports that were given up.
    pub(crate) failed: AtomicU64,
    /// Spans, records and exports of metrics in them.
    pub(crate) lost: AtomicU64,
    /// What the first refusal said.
    pub(crate) first_error: Mutex<Option<String>>,
}

/// Sends flushes.
#[derive(Debug)]
pub(crate) struct Player {
    exporters: Exporters,
    live: Option<Arc<MetricExporter>>,
    stations: HashMap<u64, Actor>,
    clock: u64,
    permits: Arc<Semaphore>,
    tasks: JoinSet<()>,
    totals: Arc<Totals>,
}

/// The providers of one environment.
#[derive(Debug)]
struct Actor {
    function: Station,
    platform: Option<Station>,
    meters: Option<Arc<Meters>>,
    used: u64,
}

impl Player {
    /// A player that sends to `exporters`, each flush at its time when `live`, else at once.
    pub(crate) fn new(exporters: Exporters, live: bool) -> anyhow::Result<Player> {
        let live = if live { Some(Arc::new(exporters.metrics()?)) } else { None };
        Ok(Player {
            exporters,
            live,
            stations: HashMap::new(),
            clock: 0,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            tasks: JoinSet::new(),
            totals: Arc::default(),
        })
    }

    /// Hands one flush to the SDK and sends it: now or, when live, at its time.
    pub(crate) async fn play(&mut self, flush: Flush) -> anyhow::Result<()> {
        // Live, what waits for its time holds no permit: only what is being sent does.
        let permit = if self.live.is_none() {
            Some(Arc::clone(&self.permits).acquire_owned().await.context("wait for an export")?)
        } else {
            None
        };
        let parcel = self.pack(flush)?;
        let (totals, permits) = (Arc::clone(&self.totals), Arc::clone(&self.permits));
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(async move {
            let _permit = match permit {
                Some(permit) => Some(permit),
                None => wait(parcel.at, permits).await,
            };
            parcel.send(&totals).await;
        });
        Ok(())
    }

    /// Waits until all is sent.
    pub(crate) async fn finish(&mut self) -> Arc<Totals> {
        while self.tasks.join_next().await.is_some() {}
        // Providers join threads when they go: not here, where others wait for this thread.
        let stations = std::mem::take(&mut self.stations);
        drop(tokio::task::spawn_blocking(move || drop(stations)).await);
        Arc::clone(&self.totals)
    }

    fn pack(&mut self, flush: Flush) -> anyhow::Result<Parcel> {
        let Flush { environment, at, spans, platform_spans, logs, platform_logs, measures, measured_from } = flush;
        let id = environment.id;
        if !self.stations.contains_key(&id) {
            self.make_room();
            let function = Station::new(&environment.resource, &self.exporters)?;
            self.stations.insert(id, Actor { function, platform: None, meters: None, used: 0 });
        }
        self.clock += 1;
        let actor = self.stations.get_mut(&id).context("find the environment just made")?;
        actor.used = self.clock;
        let mut parcel =
            Parcel { at, spans: Vec::new(), logs: Vec::new(), metrics: None, exporters: self.exporters.clone() };
        parcel.add_spans(&actor.function, spans);
        parcel.add_logs(&actor.function, "shop", logs);
        if !platform_logs.is_empty() || !platform_spans.is_empty() {
            if actor.platform.is_none() {
                actor.platform = Some(Station::new(&environment.platform_resource, &self.exporters)?);
            }
            if let Some(station) = &actor.platform {
                parcel.add_spans(station, platform_spans);
                parcel.add_logs(station, platform::SCOPE.0, platform_logs);
            }
        }
        if !measures.is_empty() {
            let live = self.live.as_ref().map(|exporter| (Arc::clone(exporter), Handle::current()));
            let meters = actor.meters.get_or_insert_with(|| Arc::new(Meters::new(&environment.resource, live)));
            parcel.metrics = Some((Arc::clone(meters), measures, measured_from, at));
        }
        Ok(parcel)
    }

    /// Forgets the half of the environments that were quiet longest, when there are many.
    fn make_room(&mut self) {
        if self.stations.len() < STATIONS {
            return;
        }
        let mut used: Vec<u64> = self.stations.values().map(|s| s.used).collect();
        used.sort_unstable();
        let median = used.get(used.len() / 2).copied().unwrap_or(0);
        let (quiet, kept) = std::mem::take(&mut self.stations).into_iter().partition(|(_, s)| s.used < median);
        self.stations = kept;
        let quiet: HashMap<u64, Actor> = quiet;
        self.tasks.spawn(async move { drop(tokio::task::spawn_blocking(move || drop(quiet)).await) });
    }
}

/// What one flush sends: an export for each signal and resource.
#[derive(Debug)]
struct Parcel {
    at: Nanos,
    spans: Vec<(Arc<opentelemetry_otlp::SpanExporter>, Vec<SpanData>)>,
    logs: Vec<(Arc<opentelemetry_otlp::LogExporter>, Vec<Record>)>,
    metrics: Option<(Arc<Meters>, Vec<super::words::Measure>, Nanos, Nanos)>,
    exporters: Exporters,
}

impl Parcel {
    fn add_spans(&mut self, station: &Station, spans: Vec<super::words::Span>) {
        if !spans.is_empty() {
            self.spans.push((Arc::clone(&station.span_exporter), station.spans(spans)));
        }
    }

    fn add_logs(&mut self, station: &Station, scope: &'static str, logs: Vec<super::words::Log>) {
        if !logs.is_empty() {
            self.logs.push((Arc::clone(&station.log_exporter), station.records(scope, logs)));
        }
    }

    async fn send(self, totals: &Totals) {
        for (exporter, spans) in self.spans {
            let count = spans.len() as u64;
            totals.count(&totals.spans, count, text(persistently(|| exporter.export(spans.clone())).await));
        }
        for (exporter, records) in self.logs {
            let count = records.len() as u64;
            let batch: Vec<_> = records.iter().map(|(record, scope)| (record, scope)).collect();
            totals.count(&totals.logs, count, text(persistently(|| exporter.export(LogBatch::new(&batch))).await));
        }
        if let Some((meters, measures, from, to)) = self.metrics {
            let recorded = tokio::task::spawn_blocking(move || meters.flush(&measures, from, to)).await;
            let sent = match recorded {
                Ok(Ok(request)) if request.is_empty() => Ok(()),
                Ok(Ok(request)) => self.exporters.metrics_bytes(request).await.map_err(|e| e.to_string()),
                Ok(Err(error)) => Err(error),
                Err(error) => Err(error.to_string()),
            };
            totals.count(&totals.metrics, 1, sent);
        }
    }
}

fn text(result: OTelSdkResult) -> Result<(), String> {
    result.map_err(|e| e.to_string())
}

impl Totals {
    fn count(&self, sent: &AtomicU64, items: u64, result: Result<(), String>) {
        match result {
            Ok(()) => {
                self.exports.fetch_add(1, Ordering::Relaxed);
                sent.fetch_add(items, Ordering::Relaxed);
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                self.lost.fetch_add(items, Ordering::Relaxed);
                self.first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    }

    /// Says what was sent.
    pub(crate) fn report(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let (spans, logs, metrics) = (get(&self.spans), get(&self.logs), get(&self.metrics));
        writeln!(
            out,
            "sent {spans} spans, {logs} log records and {metrics} exports of metrics in {} exports",
            get(&self.exports)
        )?;
        let lost = get(&self.lost);
        if lost > 0 {
            let error = self.first_error.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
            let failed = get(&self.failed);
            writeln!(out, "{failed} exports with {lost} items failed; the first one said: {error}")?;
        }
        Ok(())
    }
}

async fn wait(at: Nanos, permits: Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    sleep_until(at).await;
    permits.acquire_owned().await.ok()
}

/// Sleeps until the wall clock says `at`.
pub(crate) async fn sleep_until(at: Nanos) {
    let ahead = at - now();
    if ahead > MS {
        tokio::time::sleep(Duration::from_nanos(ahead as u64)).await;
    }
}

/// The wall clock.
pub(crate) fn now() -> Nanos {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Nanos::try_from(since.as_nanos()).unwrap_or(Nanos::MAX)
}
