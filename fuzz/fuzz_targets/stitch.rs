//! Any bytes as spans and logs, through everything that is derived from them: hop keys, facts of
//! invocations, flows. Nothing panics, and nothing depends on the order in which things come.
#![no_main]

#[path = "stitch/check.rs"]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| check::check(input));
