//! The PROXY protocol, versions 1 and 2 (HAProxy's `doc/proxy-protocol.txt`): a proxy tells whose connection it passes
//! on, in a header before the first byte of TLS or HTTP. Only on listeners that want it, only from proxies that are
//! believed, and never guessed: a client could otherwise write a header of its own.

mod checksum;
mod header;
mod read;

pub(crate) use header::{HeaderFault, Told};
pub(crate) use read::read;
