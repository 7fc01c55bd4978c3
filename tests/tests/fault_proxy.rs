//! The fault proxy does what its name says, and nothing else: a fault that does not happen proves nothing.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use sealwire_tests::eventually;
use sealwire_tests::faults::{End, FaultProxy, Flow, Line, Weather};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough to see that nothing comes.
const WHILE: Duration = Duration::from_millis(150);
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A proxy in front of a server that says back what it is told.
async fn echo() -> FaultProxy {
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    FaultProxy::start(HERE, target).await
}

async fn client(proxy: &FaultProxy) -> (TcpStream, Line) {
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let own = stream.local_addr().unwrap();
    let line = eventually("the proxy has it", PATIENCE, || async {
        proxy.lines().into_iter().find(|line| line.peer == own)
    });
    (stream, line.await)
}

async fn says(stream: &mut TcpStream, text: &[u8]) -> Vec<u8> {
    stream.write_all(text).await.unwrap();
    read(stream, text.len()).await.expect("an echo")
}

async fn read(stream: &mut TcpStream, length: usize) -> Option<Vec<u8>> {
    let mut came = vec![0; length];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut came)).await.ok()?.ok()?;
    Some(came)
}

async fn nothing_comes(stream: &mut TcpStream) {
    let came = tokio::time::timeout(WHILE, stream.read(&mut [0; 64])).await;
    assert!(came.is_err(), "{came:?}");
}

#[tokio::test]
async fn bytes_and_ends_go_through() {
    let proxy = echo().await;
    let (mut stream, line) = client(&proxy).await;
    let many: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut from, mut to) = stream.split();
    let sent = async {
        to.write_all(&many).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let mut came = Vec::new();
    let (_, ()) = tokio::join!(from.read_to_end(&mut came), sent);
    assert!(came == many, "{} of {} bytes", came.len(), many.len());
    assert_eq!(line.passed(), (1_000_000, 1_000_000));
    eventually("it is forgotten", PATIENCE, || async { proxy.lines().is_empty().then_some(()) }).await;
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn latency_counts_for_each_direction_and_a_rate_for_all_bytes() {
    let proxy = echo().await;
    let (mut stream, _) = client(&proxy).await;
    proxy.weather(Weather { latency: Duration::from_millis(60), ..Weather::default() });
    let began = Instant::now();
    assert_eq!(says(&mut stream, b"hello").await, b"hello");
    assert!(began.elapsed() >= Duration::from_millis(120), "{:?}", began.elapsed());
    proxy.weather(Weather { bytes_per_second: Some(20_000), ..Weather::default() });
    let began = Instant::now();
    says(&mut stream, &[7; 8_000]).await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(390), "{took:?}");
}

#[tokio::test]
async fn what_is_held_comes_later_and_in_one_direction_alone() {
    let proxy = echo().await;
    let (mut stream, line) = client(&proxy).await;
    proxy.weather(Weather { to_client: Flow::Held, ..Weather::default() });
    stream.write_all(b"one").await.unwrap();
    nothing_comes(&mut stream).await;
    let free = eventually("the other direction is free", PATIENCE, || async {
        Some(line.passed()).filter(|(_, to_server)| *to_server == 3)
    });
    assert_eq!(free.await, (0, 3));
    proxy.weather(Weather::default());
    assert_eq!(read(&mut stream, 3).await.unwrap(), b"one");

    // Who sends is held up too, once the buffers are full: they are bounded.
    proxy.weather(Weather::both(Flow::Held));
    let mut sent = 0;
    while let Ok(Ok(length)) = tokio::time::timeout(WHILE, stream.write(&[1; 65_536])).await {
        sent += length;
        assert!(sent < 16 << 20, "a proxy that takes all");
    }
    proxy.weather(Weather::default());
    assert!(read(&mut stream, sent).await.is_some());
}

#[tokio::test]
async fn what_is_swallowed_never_comes_and_the_connection_looks_open() {
    let proxy = echo().await;
    let (mut stream, line) = client(&proxy).await;
    proxy.weather(Weather::both(Flow::Swallowed));
    stream.write_all(b"lost").await.unwrap();
    eventually("it is swallowed", PATIENCE, || async { (line.swallowed() == 4).then_some(()) }).await;
    proxy.weather(Weather::default());
    nothing_comes(&mut stream).await;
    assert_eq!(says(&mut stream, b"later").await, b"later");
}

#[tokio::test]
async fn a_connection_has_weather_and_an_end_of_its_own() {
    let proxy = echo().await;
    let ((mut first, line), (mut second, _)) = (client(&proxy).await, client(&proxy).await);
    line.weather(Some(Weather::both(Flow::Held)));
    first.write_all(b"a").await.unwrap();
    assert_eq!(says(&mut second, b"b").await, b"b");
    nothing_comes(&mut first).await;
    line.weather(None);
    assert_eq!(read(&mut first, 1).await.unwrap(), b"a");
    line.end(End::Cut);
    assert_eq!(first.read(&mut [0; 8]).await.unwrap(), 0, "an end in good order");
    assert_eq!(says(&mut second, b"b").await, b"b");
    assert_eq!(proxy.end(End::Reset), 1);
    assert_eq!(second.read(&mut [0; 8]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn refused_is_refused_and_those_who_are_in_stay() {
    let proxy = echo().await;
    let (mut stream, _) = client(&proxy).await;
    for _ in 0..3 {
        proxy.refuse(true).await;
        let refused = TcpStream::connect(proxy.address).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(says(&mut stream, b"still here").await, b"still here");
        proxy.refuse(false).await;
        assert_eq!(says(&mut client(&proxy).await.0, b"again").await, b"again");
    }
    let address = proxy.address;
    drop(proxy);
    eventually("it is gone with its owner", PATIENCE, || async {
        TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn without_a_target_there_is_a_reset() {
    let gone = TcpListener::bind((HERE, 0)).await.unwrap().local_addr().unwrap();
    let proxy = FaultProxy::start(HERE, gone).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}
