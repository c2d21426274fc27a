//! The id of a series: a hash that is the same on every machine and for every order of
//! the attributes.

use hopline_proto::value::{any_value_to_text, key_value};
use hopline_proto::wire;
use twox_hash::XxHash64;

use crate::decode::Stop;
use crate::decode::message::Any;

/// The part of the id that all points of a metric share.
pub(super) fn of_metric(name: &[u8], (resource, scope): (u64, u64)) -> u64 {
    let hash = XxHash64::oneshot(0, &resource.to_le_bytes());
    let hash = XxHash64::oneshot(hash, &scope.to_le_bytes());
    XxHash64::oneshot(hash, wire::text(name).0.as_bytes())
}

/// The id of the series of a point with these `KeyValue`s.
pub(super) fn of_point(metric: u64, attributes: &[&[u8]], text: &mut String) -> Result<u64, Stop> {
    let mut all: u64 = 0;
    for attribute in attributes {
        let (key, any_value) = key_value(attribute)?;
        let key = XxHash64::oneshot(0, wire::text(key).0.as_bytes());
        // The seed says which type it is: the text "1" is not the integer.
        let value = match Any::read(any_value)? {
            Any::String(bytes) => XxHash64::oneshot(1, wire::text(bytes).0.as_bytes()),
            Any::Int(int) => XxHash64::oneshot(2, &int.to_le_bytes()),
            Any::Double(double) => XxHash64::oneshot(3, &double.to_bits().to_le_bytes()),
            Any::Bool(bool) => XxHash64::oneshot(4, &[u8::from(bool)]),
            Any::Empty | Any::Bytes | Any::Array(_) | Any::Map(_) => {
                text.clear();
                any_value_to_text(any_value, text, 0)?;
                XxHash64::oneshot(5, text.as_bytes())
            }
        };
        // A sum, so that the order does not matter.
        all = all.wrapping_add(XxHash64::oneshot(key, &value.to_le_bytes()));
    }
    Ok(XxHash64::oneshot(metric, &all.to_le_bytes()))
}
