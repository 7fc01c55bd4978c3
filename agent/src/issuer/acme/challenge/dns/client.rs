//! One question to one DNS server: UDP first, TCP where the answer does not fit or nothing comes back.
//!
//! hickory-proto makes and reads the messages. The few lines around a socket are ours: one exchange per
//! connection needs none of a multiplexer's background tasks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long one server may take, over UDP and then over TCP.
const UDP_TIMEOUT: Duration = Duration::from_secs(2);
const TCP_TIMEOUT: Duration = Duration::from_secs(5);

/// What fits into every path without fragments (<https://www.dnsflagday.net/2020/>).
const MAX_UDP_BYTES: u16 = 1232;
/// Servers that ignore our wish may send more.
const UDP_BUFFER_BYTES: usize = 4096;

/// Why a server gave no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DnsError {
    /// No answer.
    #[error("DNS server {server}: {detail}")]
    Unreachable {
        /// Whom we asked.
        server: SocketAddr,
        /// What went wrong.
        detail: String,
    },
    /// An answer that says no.
    #[error("DNS server {server} answers {code} for {name}")]
    Code {
        /// Whom we asked.
        server: SocketAddr,
        /// What for.
        name: Name,
        /// Its word.
        code: ResponseCode,
    },
}

/// Asks `server`; `recursive` wants it to ask others. `NXDOMAIN` is an answer without records.
pub(super) async fn query(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    recursive: bool,
) -> Result<Message, DnsError> {
    let mut message = Message::new(random_id(), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = recursive;
    message.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_UDP_BYTES);
    message.set_edns(edns);
    let unreachable = |detail: String| DnsError::Unreachable { server, detail };
    let request = message.to_vec().map_err(|error| unreachable(error.to_string()))?;

    let answer = match timeout(UDP_TIMEOUT, over_udp(server, &request, &message)).await {
        Ok(Ok(answer)) if !answer.truncation => answer,
        _ => {
            let reply = over_tcp(server, &request).await?;
            Message::from_vec(&reply)
                .ok()
                .filter(|answer| answers(answer, &message))
                .ok_or_else(|| unreachable("its answer is not one to our question".to_owned()))?
        }
    };
    match answer.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer),
        code => Err(DnsError::Code { server, name: name.clone(), code }),
    }
}

async fn over_udp(server: SocketAddr, request: &[u8], asked: &Message) -> std::io::Result<Message> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(request).await?;
    let mut buffer = vec![0; UDP_BUFFER_BYTES];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything else is late, or a forgery that guessed the port: the real one may still come.
        if let Ok(answer) = Message::from_vec(&buffer[..length])
            && answers(&answer, asked)
        {
            return Ok(answer);
        }
    }
}

/// Sends one message over TCP (RFC 1035 section 4.2.2) and gives the reply as it came, for its signature.
pub(super) async fn over_tcp(server: SocketAddr, request: &[u8]) -> Result<Vec<u8>, DnsError> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(request.len()).map_err(std::io::Error::other)?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(request);
        stream.write_all(&framed).await?;
        let length = stream.read_u16().await?;
        let mut reply = vec![0; length.into()];
        stream.read_exact(&mut reply).await?;
        Ok::<_, std::io::Error>(reply)
    };
    let detail = match timeout(TCP_TIMEOUT, exchange).await {
        Ok(Ok(reply)) => return Ok(reply),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", TCP_TIMEOUT.as_secs()),
    };
    Err(DnsError::Unreachable { server, detail })
}

fn answers(answer: &Message, asked: &Message) -> bool {
    answer.id == asked.id && answer.message_type == MessageType::Response && answer.queries == asked.queries
}

/// Hard to guess, so that a forged UDP answer is.
pub(super) fn random_id() -> u16 {
    let mut bytes = [0; 2];
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return fastrand::u16(..);
    }
    u16::from_be_bytes(bytes)
}
