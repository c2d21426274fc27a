//! A flow in Arrow.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type, UInt16Type, UInt32Type};
use arrow::ipc::reader::StreamReader;
use serde_json::{Value, json};

use super::{NO_MERGING, get, send_records, send_spans};
use crate::client;
use crate::server::start_with;

/// A cell as the JSON answer has it.
fn cell(column: &dyn Array, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Int32 => json!(column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::UInt32 => json!(column.as_primitive::<UInt32Type>().value(row)),
        DataType::UInt16 => json!(column.as_primitive::<UInt16Type>().value(row)),
        DataType::FixedSizeBinary(_) => json!(crate::otlp::hex(column.as_fixed_size_binary().value(row))),
        DataType::Dictionary(..) => {
            let words = column.as_dictionary::<Int32Type>();
            json!(words.values().as_string::<i32>().value(words.key(row).unwrap()))
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn the_rows_in_arrow_are_those_in_json() {
    let (server, _dir) = start_with(NO_MERGING).await;
    let script = "
        a s - server   orders 0   1   inv=r1 cold
        a p s producer orders 0.2 0.8 send=orders:m1
        a i s client   orders 0.8 0.9 call=thumbs:r9
        b s - server   worker 5   6   inv=r2 receive=orders:m1 error=no
        c s - server   worker 35  36  inv=r3 receive=orders:m1
        d g x client   thumbs 1.2 1.3 on=e/9
    ";
    send_spans(&server, script).await;
    send_records(
        &server,
        "thumbs e/9 1 platform.start START RequestId: r9 Version: 1
         thumbs e/9 4 platform.report REPORT RequestId: r9 Duration: 3000.00 ms Billed Duration: 3000 ms Memory Size: 128 MB Max Memory Used: 12 MB Status: timeout",
    )
    .await;
    let path = format!("/api/v1/flows/{}", super::script::trace_id("a"));
    let mut expected = get(&server, &path).await;
    let rows = expected.as_object_mut().unwrap().remove("rows").unwrap();
    let rows = rows.as_array().unwrap();
    assert!(["span", "hop", "invocation"].iter().all(|kind| rows.iter().any(|row| row["row"] == *kind)), "{rows:?}");
    for encoding in ["identity", "gzip", "zstd"] {
        let headers = [("accept", "application/vnd.apache.arrow.stream"), ("accept-encoding", encoding)];
        let answer = client::try_get(&format!("http://{}{path}", server.api), &headers).await.unwrap();
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/vnd.apache.arrow.stream"));
        let body = match answer.header("content-encoding") {
            "gzip" => {
                let mut plain = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&answer.body[..]), &mut plain).unwrap();
                plain
            }
            "zstd" => zstd::decode_all(&answer.body[..]).unwrap(),
            _ => answer.body.to_vec(),
        };
        let reader = StreamReader::try_new(&body[..], None).unwrap();
        let flow: Value = serde_json::from_str(&reader.schema().metadata()["flow"]).unwrap();
        assert_eq!(flow, expected);
        let mut got = Vec::new();
        for batch in reader {
            let batch = batch.unwrap();
            let schema = batch.schema();
            for row in 0..batch.num_rows() {
                let cells = schema.fields().iter().zip(batch.columns());
                let cells = cells.map(|(field, column)| (field.name().clone(), cell(column, row)));
                got.push(Value::Object(cells.filter(|(_, cell)| !cell.is_null()).collect()));
            }
        }
        let sorted =
            |row: &Value| row.as_object().unwrap().clone().into_iter().collect::<std::collections::BTreeMap<_, _>>();
        assert_eq!(
            got.iter().map(sorted).collect::<Vec<_>>(),
            rows.iter().map(sorted).collect::<Vec<_>>(),
            "{encoding}"
        );
    }
}
