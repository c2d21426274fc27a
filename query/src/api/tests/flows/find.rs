//! What flows are found by, and by whom.

use super::*;

#[tokio::test]
async fn a_tenant_sees_only_its_own() {
    let mut spans = story(
        "a s - server   shop          0 1
         a p s producer shop          0 1 send=orders:m1
         b c - consumer worker/worker 2 3 receive=orders:m1
         a x - server   spy           0 1 tenant=acme
         z p - producer spy           0 1 send=orders:m1 tenant=acme
         y c - consumer spy/spy       2 3 receive=orders:m1 tenant=acme
         y p c producer spy/spy       2 3 send=orders:m2 tenant=acme",
    );
    let expected = {
        let api = Api::new();
        api.ingest(&spans[..3], &[]);
        flow(&api, "a").await
    };
    assert_eq!(traces(&expected), "a b");
    // In turn, so that rows of both are in each batch.
    spans.swap(1, 5);
    spans.swap(2, 3);
    ingested_everywhere(&spans, &[], async |api| {
        for seed in ["a", "b"] {
            assert_eq!(flow(api, seed).await, expected, "{seed}");
        }
        assert_eq!(api.get("/api/v1/flows?message_id=m1").await, expected);
        api.refused("/api/v1/flows?message_id=m2", 404, "no span is known with the message id m2").await;
        api.refused(&format!("/api/v1/flows/{}", trace_id("y")), 404, "there is no trace").await;
        let spy = format!("/api/v1/flows/{}?span_id={}", trace_id("a"), span_id("x"));
        api.refused(&spy, 404, "there is no span").await;
    })
    .await;
}

#[tokio::test]
async fn messages_of_all_kinds_are_found_by_their_id() {
    let id = "dd3f25a2-55c8-4586-ba3d-e8286f0633f7";
    let keys =
        ["eb:ID", "gps:shop:ID", "mq:rabbitmq|orders|ID", "mq:activemq|orders|ID", "asq:ID", "s3.req:ID", "apigw:ID"];
    for key in keys {
        let key = key.replace("ID", id);
        let api = Api::new();
        api.ingest(&story(&format!("a p - producer shop 0 1 out={key}\nb c - consumer worker 2 3 in={key}")), &[]);
        let flow = api.get(&format!("/api/v1/flows?message_id={id}")).await;
        assert_eq!(traces(&flow), "a b", "{key}: {flow:#}");
        assert_eq!(api.get(&format!("/api/v1/flows?key={}", key.replace('|', "%7C"))).await, flow, "{key}");
    }
}

#[tokio::test]
async fn what_is_no_flow() {
    let api = Api::new();
    api.ingest(&story(ORDER), &[]);
    let trace = trace_id("api");
    for (path, status, expected) in [
        ("/02020202020202020202020202020202".to_owned(), 404, "there is no trace 0202"),
        (format!("/{trace}?span_id=0909090909090909"), 404, "there is no span 0909090909090909 in trace"),
        (format!("/{}?span_id={}", trace_id("nobody"), span_id("s")), 404, "there is no span"),
        ("/xyz".to_owned(), 400, "parameter trace_id=xyz"),
        ("/0102".to_owned(), 400, "32 hexadecimal digits"),
        (format!("/{trace}?span_id=1"), 400, "parameter span_id=1"),
        (format!("/{trace}?spam_id=1"), 400, "did you mean span_id?"),
        (format!("/{trace}?message_id=m1"), 400, "there is no parameter message_id"),
        (format!("/{trace}?limit=0"), 400, "a number from 1 to 1000000"),
        (format!("/{trace}?limit=1000001"), 400, "a number from 1 to 1000000"),
        (format!("/{trace}?max_traces=0"), 400, "a number from 1 to 1000"),
        (format!("/{trace}?max_traces=1001"), 400, "a number from 1 to 1000"),
        (format!("/{trace}?limit=1&limit=2"), 400, "limit is given more than once"),
        (String::new(), 400, "one of invocation_id, message_id and key is needed"),
        ("?key=".to_owned(), 400, "one of invocation_id, message_id and key is needed"),
        ("?key=sqs:m1&message_id=m1".to_owned(), 400, "only one of invocation_id, message_id and key"),
        ("?invocation_id=r2&message_id=m1".to_owned(), 400, "only one of invocation_id, message_id and key"),
        ("?key=nothing:m1".to_owned(), 400, "the part before the first colon"),
        ("?key=sqs:".to_owned(), 400, "1 to 2048 are allowed"),
        (format!("?key=link:{trace}"), 400, "names one message"),
        ("?key=dest:sqs%7Corders%7C1".to_owned(), 400, "names one message"),
        ("?key=sqs:nobody".to_owned(), 404, "no span is known with the key sqs:nobody"),
        ("?invocation_id=nobody".to_owned(), 404, "no span is known with the invocation id nobody"),
        ("?message_id=nobody".to_owned(), 404, "no span is known with the message id nobody"),
        ("?span_id=0101010101010101".to_owned(), 400, "there is no parameter span_id"),
    ] {
        api.refused(&format!("/api/v1/flows{path}"), status, expected).await;
    }
    for path in [format!("/api/v1/flows/{trace}"), "/api/v1/flows?message_id=m1".to_owned()] {
        let (status, ..) = api.ask(&path, Some("text/html")).await;
        assert_eq!(status, StatusCode::NOT_ACCEPTABLE, "{path}");
    }
}
