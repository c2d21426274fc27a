//! The rows of a flow, in both formats.

use super::*;

#[tokio::test]
async fn rows_stand_in_order_with_the_hops_between() {
    ingested_everywhere(&story(ORDER), &[], async |api| {
        let flow = flow(api, "cost").await;
        assert_eq!(
            rows(&flow),
            lines(
                "-1 0 0+2 api.s
                 0 1 0.5+0.5 api.p
                 1 2 0.6+0.3 api.q
                 1 2 1+4.1 ⇢ orders
                 3 3 5+4 work.s 4
                 4 4 5.1+0.1 work.c
                 4 4 6+1 work.i
                 6 5 6+0.2 ⇢ pricing
                 7 6 6.2+0.6 cost.s 1
                 4 4 7.5+0.5 work.n
                 9 5 8+1 ⇢ priced
                 10 6 9+1 tell.s"
            )
        );
        assert_eq!(flow["rows_count"], json!(12));
        let numbers = |name: &str| -> Vec<u64> {
            flow["rows"].as_array().unwrap().iter().map(|row| row[name].as_u64().unwrap()).collect()
        };
        assert_eq!(numbers("children"), [1, 2, 0, 1, 3, 0, 1, 1, 0, 1, 1, 0]);
        assert_eq!(numbers("descendants"), [11, 10, 0, 8, 7, 0, 2, 1, 0, 2, 1, 0]);
        // A call does not count for the caller, a wait counts for the hop.
        let own: Vec<f64> = flow["rows"].as_array().unwrap().iter().map(|row| seconds(&row["self_time"])).collect();
        assert_eq!(own, [1.5, 0.2, 0.3, 4.1, 2.4, 0.1, 0.2, 0.2, 0.6, 0.5, 1.0, 1.0]);
        let hop = &flow["rows"][7];
        assert_eq!(
            (&hop["hop"], &hop["certainty"], &hop["attempt"], &hop["service"], &hop["function"], &hop["kind"]),
            (&json!("lambda.invoke"), &json!("exact"), &json!(1), &json!("worker"), &json!("worker"), &Value::Null)
        );
        assert_eq!((&hop["trace_id"], &hop["span_id"]), (&json!(trace_id("cost")), &json!(span_id("s"))));
    })
    .await;
}

#[tokio::test]
async fn both_formats_say_the_same() {
    ingested_everywhere(&story(ORDER), &[], async |api| {
        for query in ["", "?limit=5", "?max_traces=2"] {
            let path = format!("/api/v1/flows/{}{query}", trace_id("work"));
            let mut expected = api.get(&path).await;
            let rows = expected.as_object_mut().unwrap().remove("rows").unwrap();
            let rows = rows.as_array().unwrap();
            let (flow, batches) = arrow(api, &path).await;
            assert_eq!(flow, expected, "{path}");
            assert_eq!(batches.len(), 1);
            let batch = &batches[0];
            assert_eq!(batch.num_rows(), rows.len());
            for (number, row) in rows.iter().enumerate() {
                let described = row.as_object().unwrap();
                for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                    let value = described.get(field.name()).cloned().unwrap_or(Value::Null);
                    assert_eq!(cell(column, number), value, "{path} {number} {}", field.name());
                    assert!(field.is_nullable() || !value.is_null(), "{}", field.name());
                }
                let is_column = |name: &String| batch.schema().column_with_name(name).is_some();
                assert!(described.keys().all(is_column), "{row}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_limit_leaves_the_upper_levels() {
    let api = Api::new();
    api.ingest(&story(ORDER), &[]);
    let path = format!("/api/v1/flows/{}?limit=5", trace_id("api"));
    let flow = api.get(&path).await;
    assert_eq!(
        rows(&flow),
        lines("-1 0 0+2 api.s\n0 1 0.5+0.5 api.p\n1 2 0.6+0.3 api.q\n1 2 1+4.1 ⇢ orders\n3 3 5+4 work.s 4")
    );
    assert_eq!((&flow["rows_count"], &flow["complete"]), (&json!(12), &json!(false)));
    assert_eq!(flow["reason"], json!("the limit of rows was reached"));
    assert_eq!((&flow["rows"][4]["children"], &flow["rows"][4]["descendants"]), (&json!(3), &json!(7)));
    // What stands above the rows is of the whole flow.
    assert_eq!(flow["edges"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn within_a_trace_a_hop_stands_where_a_message_waited() {
    let script = "
        t s - server   shop          0  9
        t p s producer shop          1  2  publish=priced:n1
        t r p server   notify/notify 5  6  inv=r1
        t c s client   shop          7  8
        t u c server   users         7.2 7.8
    ";
    let api = Api::new();
    api.ingest(&story(script), &[]);
    let flow = flow(&api, "t").await;
    assert_eq!(
        rows(&flow),
        lines(
            "-1 0 0+9 t.s
             0 1 1+1 t.p
             1 2 2+3 ⇢ priced
             2 3 5+1 t.r
             0 1 7+1 t.c
             4 2 7.2+0.6 t.u"
        )
    );
}
