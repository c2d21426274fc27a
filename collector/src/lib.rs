//! The door of Hopline: OTLP comes in over gRPC and HTTP, is admitted, logged,
//! decoded into columns and acknowledged.
//!
//! - [`receive`]: servers, admission, the pipeline of one request, the committer.
//! - [`decode`]: a walk over the protobuf wire format straight into Arrow builders.

pub mod decode;
pub mod receive;

pub use receive::{Collector, Config, ConfigError, StartError, TailItem, replay};
