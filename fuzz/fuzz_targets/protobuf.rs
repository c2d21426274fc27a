//! Any bytes as a protobuf request of each signal: refused by the check and by the
//! decoder alike, or made into as many rows as the check counted.
#![no_main]

use hopline_collector::decode::{self, Decoder};
use hopline_model::Signal;
use hopline_proto::value;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    for signal in Signal::ALL {
        let mut decoder = Decoder::new();
        let pushed = decoder.push(signal, hopline_model::DEFAULT_TENANT, input);
        let rows = decoder.rows(signal.table()) as u64;
        match decode::check(signal, input) {
            Ok(checked) => {
                pushed.expect("what the check takes the decoder takes");
                assert_eq!(rows, checked.items - checked.refused);
                let batches = decoder.finish();
                assert_eq!(batches.iter().map(|(_, batch)| batch.num_rows() as u64).sum::<u64>(), rows);
            }
            Err(_) => assert_eq!(rows, 0, "nothing stays of a refused request"),
        }
    }
    let mut text = String::new();
    if value::any_value_to_text(input, &mut text, 0).is_ok() {
        let (mut wire, mut again) = (Vec::new(), String::new());
        value::text_to_wire(&text, &mut wire).expect("our own text");
        value::any_value_to_text(&wire, &mut again, 0).expect("our own bytes");
        assert_eq!(again, text);
    }
});
