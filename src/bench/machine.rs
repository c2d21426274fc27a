//! What else went on while the load ran. Latencies say little of the server where a host takes
//! its CPUs away, or where others compute.

use serde::Serialize;

use super::server::{TICKS_PER_SECOND, Usage};

/// CPU time of the whole machine since it started, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Machine {
    all: f64,
    idle: f64,
    stolen: f64,
}

/// Shares of the machine's CPU time while the load ran, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Shares {
    /// The server that is measured.
    pub(crate) server: f64,
    /// This load generator.
    pub(crate) load: f64,
    /// All other processes.
    pub(crate) others: f64,
    /// What the host of a virtual machine gave to somebody else.
    pub(crate) stolen: f64,
}

impl Machine {
    /// Now; `None` where there is no `/proc/stat`.
    pub(crate) fn now() -> Option<Machine> {
        Machine::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// Columns by proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal; time of guests is in user.
    fn parse(stat: &str) -> Option<Machine> {
        let ticks = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().take(8).map(str::parse::<f64>);
        let ticks = ticks.collect::<Result<Vec<_>, _>>().ok()?;
        let [_, _, _, idle, iowait, _, _, stolen] = ticks[..] else { return None };
        let seconds = |ticks: f64| ticks / TICKS_PER_SECOND;
        Some(Machine { all: seconds(ticks.iter().sum()), idle: seconds(idle + iowait), stolen: seconds(stolen) })
    }

    /// How the time from here `to` there was shared, of which `server` and `load` used so much.
    pub(crate) fn shares(self, to: Machine, server: (Usage, Usage), load: (Usage, Usage)) -> Option<Shares> {
        let all = to.all - self.all;
        let share = |seconds: f64| (seconds / all).clamp(0.0, 1.0);
        let (idle, stolen) = (to.idle - self.idle, to.stolen - self.stolen);
        let (server, load) = (server.1.cpu_s - server.0.cpu_s, load.1.cpu_s - load.0.cpu_s);
        let others = all - idle - stolen - server - load;
        (all > 0.0).then(|| Shares {
            server: share(server),
            load: share(load),
            others: share(others),
            stolen: share(stolen),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn time_is_shared_out() {
        let from = Machine::parse("cpu  100 0 100 500 0 0 0 0 0 0\ncpu0 1 2 3\n").unwrap();
        let to = Machine::parse("cpu  400 0 200 900 100 0 0 100 0 0\n").unwrap();
        let used = |cpu_s| Usage { cpu_s, rss_bytes: None, peak_rss_bytes: None };
        let shares = from.shares(to, (used(1.0), used(3.0)), (used(0.5), used(1.5))).unwrap();
        assert_eq!(shares, Shares { server: 0.2, load: 0.1, others: 0.1, stolen: 0.1 });
        assert_eq!(from.shares(from, (used(0.0), used(0.0)), (used(0.0), used(0.0))), None);
        assert_eq!(Machine::parse("cpu  1 2 3\n"), None);
        assert_eq!(Machine::parse("intr 1"), None);
    }
}
