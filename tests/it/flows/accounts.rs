//! Equal keys in two accounts. (What OTLP brings is of one tenant; the tests of `query` hold tenants apart.)

use super::{NO_MERGING, edges, flow, hopline, script, send_spans, traces};
use crate::server::start_with;

#[tokio::test]
async fn equal_keys_of_two_accounts_never_meet() {
    // Both accounts have a record at the same place of a stream of the same name, and a message with the same number in a
    // queue of the same name. (Ids that AWS makes unique in the world may cross accounts.)
    let script = "
        a1 p - producer orders 0 1 acct=111 out=kinesis:eu-central-1:clicks:0:7,mq:rabbitmq|jobs|1
        b1 s - server   clicks 2 3 acct=111 in=kinesis:eu-central-1:clicks:0:7
        c1 s - server   worker 2 3 acct=111 in=mq:rabbitmq|jobs|1
        a2 p - producer orders 0 1 acct=222 out=kinesis:eu-central-1:clicks:0:7,mq:rabbitmq|jobs|1
        b2 s - server   clicks 2 3 acct=222 in=kinesis:eu-central-1:clicks:0:7
        c2 s - server   worker 2 3 acct=222 in=mq:rabbitmq|jobs|1
    ";
    for order in [["a1", "a2", "b1", "b2", "c1", "c2"], ["c2", "b1", "c1", "a2", "b2", "a1"]] {
        let (mut server, _dir) = start_with(NO_MERGING).await;
        for part in order {
            send_spans(&server, &script::of_trace(script, part)).await;
        }
        for restarted in [false, true] {
            for n in [1, 2] {
                for seed in ["a", "b", "c"] {
                    let flow = flow(&server, &format!("{seed}{n}")).await;
                    assert_eq!(
                        traces(&flow),
                        [format!("a{n}"), format!("b{n}"), format!("c{n}")],
                        "{restarted} {order:?}"
                    );
                    let expected = [("b", "kinesis"), ("c", "mq")];
                    let expected = expected.map(|(to, hop)| format!("a{n}.p -> {to}{n}.s {hop} exact"));
                    let found: Vec<String> = edges(&flow).iter().map(|e| e.replace(" fan_out", "")).collect();
                    assert_eq!(found, expected, "{restarted} {order:?}");
                }
            }
            if !restarted {
                server = server.kill_and_restart().await;
            }
        }
    }
}

#[tokio::test]
async fn an_id_that_nobody_knows_is_not_found() {
    let (server, _dir) = start_with(NO_MERGING).await;
    send_spans(&server, "a s - server orders 0 1 inv=r1").await;
    for id in ["nobody", "sqs:m9", &script::trace_id("none")] {
        let output = hopline(&server, &["flow", id]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{id}: {said}");
        assert!(said.contains("no trace, invocation, message or key"), "{id}: {said}");
    }
    let output = hopline(&server, &["flow", "r1", "--span", "0000000000000001"]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}
