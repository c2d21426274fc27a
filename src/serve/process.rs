//! Metrics of the process itself, read from `/proc/self` when they are asked for, under the
//! names that Prometheus's client libraries share, and the version that runs.

use anyhow::Context as _;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, IntGauge, IntGaugeVec, Opts, Registry};

/// The kernel tells CPU time in hundredths of a second, on every architecture (`USER_HZ`).
const TICKS_A_SECOND: f64 = 100.0;

/// Adds them to `registry`.
pub(super) fn register(registry: &Registry) -> anyhow::Result<()> {
    let what = "register the metrics of the process";
    let info = IntGaugeVec::new(Opts::new("hopline_build_info", "The version that runs; always 1."), &["version"]);
    let info = info.context(what)?;
    info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    registry.register(Box::new(info)).context(what)?;
    registry.register(Box::new(Process::new().context(what)?)).context(what)
}

struct Process {
    cpu_seconds: Counter,
    resident_bytes: IntGauge,
    resident_max_bytes: IntGauge,
    threads: IntGauge,
    open_fds: IntGauge,
    max_fds: IntGauge,
    start_time: Gauge,
}

impl Process {
    fn new() -> prometheus::Result<Process> {
        let gauge = |name, help| IntGauge::new(name, help);
        let start_time = Gauge::new("process_start_time_seconds", "When the process started, in seconds since 1970.")?;
        start_time.set(started().unwrap_or(0.0));
        Ok(Process {
            cpu_seconds: Counter::new("process_cpu_seconds_total", "CPU time that the process used, in seconds.")?,
            resident_bytes: gauge("process_resident_memory_bytes", "Memory that the process occupies.")?,
            resident_max_bytes: gauge("process_resident_memory_max_bytes", "The most that it ever occupied.")?,
            threads: gauge("process_threads", "Threads of the process.")?,
            open_fds: gauge("process_open_fds", "Open files and sockets.")?,
            max_fds: gauge("process_max_fds", "How many files and sockets may be open.")?,
            start_time,
        })
    }

    fn parts(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu_seconds,
            &self.resident_bytes,
            &self.resident_max_bytes,
            &self.threads,
            &self.open_fds,
            &self.max_fds,
            &self.start_time,
        ]
    }

    /// Reads what is there; what cannot be read keeps its last value.
    fn update(&self) {
        if let Some(seconds) = cpu_seconds() {
            // A counter only grows; two readers at once may see it out of order.
            self.cpu_seconds.inc_by((seconds - self.cpu_seconds.get()).max(0.0));
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        for (gauge, key, unit) in [
            (&self.resident_bytes, "VmRSS:", 1024),
            (&self.resident_max_bytes, "VmHWM:", 1024),
            (&self.threads, "Threads:", 1),
        ] {
            if let Some(n) = field(&status, key) {
                gauge.set(n * unit);
            }
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            // The folder itself is open while it is read.
            self.open_fds.set(files.count() as i64 - 1);
        }
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        if let Some(max) = field(&limits, "Max open files") {
            self.max_fds.set(max);
        }
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.update();
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}

/// The first number behind `key` in a text of lines.
fn field(text: &str, key: &str) -> Option<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The fields of `/proc/self/stat` behind the name of the program, which may hold anything.
fn stat() -> Option<Vec<f64>> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(|f| f.parse().unwrap_or(0.0)).collect())
}

fn cpu_seconds() -> Option<f64> {
    let stat = stat()?;
    Some((stat.get(11)? + stat.get(12)?) / TICKS_A_SECOND)
}

fn started() -> Option<f64> {
    let since_boot = stat()?.get(19)? / TICKS_A_SECOND;
    let boot = field(&std::fs::read_to_string("/proc/stat").ok()?, "btime ")?;
    Some(boot as f64 + since_boot)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_has_memory_files_and_an_age() {
        let registry = Registry::new();
        register(&registry).unwrap();
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let value = |name: &str| -> f64 {
            let line = text.lines().find(|l| l.starts_with(&format!("{name} "))).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0 && value("process_max_fds") >= value("process_open_fds"));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - value("process_start_time_seconds")).abs() < 3_600.0);
        assert!(text.contains("hopline_build_info{version=\""), "{text}");
    }
}
