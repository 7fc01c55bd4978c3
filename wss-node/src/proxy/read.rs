//! Takes a header off a connection, and not one byte more: what follows belongs to TLS or HTTP.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::header::{self, HeaderFault, SIGNATURE, Told, V1_MOST, V1_START, V2_MOST, V2_START};

/// From the accept to the header's end: proxies send it at once.
const LIMIT: Duration = Duration::from_secs(1);

/// Reads the header with which a connection begins.
///
/// # Errors
/// The connection is to be closed.
pub(crate) async fn read(tcp: &mut TcpStream) -> Result<Told, HeaderFault> {
    tokio::time::timeout(LIMIT, any(tcp)).await.unwrap_or(Err(HeaderFault::Timeout))
}

async fn any(tcp: &mut TcpStream) -> Result<Told, HeaderFault> {
    // No header of either version is shorter.
    let mut start = [0; SIGNATURE.len()];
    let mut read = 0;
    while read < start.len() {
        let more = tcp.read(&mut start[read..]).await.map_err(cut)?;
        if more == 0 {
            return Err(HeaderFault::Cut);
        }
        read += more;
        let begins = |whole: &[u8]| whole.iter().zip(&start[..read]).all(|(wanted, found)| wanted == found);
        // Told as soon as it is clear: TLS would wait for our answer.
        if !begins(&SIGNATURE) && !begins(&V1_START) {
            return Err(HeaderFault::Missing);
        }
    }
    if start == SIGNATURE { version_2(tcp).await } else { version_1(tcp, &start).await }
}

async fn version_2(tcp: &mut TcpStream) -> Result<Told, HeaderFault> {
    let mut rest = [0; V2_START - SIGNATURE.len()];
    tcp.read_exact(&mut rest).await.map_err(cut)?;
    let [.., high, low] = rest;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_MOST {
        return Err(HeaderFault::TooLong);
    }
    let mut header = vec![0; V2_START + length];
    header[..SIGNATURE.len()].copy_from_slice(&SIGNATURE);
    header[SIGNATURE.len()..V2_START].copy_from_slice(&rest);
    tcp.read_exact(&mut header[V2_START..]).await.map_err(cut)?;
    header::version_2(&header)
}

async fn version_1(tcp: &mut TcpStream, start: &[u8]) -> Result<Told, HeaderFault> {
    let mut header = start.to_vec();
    // Its end is looked for before it is read: what lies behind must stay.
    while header.last() != Some(&b'\n') {
        let mut ahead = [0; V1_MOST];
        let room = V1_MOST - header.len();
        if room == 0 {
            return Err(HeaderFault::TooLong);
        }
        let seen = tcp.peek(&mut ahead[..room]).await.map_err(cut)?;
        if seen == 0 {
            return Err(HeaderFault::Cut);
        }
        let take = ahead[..seen].iter().position(|byte| *byte == b'\n').map_or(seen, |end| end + 1);
        tcp.read_exact(&mut ahead[..take]).await.map_err(cut)?;
        header.extend(&ahead[..take]);
    }
    header::version_1(&header)
}

fn cut(_: io::Error) -> HeaderFault {
    HeaderFault::Cut
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::proxy::header::tests::v2;

    const REST: &[u8] = b"\x16\x03\x01 the rest";

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    /// What is told, and what is left for TLS.
    async fn read_all(pieces: &[&[u8]]) -> (Result<Told, HeaderFault>, Vec<u8>) {
        let (mut client, mut server) = pair().await;
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let writing = tokio::spawn(async move {
            for piece in pieces {
                client.write_all(&piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let told = read(&mut server).await;
        writing.await.unwrap();
        let mut rest = Vec::new();
        let _ = server.read_to_end(&mut rest).await;
        (told, rest)
    }

    #[tokio::test]
    async fn not_one_byte_more_than_the_header_is_taken() {
        let address = "192.0.2.7:1000".parse().unwrap();
        let line: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 1000 443\r\n";
        let binary = v2(1, 0x11, &[192, 0, 2, 7, 198, 51, 100, 1, 3, 232, 1, 187]);
        for header in [line, &binary] {
            let whole = [header, REST].concat();
            assert_eq!(read_all(&[&whole]).await, (Ok(Told::Client(address)), REST.to_vec()));
            let bytes: Vec<&[u8]> = whole.chunks(1).collect();
            assert_eq!(read_all(&bytes).await, (Ok(Told::Client(address)), REST.to_vec()));
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused_with_its_reason() {
        let long = [b"PROXY ".as_slice(), &[b'x'; 200]].concat();
        let huge = v2(1, 0x11, &[0; V2_MOST + 1]);
        let cases: [(&[u8], HeaderFault); 6] = [
            (b"\x16\x03\x01\x02\x00", HeaderFault::Missing),
            (b"GET / HTTP/1.1\r\n\r\n", HeaderFault::Missing),
            (b"", HeaderFault::Cut),
            (b"PROXY TCP4 192.0.2.7", HeaderFault::Cut),
            (&long, HeaderFault::TooLong),
            (&huge, HeaderFault::TooLong),
        ];
        for (bytes, expected) in cases {
            assert_eq!(read_all(&[bytes]).await.0, Err(expected), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn it_must_come_within_a_second() {
        let (mut client, mut server) = pair().await;
        client.write_all(b"PROXY ").await.unwrap();
        let started = std::time::Instant::now();
        assert_eq!(read(&mut server).await, Err(HeaderFault::Timeout));
        assert!(started.elapsed() >= LIMIT);
    }
}
