//! Value text: attribute values as JSON that keeps OTLP's types exactly.
//!
//! | `AnyValue` | value text |
//! |---|---|
//! | string | JSON string |
//! | int | JSON integer |
//! | double | JSON number that always has `.` or `e`; `{"$double":"NaN"}`, `"Infinity"`, `"-Infinity"` |
//! | bool | `true`, `false` |
//! | bytes | `{"$bytes":"<base64>"}` |
//! | array | JSON array |
//! | kvlist | JSON object, in order, duplicate keys kept; `{"$map":{…}}` around it if its first key starts with `$` |
//! | empty, or none | `null` |
//!
//! - *Attributes* (a list of `KeyValue`) are a JSON object, in order, duplicate keys
//!   kept, never wrapped in `$map`.
//! - A *resource* is `{"attributes":{…},"dropped_attributes_count":n,"schema_url":"…",
//!   "entity_refs":[{"schema_url","type","id_keys","description_keys"}]}`, a *scope*
//!   the same without entity references (name and version have their own columns);
//!   members with their default value are left out.
//!
//! Written from protobuf bytes; strings that are not UTF-8 are repaired with U+FFFD and
//! counted. Read back as OTLP/JSON, as protobuf, or piecewise with [`ValueRef`],
//! [`members`] and [`lookup`]. Only NaN's payload and the difference between an
//! attribute without value and one with an empty value are lost on the way.
//!
//! Values are nested at most [`DEPTH_MAX`] deep; deeper ones are errors.

mod from_text;
mod read;
mod to_text;

pub use from_text::{
    attributes_text_to_otlp_json, attributes_text_to_wire, resource_text_to_otlp_json, resource_text_to_wire,
    scope_text_to_otlp_json, scope_text_to_wire, text_to_otlp_json, text_to_wire,
};
pub use read::{Elements, Members, TextError, ValueRef, elements, lookup, members, schema_url, unquote};
pub use to_text::{
    ToTextError, any_value_to_text, attributes_to_text, double_to_otlp_json, double_to_text, key_value,
    key_value_to_text, quote, resource_to_text, scope_to_text,
};

/// How many values may enclose each other, the outermost included.
pub const DEPTH_MAX: usize = 256;
