//! A listening socket from the start to its end: bound at once, so that a taken port is told at once, but listening only
//! when there is a certificate to serve; and given up without refusing those who are about to connect.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use tokio::net::TcpListener;

/// Connections that wait to be accepted: as many as Linux allows by default (`net.core.somaxconn`). Whoever finds the queue
/// full tries again after a second, and when a node comes back all its clients come at once.
const BACKLOG: i32 = 4096;
/// From the last SYN that is let in to the close: a TCP handshake that has begun takes a round trip to finish, and a
/// client whose SYN was lost tries again after a second.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_secs(1);

/// A socket that has its port but is not accepted from yet.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: Socket,
    pub(crate) address: SocketAddr,
    /// It listens already: somebody else has opened it, and goes on when we have gone.
    pub(crate) is_given: bool,
}

impl Bound {
    /// Takes the port; with `reuse_port` also beside another process that does the same.
    pub(crate) fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // So that a restart does not wait for connections in TIME_WAIT; a live listener still refuses it.
        socket.set_reuse_address(true)?;
        if reuse_port {
            socket.set_reuse_port(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Self { socket, address, is_given: false })
    }

    /// A socket that was handed over.
    pub(crate) fn given(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { socket: listener.into(), address, is_given: true })
    }

    /// Lets connections in.
    pub(crate) fn listen(self) -> io::Result<TcpListener> {
        if !self.is_given {
            self.socket.listen(BACKLOG)?;
        }
        TcpListener::from_std(self.socket.into())
    }
}

/// From now on nobody new reaches this socket: their SYNs are dropped unanswered, and when they try again a second later
/// the socket is closed and another process of `listen.reuse_port` gets them. Closing it alone would reset all whose
/// handshake the kernel has begun for it.
pub(super) fn turn_to_others(listener: &TcpListener) -> io::Result<()> {
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const SYN_OR_ACK: u32 = 0x12;
    // Classic BPF over the TCP header (linux/filter.h): load the flags, look at two of them, drop or keep.
    let program = [
        SockFilter::new(0x30, 0, 0, FLAGS),
        SockFilter::new(0x54, 0, 0, SYN_OR_ACK),
        SockFilter::new(0x15, 0, 1, SYN),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ];
    SockRef::from(listener).attach_filter(&program)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_bound_port_is_taken_but_refuses_until_it_listens() {
        let bound = Bound::bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let address = bound.address;
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let _listener = bound.listen().unwrap();
        TcpStream::connect(address).await.unwrap();
        assert_eq!(Bound::bind(address, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn those_who_come_are_turned_to_the_other_listener() {
        let old = Bound::bind("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let address = old.address;
        let old = old.listen().unwrap();
        let new = Bound::bind(address, true).unwrap().listen().unwrap();
        turn_to_others(&old).unwrap();
        let connecting: Vec<_> = (0..20).map(|_| tokio::spawn(TcpStream::connect(address))).collect();
        tokio::time::sleep(GIVE_UP_AFTER).await;
        let reached = tokio::time::timeout(Duration::ZERO, old.accept()).await;
        assert!(reached.is_err(), "nobody reaches the old one any more");
        drop(old);
        for _ in 0..20 {
            tokio::time::timeout(Duration::from_secs(20), new.accept()).await.unwrap().unwrap();
        }
        for connected in connecting {
            connected.await.unwrap().unwrap();
        }
    }
}
