//! The demo against a server that is killed and started again.

use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};

use crate::server::{binary, start, until};

/// Passes connections on to an address that may change; gives its own.
async fn proxy(target: Arc<Mutex<String>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let target = target.lock().unwrap().clone();
            tokio::spawn(async move {
                if let Ok(mut server) = TcpStream::connect(target).await {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_survives_a_restart_of_the_server() {
    let (mut server, _dir) = start().await;
    let target = Arc::new(Mutex::new(server.grpc.clone()));
    let endpoint = format!("http://{}", proxy(target.clone()).await);
    let mut demo = Command::new(binary());
    demo.args(["demo", "--from", "-6h", "--orders", "300", "--seed", "1", "--endpoint", &endpoint]);
    let mut demo = demo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    for _ in 0..2 {
        let before = server.number("SELECT count(*) FROM spans").await;
        until("some arrived", async || server.number("SELECT count(*) FROM spans").await > before + 200).await;
        assert!(demo.try_wait().unwrap().is_none(), "the demo was too quick to be disturbed");
        server = server.kill_and_restart().await;
        target.lock().unwrap().clone_from(&server.grpc);
    }
    let output = tokio::task::spawn_blocking(move || demo.wait_with_output()).await.unwrap().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && !text.contains("failed"), "{text}");
    let sent: i64 = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(server.number("SELECT count(DISTINCT span_id) FROM spans").await, sent, "{text}");
}

#[tokio::test]
async fn the_demo_says_how_many_exports_failed() {
    // A peer that takes requests for something else: what it says is final.
    let refusing = refusing_server().await;
    let mut demo = Command::new(binary());
    demo.args(["demo", "--from", "-1h", "--orders", "2", "--seed", "1", "--endpoint", &format!("http://{refusing}")]);
    let output = tokio::task::spawn_blocking(move || demo.output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("exports with") && text.contains("failed; the first one said"), "{text}");
}

/// An HTTP/2 server whose answer to everything is 404: for gRPC, UNIMPLEMENTED.
async fn refusing_server() -> String {
    use http_body_util::Full;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let answer = hyper::service::service_fn(async |_| {
                    let answer = http::Response::builder().status(404).body(Full::new(bytes::Bytes::new()));
                    Ok::<_, std::convert::Infallible>(answer.unwrap())
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    address
}
