//! `reject = "close"`: an upgrade that is closed at once, because scripts in browsers can read a close code but no
//! status. Nothing that the client sends is looked at.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::handshake::{accept_key, check_line, switching};
use super::head::Head;
use super::refusal::{Outcome, Refusal};
use super::subprotocol;
use crate::config::{GateConfig, Reject};

/// From the 101 to the end of the connection.
const LIMIT: Duration = Duration::from_secs(1);
/// What is thrown away of what the client sends meanwhile.
const MOST_DISCARDED_BYTES: usize = 64 * 1024;

/// What a client is told instead of a status.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Goodbye {
    pub(crate) code: u16,
    reason: &'static str,
}

/// The 101 to give instead of a refusal; `None`: the refusal stands. An Origin that is there and refused is never told
/// more than 403: its page is of another site. Nor is what passes by itself, for which 503 is as good, or a subprotocol,
/// without which a browser takes no 101.
pub(super) fn instead(
    refusal: &Refusal,
    gate: &GateConfig,
    head: &Head<'_>,
) -> Option<(Response<Full<Bytes>>, Goodbye)> {
    if gate.reject != Reject::Close {
        return None;
    }
    let code = match refusal.outcome {
        Outcome::OriginMissing => gate.close_origin,
        Outcome::TokenMissing | Outcome::TokenRefused => gate.close_token,
        Outcome::LimitReached => gate.close_limit,
        _ => return None,
    };
    check_line(head).ok()?;
    let key = accept_key(head).ok()?;
    let subprotocol = subprotocol::choose(head.headers, gate.require_subprotocol).ok()?;
    Some((switching(&key, subprotocol, None), Goodbye { code, reason: refusal.outcome.as_str() }))
}

/// Closes an upgraded connection.
pub(crate) async fn say<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, goodbye: Goodbye) {
    let say = async {
        stream.write_all(&frame(&goodbye)).await?;
        stream.shutdown().await?;
        // Closed with unread bytes the socket would be reset, and the reset overtake the code.
        let mut buffer = [0; 1024];
        let mut total = 0;
        while total < MOST_DISCARDED_BYTES {
            match stream.read(&mut buffer).await? {
                0 => break,
                read => total += read,
            }
        }
        Ok::<_, std::io::Error>(())
    };
    // A client that is gone, or does not go, gets no more of our time.
    let _ = tokio::time::timeout(LIMIT, say).await;
}

/// A close frame without a mask (RFC 6455 section 5.5.1).
fn frame(goodbye: &Goodbye) -> Vec<u8> {
    let [high, low] = goodbye.code.to_be_bytes();
    // Reasons are words of ours, far shorter than the 123 bytes that fit.
    let length = u8::try_from(goodbye.reason.len() + 2).unwrap_or(2);
    let mut frame = vec![0x88, length, high, low];
    frame.extend_from_slice(&goodbye.reason.as_bytes()[..usize::from(length) - 2]);
    frame
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::head::tests::request;
    use super::*;

    #[test]
    fn only_what_a_page_may_know_is_told_by_a_code() {
        let gate = GateConfig { reject: Reject::Close, ..GateConfig::default() };
        let request = request(&[]);
        let head = Head::of(&request);
        for outcome in Outcome::ALL {
            let refusal = Refusal::new(outcome, "x");
            let code = instead(&refusal, &gate, &head).map(|(_, goodbye)| goodbye.code);
            let expected = match outcome {
                Outcome::OriginMissing => Some(4003),
                Outcome::TokenMissing | Outcome::TokenRefused => Some(4001),
                Outcome::LimitReached => Some(4008),
                _ => None,
            };
            assert_eq!(code, expected, "{outcome:?}");
            assert!(instead(&refusal, &GateConfig::default(), &head).is_none());
        }
    }

    #[test]
    fn what_is_no_handshake_gets_a_status() {
        let gate = GateConfig { reject: Reject::Close, ..GateConfig::default() };
        let refusal = Refusal::new(Outcome::OriginMissing, "x");
        for change in [("upgrade", ""), ("sec-websocket-protocol", "mqtt"), ("sec-websocket-key", "x")] {
            let request = request(&[change]);
            assert!(instead(&refusal, &gate, &Head::of(&request)).is_none(), "{change:?}");
        }
    }

    #[tokio::test]
    async fn the_code_comes_and_what_the_client_sends_is_thrown_away() {
        let (mut client, server) = tokio::io::duplex(4096);
        client.write_all(b"whatever the client sends").await.unwrap();
        let said = tokio::spawn(say(server, Goodbye { code: 4001, reason: "token_refused" }));
        let mut told = Vec::new();
        client.read_to_end(&mut told).await.unwrap();
        assert_eq!(told, b"\x88\x0f\x0f\xa1token_refused");
        drop(client);
        said.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_stays_is_waited_for_no_longer_than_the_limit() {
        let (_client, server) = tokio::io::duplex(4096);
        let said = say(server, Goodbye { code: 4001, reason: "token_refused" });
        tokio::time::timeout(LIMIT * 5, said).await.unwrap();
    }
}
