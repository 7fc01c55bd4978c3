//! What a connection begins with, looked at and left where it is: until a whole ClientHello is there, a connection costs
//! its socket and nothing else, so that half-open handshakes by the thousand cost little.

use std::io;

use rustix::io::ioctl_fionread;
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::tls::looks_like_http;

/// Type, version and length of a TLS record (RFC 8446 section 5.1).
const RECORD_HEADER: usize = 5;
const HANDSHAKE: u8 = 22;
/// More is no record that is taken.
const LONGEST_RECORD: u64 = 16 * 1024;

/// What has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// A request without TLS.
    Http,
    /// A record, or what is for TLS to refuse: something else, too long, or an early end.
    Tls,
}

/// Waits for the first record.
///
/// # Errors
/// Those of the socket.
pub(crate) async fn arrives(tcp: &TcpStream) -> io::Result<First> {
    loop {
        let ready = tcp.ready(Interest::READABLE).await?;
        // In here, for a look that finds too little must take back the readiness that it was called for, and no other.
        let looked = tcp.try_io(Interest::READABLE, || look(tcp)?.ok_or(io::ErrorKind::WouldBlock.into()));
        match looked {
            // Nothing more comes.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && ready.is_read_closed() => {
                return Ok(First::Tls);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            looked => return looked,
        }
    }
}

/// `None`: not enough yet.
fn look(tcp: &TcpStream) -> io::Result<Option<First>> {
    let mut start = [0; RECORD_HEADER];
    let (seen, _) = recv(tcp, &mut start, RecvFlags::PEEK)?;
    let there = if seen == RECORD_HEADER { ioctl_fionread(tcp)? } else { 0 };
    Ok(judge(&start[..seen], there))
}

/// Of the first bytes, when so many are there.
fn judge(start: &[u8], there: u64) -> Option<First> {
    if looks_like_http(start) {
        return Some(First::Http);
    }
    match *start {
        [] => Some(First::Tls),
        [HANDSHAKE, _, _, high, low] => {
            let whole = u64::from(u16::from_be_bytes([high, low]));
            let is_there = there >= whole + RECORD_HEADER as u64;
            (whole > LONGEST_RECORD || is_there).then_some(First::Tls)
        }
        [HANDSHAKE, ..] => None,
        // The beginning of a method, perhaps.
        [byte, ..] if byte.is_ascii_uppercase() && start.len() < 4 => None,
        _ => Some(First::Tls),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_record_counts_when_it_is_whole() {
        assert_eq!(judge(&[22, 3], 2), None);
        assert_eq!(judge(&[22, 3, 1, 2, 0], 516), None);
        assert_eq!(judge(&[22, 3, 1, 2, 0], 517), Some(First::Tls));
        assert_eq!(judge(&[22, 3, 1, 0xff, 0xff], 5), Some(First::Tls));
        assert_eq!(judge(b"GE", 2), None);
        assert_eq!(judge(b"GET /", 5), Some(First::Http));
        assert_eq!(judge(b"\x80", 1), Some(First::Tls));
        assert_eq!(judge(b"", 0), Some(First::Tls));
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn each_byte_is_waited_for_and_none_is_taken() {
        let (mut client, mut server) = pair().await;
        let record = [22, 3, 1, 0, 3, 7, 7, 7];
        for end in 0..record.len() {
            let waited = tokio::time::timeout(Duration::from_millis(5), arrives(&server)).await;
            assert!(waited.is_err(), "{end} bytes are enough?");
            client.write_all(&record[end..=end]).await.unwrap();
        }
        assert_eq!(arrives(&server).await.unwrap(), First::Tls);
        let mut all = [0; 8];
        server.read_exact(&mut all).await.unwrap();
        assert_eq!(all, record);
    }

    #[tokio::test]
    async fn an_early_end_is_an_end() {
        let (mut client, server) = pair().await;
        client.write_all(&[22, 3, 1]).await.unwrap();
        let waiting = tokio::spawn(async move { arrives(&server).await });
        client.shutdown().await.unwrap();
        let arrived = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        assert_eq!(arrived.unwrap().unwrap().unwrap(), First::Tls);
    }
}
