//! `hopline bench`: how much a server takes, and at what price.
//!
//! - [`ingest`] sends made-up spans as fast as asked, says what that cost the server, and
//!   counts afterwards whether everything that was acknowledged is there.
//! - [`stitch`] plays the demo and holds what the server finds out against the truth.
//! - [`query`] asks a handful of questions and says how long the answers took.
//! - [`read`] asks for functions and flows, of a server that is full of them, and holds the answers against what was sent.
//!
//! They talk to a server as any client does, or start one of their own on free ports,
//! with a folder that is removed afterwards. They stop by themselves.
//!
//! The rooms: [`workload`] makes requests, [`client`] sends them, [`load`] keeps the pace,
//! [`histogram`] counts latencies, [`server`] starts, watches and asks the server, [`machine`] says what else went on.

use std::process::ExitCode;

mod client;
mod encode;
mod histogram;
mod ingest;
mod load;
mod machine;
mod query;
mod read;
mod server;
mod stitch;
mod workload;

/// What `hopline bench` is asked to do.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum What {
    /// Send spans; report throughput, latencies, CPU, memory and bytes on disk
    Ingest(ingest::Args),
    /// Play the demo and hold what is found of it against the truth
    Stitch(stitch::Args),
    /// Ask SQL, trace and search queries; report how long they take when warm
    Query(query::Args),
    /// Ask for functions at a glance and for a flow, of many; report how long that takes
    Read(read::Args),
}

/// Runs the benchmark. The exit code is 1 when the server lost or refused something, or a goal was missed.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.what {
        What::Ingest(args) => ingest::run(args).await,
        What::Stitch(args) => stitch::run(args).await,
        What::Query(args) => query::run(args).await,
        What::Read(args) => read::run(args).await,
    }
}
