//! The receivers over real sockets, against a storage that fails when it is told to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod client;
mod faults;
mod limits;
mod protocols;
mod store;
mod with_storage;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hopline_storage::{Position, Record};
use prometheus::Registry;

use super::{Collector, Config};
use store::FakeStore;

/// A running collector on free ports.
struct Running {
    collector: Collector,
    store: Arc<FakeStore>,
    registry: Registry,
}

fn config() -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Config { grpc_addr: any, http_addr: any, ..Config::default() }
}

async fn start() -> Running {
    start_with(config()).await
}

async fn start_with(config: Config) -> Running {
    let running = bind_with(config).await;
    running.collector.replay_records(no_records()).await.unwrap();
    running
}

async fn bind_with(config: Config) -> Running {
    let store = Arc::new(FakeStore::default());
    let registry = Registry::new();
    let collector = Collector::bind_store(config, Arc::clone(&store) as _, &registry).await.unwrap();
    Running { collector, store, registry }
}

fn no_records() -> std::vec::IntoIter<Result<(Position, Record), hopline_storage::Error>> {
    Vec::new().into_iter()
}

impl Running {
    /// The value of a metric, summed over its labels that contain `label`.
    fn metric(&self, name: &str, label: &str) -> u64 {
        let name = format!("hopline_collector_{name}");
        let families = self.registry.gather();
        let metrics = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
        let labelled = metrics.filter(|m| label.is_empty() || m.get_label().iter().any(|pair| pair.value() == label));
        labelled.map(|m| (m.get_counter().get_value() + m.get_gauge().get_value()) as u64).sum()
    }

    async fn stop(self) -> Arc<FakeStore> {
        self.collector.stop(Duration::from_secs(5)).await;
        self.store
    }
}

/// Waits until `is_so`; a test that needs longer has failed.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited in vain: {what}");
}
