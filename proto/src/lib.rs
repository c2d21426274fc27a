//! Wire formats: what stands between bytes of the network and Hopline's columns.
//! Pure: no I/O, no clock, no Arrow.
//!
//! - [`wire`]: reads and writes the protobuf wire format, without an object tree.
//! - [`json`]: turns OTLP/JSON into the same protobuf bytes.
//! - [`value`]: attribute values as text that keeps OTLP's types, there and back.
//! - [`status`]: the answers of an OTLP receiver.

pub mod json;
pub mod status;
pub mod value;
pub mod wire;
