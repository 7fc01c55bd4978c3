//! What breaks RFC 6455 or the limits of a session: each gets exactly its answer from the real node, over TLS, and costs
//! it nothing that stays.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use sealwire_tests::eventually;
use sealwire_tests::process::Process;
use sealwire_tests::session::{Session, tls};
use sealwire_tests::wire::{self, ask, code, upgrade};
use sealwire_tests::world::{AgentSettings, PATIENCE, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const CONNECT: &[u8] = br#"{"id":1,"connect":{}}"#;
/// Mask and payload with it, so that what is sent is what is read.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

struct Setting {
    world: World,
    _agent: Process,
    node: Process,
    tls: Arc<ClientConfig>,
}

impl Setting {
    async fn start(session: &str) -> Self {
        let world = World::new();
        world.configure_agent(&AgentSettings::default());
        let extra = format!(
            "[limits]\nsessions_per_ip = 0\nhandshakes_per_ip = 0\naccepts_per_second_per_ip = 0\n\
             unauthenticated = 0\n{session}"
        );
        world.configure_node("node-1", 0, &world.delivery_socket(), &extra);
        let (agent, node) = (world.start_agent(), world.start_node("node-1"));
        world.proven().await;
        let tls = tls(&world.roots().await.0).unwrap();
        Self { world, _agent: agent, node, tls }
    }

    async fn stream(&self) -> TlsStream<TcpStream> {
        let tcp = TcpStream::connect(self.world.node_address()).await.unwrap();
        wire::tls(tcp, "node.test", Arc::clone(&self.tls)).await.unwrap()
    }

    async fn upgraded(&self) -> TlsStream<TcpStream> {
        let mut stream = self.stream().await;
        assert_eq!(code(&ask(&mut stream, &upgrade("node.test", "")).await.unwrap()), 101);
        stream
    }

    /// The code with which a session ends after these bytes; the node says nothing else but the reply to `connect`.
    async fn code_after(&self, bytes: &[u8]) -> u16 {
        let mut stream = self.upgraded().await;
        stream.write_all(bytes).await.unwrap();
        loop {
            let (first, payload) = read_frame(&mut stream).await;
            match first {
                0x81 => assert!(payload.starts_with(br#"{"id":1,"connect""#), "{payload:?}"),
                0x88 => {
                    let code = u16::from_be_bytes([payload[0], payload[1]]);
                    assert!(std::str::from_utf8(&payload[2..]).is_ok(), "the reason is text");
                    return code;
                }
                other => panic!("a frame that begins with {other:#x}"),
            }
        }
    }
}

/// One frame of the node: never masked, never in parts.
async fn read_frame(stream: &mut TlsStream<TcpStream>) -> (u8, Vec<u8>) {
    let read = async {
        let (first, length) = (stream.read_u8().await.unwrap(), stream.read_u8().await.unwrap());
        let length = if length == 126 { stream.read_u16().await.unwrap().into() } else { u64::from(length) };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.unwrap();
        (first, payload)
    };
    tokio::time::timeout(PATIENCE, read).await.expect("a frame")
}

/// A frame of a client.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match u8::try_from(payload.len()) {
        Ok(short @ 0..126) => bytes.push(0x80 | short),
        _ => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A head that claims a length and brings nothing of it.
fn claims(first: u8, length: u64) -> Vec<u8> {
    [&[first, 0xff], &length.to_be_bytes()[..], &MASK[..]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_that_are_wrong() {
    let setting = Setting::start("").await;
    let sound = upgrade("node.test", "");
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (from, to, expected) in [
        (key, "Sec-WebSocket-Key: c2hvcnQ=\r\n".to_owned(), 400),
        (key, "Sec-WebSocket-Key: this is not base64 at all\r\n".to_owned(), 400),
        (key, String::new(), 400),
        (key, key.repeat(2), 400),
        ("Version: 13", "Version: 8".to_owned(), 426),
        ("Upgrade: websocket", "Upgrade: h2c".to_owned(), 400),
    ] {
        let request = sound.replacen(from, &to, 1);
        assert_ne!(request, sound);
        let head = ask(&mut setting.stream().await, &request).await.unwrap();
        assert_eq!(code(&head), expected, "{request:?}: {head}");
        if expected == 426 {
            assert!(head.to_ascii_lowercase().contains("sec-websocket-version: 13\r\n"), "{head}");
        }
    }
    // Extensions that are offered are not chosen.
    let offer = upgrade("node.test", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    let head = ask(&mut setting.stream().await, &offer).await.unwrap();
    assert!(code(&head) == 101 && !head.to_ascii_lowercase().contains("extensions"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_wrong_end_with_their_codes_and_leave_nothing() {
    let setting = Setting::start("[session]\nmessage_bytes = 65536\nmessage_timeout = \"1s\"\n").await;
    let mut unmasked = vec![0x81, u8::try_from(CONNECT.len()).unwrap()];
    unmasked.extend(CONNECT);
    let split = "{\"é".as_bytes();
    let (begins, ends) = split.split_at(split.len() - 1);
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("compressed (RSV1)", frame(0xc1, CONNECT), 1002),
        ("RSV2", frame(0xa1, CONNECT), 1002),
        ("RSV3", frame(0x91, CONNECT), 1002),
        ("unmasked", unmasked, 1002),
        ("a reserved opcode", frame(0x83, b"x"), 1002),
        ("a reserved control opcode", frame(0x8b, b"x"), 1002),
        ("a ping in parts", frame(0x09, b"x"), 1002),
        ("a ping of 126 bytes", frame(0x89, &[b'x'; 126]), 1002),
        ("a close of one byte", frame(0x88, b"\x03"), 1002),
        ("a close with 1005", frame(0x88, &1005_u16.to_be_bytes()), 1002),
        ("a close with 1006", frame(0x88, &1006_u16.to_be_bytes()), 1002),
        ("a close with 999", frame(0x88, &999_u16.to_be_bytes()), 1002),
        ("a close whose reason is not UTF-8", frame(0x88, b"\x03\xe8\xff"), 1007),
        ("a continuation of nothing", frame(0x80, b"x"), 1002),
        ("a text within a message", [frame(0x01, b"{"), frame(0x81, CONNECT)].concat(), 1002),
        ("text that is not UTF-8", frame(0x81, b"\xff\xfe"), 1007),
        (
            "masked with another mask than it says",
            [&[0x81, 0x82, 0, 0, 0, 0][..], b"\xc0\xaf"].concat(),
            1007,
        ),
        (
            "a character whose second half is wrong, in another part",
            [frame(0x01, begins), frame(0x80, b"x")].concat(),
            1007,
        ),
        ("half a character at the end", [frame(0x01, b"{"), frame(0x80, begins)].concat(), 1007),
        ("2^63 bytes", claims(0x81, 1 << 63), 1009),
        ("2^40 bytes", claims(0x82, 1 << 40), 1009),
        ("a length that needs fewer bytes", [&[0x81, 0xfe, 0, 5][..], &MASK].concat(), 1002),
        (
            "more than session.message_bytes in parts",
            [frame(0x01, &[b'x'; 40_000]), frame(0x80, &[b'x'; 40_000])].concat(),
            1009,
        ),
        ("a binary message", frame(0x82, CONNECT), 1003),
        ("65 parts", [frame(0x01, b"{"), frame(0x00, b"").repeat(64)].concat(), 1008),
        ("eleven pongs at once", frame(0x8a, b"").repeat(11), 1008),
        ("a message that does not end", frame(0x01, b"{"), 1008),
        ("a frame that does not end", claims(0x82, 65536), 1008),
        (
            "a whole character in two parts is none of these",
            [frame(0x01, begins), frame(0x80, ends)].concat(),
            3501,
        ),
        ("no JSON", frame(0x81, b"nonsense"), 3501),
    ];
    for (what, bytes, expected) in &cases {
        assert_eq!(setting.code_after(bytes).await, *expected, "{what}");
        // And the same in a session that is on its way.
        let connected = [&frame(0x81, CONNECT)[..], bytes].concat();
        assert_eq!(setting.code_after(&connected).await, *expected, "{what}, when connected");
    }
    // What the allocator keeps after the first round is its level.
    let level = setting.node.resident_bytes();
    for _ in 0..10 {
        for (what, bytes, expected) in cases.iter().filter(|(what, ..)| !what.contains("does not end")) {
            assert_eq!(setting.code_after(bytes).await, *expected, "{what}");
        }
    }
    let after = setting.node.resident_bytes();
    assert!(after < level + level / 10, "{level} -> {after} bytes");
    // The last client has its code a moment before its session is gone.
    eventually("no session is left", PATIENCE, || async {
        let counters = wire::counters((setting.world.address, 9090).into()).await.ok()?;
        (counters["sessions"] == 0).then_some(())
    })
    .await;
    assert_eq!(setting.node.count("panicked"), 0);

    // Others are served as ever.
    let address = setting.world.node_address();
    Session::open(address, Arc::clone(&setting.tls)).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_are_answered_one_for_one_and_a_flood_of_commands_is_ended() {
    let setting = Setting::start("").await;
    let mut stream = setting.upgraded().await;
    for payload in [&b""[..], b"hello", &[b'x'; 125]] {
        stream.write_all(&frame(0x89, payload)).await.unwrap();
        assert_eq!(read_frame(&mut stream).await, (0x8a, payload.to_vec()));
    }
    // A ping within a message is answered before the message ends.
    stream.write_all(&[frame(0x01, &CONNECT[..5]), frame(0x89, b"now")].concat()).await.unwrap();
    assert_eq!(read_frame(&mut stream).await, (0x8a, b"now".to_vec()));
    stream.write_all(&frame(0x80, &CONNECT[5..])).await.unwrap();
    assert!(read_frame(&mut stream).await.1.starts_with(br#"{"id":1,"connect""#));
    // Nothing was said twice: the echo of the close is the next and the last.
    stream.write_all(&frame(0x88, b"\x03\xe8bye")).await.unwrap();
    assert_eq!(read_frame(&mut stream).await, (0x88, b"\x03\xe8".to_vec()));
    assert_eq!(tokio::time::timeout(PATIENCE, stream.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0);

    let many = [CONNECT, b"\n", &b"{}\n".repeat(250)].concat();
    assert_eq!(setting.code_after(&frame(0x81, &many)).await, 3013);
    // The same number over some seconds is nothing unusual.
    let mut stream = setting.upgraded().await;
    stream.write_all(&frame(0x81, CONNECT)).await.unwrap();
    let _connected = read_frame(&mut stream).await;
    for _ in 0..25 {
        stream.write_all(&frame(0x81, &b"{}\n".repeat(10))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(110)).await;
    }
    stream.write_all(&frame(0x89, b"alive")).await.unwrap();
    assert_eq!(read_frame(&mut stream).await, (0x8a, b"alive".to_vec()));
}
