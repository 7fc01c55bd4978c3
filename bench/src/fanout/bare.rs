//! The least that fan-out over TLS can cost: one thread, and a loop over the connections that seals a record and writes it.
//! No protocol, no history, no queue and no limit: who is slow is left behind. A process of its own, for the sake of its
//! own processor time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, IoSlice, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::frames::{self, Opcode};

/// What clients here send fits in.
const READ: usize = 64 * 1024;
/// Clients here do not look at `Sec-WebSocket-Accept`.
const UPGRADED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

type Stream = TlsStream<TcpStream>;
type Channels = Rc<RefCell<HashMap<String, Vec<Stream>>>>;

/// Serves on `address` until it is killed.
///
/// # Errors
/// The address is taken, or chain and key (PEM) are none.
pub async fn serve(address: &str, chain: &Path, key: &Path) -> Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(crate::handshake::bare_config(chain, key)?));
    let listener = TcpListener::bind(address).await?;
    let channels = Channels::default();
    let serving = async {
        loop {
            // What cannot be accepted now is tried again by its client.
            let Ok((tcp, _)) = listener.accept().await else { continue };
            let (acceptor, channels) = (acceptor.clone(), Rc::clone(&channels));
            tokio::task::spawn_local(async move { one(&acceptor, tcp, &channels).await });
        }
    };
    LocalSet::new().run_until(serving).await
}

async fn one(acceptor: &TlsAcceptor, tcp: TcpStream, channels: &Channels) -> Result<()> {
    tcp.set_nodelay(true)?;
    let mut stream = acceptor.accept(tcp).await?;
    let mut bytes = Vec::with_capacity(READ);
    while !bytes.ends_with(b"\r\n\r\n") {
        more(&mut stream, &mut bytes).await?;
    }
    bytes.clear();
    stream.write_all(UPGRADED).await?;
    loop {
        more(&mut stream, &mut bytes).await?;
        let (mut used, mut channel, mut out) = (0, String::new(), Vec::new());
        while let Some((message, length)) = frames::unmasked(&bytes[used..]) {
            used += length;
            match (message.strip_prefix(b"+"), message.iter().position(|byte| *byte == b'\n')) {
                (Some(name), _) => {
                    let mut welcome = Vec::new();
                    frames::served(&mut welcome, Opcode::Text, b"ok");
                    stream.write_all(&welcome).await?;
                    stream.flush().await?;
                    if !name.is_empty() {
                        let name = String::from_utf8(name.to_vec())?;
                        channels.borrow_mut().entry(name).or_default().push(stream);
                        return Ok(());
                    }
                }
                (None, Some(end)) => {
                    let name = std::str::from_utf8(&message[..end])?;
                    // What was sent together for one channel goes out together.
                    if name != channel {
                        broadcast(channels, &channel, &out);
                        (channel, out) = (name.to_owned(), Vec::new());
                    }
                    frames::served(&mut out, Opcode::Text, &message[end + 1..]);
                }
                (None, None) => bail!("neither \"+channel\" nor \"channel\\npayload\""),
            }
        }
        broadcast(channels, &channel, &out);
        bytes.drain(..used);
    }
}

async fn more(stream: &mut Stream, bytes: &mut Vec<u8>) -> Result<()> {
    if stream.read_buf(bytes).await? == 0 {
        bail!("cut");
    }
    Ok(())
}

fn broadcast(channels: &Channels, channel: &str, frames: &[u8]) {
    if let Some(streams) = channels.borrow_mut().get_mut(channel) {
        streams.retain_mut(|stream| write(stream, frames).is_ok());
    }
}

/// Seals and writes; what the connection does not take waits for the next time.
fn write(stream: &mut Stream, frames: &[u8]) -> io::Result<()> {
    let (tcp, tls) = stream.get_mut();
    tls.writer().write_all(frames)?;
    while tls.wants_write() {
        match tls.write_tls(&mut Ready(tcp)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A socket that is written to without waiting.
struct Ready<'a>(&'a TcpStream);

impl Write for Ready<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match parts {
            [one] => self.0.try_write(one),
            many => self.0.try_write_vectored(many),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
