//! TLS 1.3 with two suites and nothing else: what is refused, and what the node's log says about it.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use sealwire_tests::process::{Ran, run};
use sealwire_tests::tools;
use sealwire_tests::world::{PATIENCE, World};

fn s_client(world: &World, arguments: &[&str]) -> Option<Ran> {
    let openssl = tools::find("openssl")?;
    let mut command = Command::new(openssl);
    command.args(["s_client", "-connect", &world.node_address().to_string(), "-servername", "node.test"]);
    Some(run(command.arg("-CAfile").arg(world.path("root.pem")).arg("-verify_return_error").args(arguments)))
}

#[tokio::test(flavor = "multi_thread")]
async fn old_protocols_and_other_suites_are_refused_with_the_reason_in_the_log() {
    let world = World::new();
    let (_agent, node) = world.start().await;
    world.roots().await;

    for suite in ["TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"] {
        let Some(good) = s_client(&world, &["-ciphersuites", suite]) else { return };
        assert!(good.code == 0 && good.out.contains(&format!("New, TLSv1.3, Cipher is {suite}")), "{good:?}");
        assert!(good.out.contains("Verify return code: 0 (ok)"), "{good:?}");
    }
    let refused = [
        (["-tls1_2", "-cipher", "ALL"].as_slice(), "no_shared_version"),
        (&["-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"], "no_shared_cipher"),
        (&["-tls1_3", "-groups", "P-521"], "no_shared_group"),
    ];
    for (arguments, reason) in refused {
        let ran = s_client(&world, arguments).unwrap();
        assert_ne!(ran.code, 0, "{reason}: {ran:?}");
        let line = node.line(reason, PATIENCE);
        assert!(line.contains("127.0.0.1:"), "the peer is named: {line}");
    }
    let mut unknown = Command::new(tools::find("openssl").unwrap());
    unknown.args(["s_client", "-connect", &world.node_address().to_string(), "-servername", "other.example"]);
    assert_ne!(run(&mut unknown).code, 0);
    let _said = node.line("unknown_sni", PATIENCE);
}

/// A ClientHello of TLS 1.2 with the given suites, written by hand because openssl no longer offers them.
fn client_hello(suites: &[u16]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend(u16::try_from(suites.len() * 2).unwrap().to_be_bytes());
    suites.iter().for_each(|suite| body.extend(suite.to_be_bytes()));
    body.extend([1, 0]);
    // signature_algorithms: rsa_pkcs1_sha256, ecdsa_secp256r1_sha256; supported_groups: secp256r1
    let extensions = [0, 13, 0, 6, 0, 4, 4, 1, 4, 3, 0, 10, 0, 4, 0, 2, 0, 23];
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);

    let mut handshake = vec![1, 0];
    handshake.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    handshake.extend(body);
    let mut record = vec![22, 3, 1];
    record.extend(u16::try_from(handshake.len()).unwrap().to_be_bytes());
    record.extend(handshake);
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn rc4_and_cbc_suites_get_an_alert() {
    let world = World::new();
    let (_agent, node) = world.start().await;
    let suites = [
        ("RC4", [0x0004, 0x0005, 0xc011, 0xc007].as_slice()),
        ("CBC", &[0x002f, 0x0035, 0x000a, 0xc013, 0xc014, 0xc009, 0xc00a]),
    ];
    for (count, (name, suites)) in suites.into_iter().enumerate() {
        let mut tcp = TcpStream::connect(world.node_address()).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.write_all(&client_hello(suites)).unwrap();
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).unwrap();
        // One record: a fatal alert, protocol_version (70) or handshake_failure (40).
        assert!(matches!(answer[..], [21, 3, _, 0, 2, 2, 40 | 70]), "{name}: {answer:?}");
        sealwire_tests::eventually("the reason is logged", PATIENCE, || async {
            (node.count("no_shared_version") > count).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_on_the_tls_port_is_told_so() {
    let world = World::new();
    let (_agent, node) = world.start().await;
    let mut tcp = TcpStream::connect(world.node_address()).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: node.test\r\n\r\n").unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("wss://"), "{answer}");
    let _said = node.line("plain_http", PATIENCE);
}
