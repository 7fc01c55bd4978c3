#![allow(clippy::unwrap_used)]

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers every connection with these bytes and then leaves it open; gives its URL.
async fn server(answer: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/x", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            open.push(stream);
        }
    });
    url
}

async fn fetch(url: &str) -> Result<Reply, FetchError> {
    sealwire_proto::install_crypto_provider();
    let timeout = Duration::from_millis(500);
    let request = Request { url, body: None, accept: "*/*", max_bytes: 10, timeout };
    Http::new().unwrap().fetch(request).await
}

#[tokio::test]
async fn bodies_have_a_limit_announced_or_not() {
    let exact =
        server("HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ncontent-length: 10\r\n\r\n0123456789".into()).await;
    let reply = fetch(&exact).await.unwrap();
    assert_eq!((reply.content_type.as_deref(), &reply.body[..]), (Some("a/b"), &b"0123456789"[..]));
    let announced = server("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n01234567890".into()).await;
    assert_eq!(fetch(&announced).await, Err(FetchError::TooLong(10)));
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\n012345\r\n6\r\n012345\r\n";
    assert_eq!(fetch(&server(chunked.into()).await).await, Err(FetchError::TooLong(10)));
}

#[tokio::test]
async fn a_drip_has_a_deadline() {
    let slow = server("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n012".into()).await;
    let started = std::time::Instant::now();
    assert!(matches!(fetch(&slow).await, Err(FetchError::Unreachable(_))));
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn redirects_end() {
    let there = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into()).await;
    let here = server(format!("HTTP/1.1 302 Found\r\nlocation: {there}\r\ncontent-length: 0\r\n\r\n")).await;
    assert_eq!(fetch(&here).await.unwrap().body, b"ok");
    let looped = server("HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n".into()).await;
    assert!(matches!(fetch(&looped).await, Err(FetchError::Unreachable(_))));
    let gone = server("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n".into()).await;
    assert_eq!(fetch(&gone).await, Err(FetchError::Status(StatusCode::GONE)));
}
