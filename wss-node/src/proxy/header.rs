//! What a header says. Pure; the crate `ppp` reads the form, the rest is here: what may be believed from whom, the
//! items behind the addresses (TLV) and their checksum.

use std::net::{IpAddr, SocketAddr};

use ppp::{v1, v2};

use super::checksum::crc32c;

/// Version 2 begins with these.
pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 1 begins with these.
pub(super) const V1_START: [u8; 6] = *b"PROXY ";
/// The longest header of version 1, with its CRLF (section 2.1).
pub(super) const V1_MOST: usize = 107;
/// Signature, command, family and length of version 2.
pub(super) const V2_START: usize = 16;
/// What may follow them: 216 bytes of addresses and some items. Proxies that tell much of TLS use about 300.
pub(super) const V2_MOST: usize = 520;

/// PP2_TYPE_CRC32C
const TYPE_CRC32C: u8 = 0x03;

/// What a header tells of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The proxy speaks for itself, as in a health check: LOCAL, or the proxy does not know (UNKNOWN).
    Nobody,
    /// The client's end of its connection with the proxy.
    Client(SocketAddr),
}

/// Why there is no header to go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// The peer is not among `proxy.trusted`.
    Untrusted,
    /// It did not come in time.
    Timeout,
    /// The peer hung up before its end.
    Cut,
    /// The connection does not begin with one.
    Missing,
    /// It is longer than it may be.
    TooLong,
    /// It breaks the rules of its version.
    Malformed,
    /// Its checksum is not that of its bytes.
    Checksum,
}

impl HeaderFault {
    /// Each of them once, in the order of their numbers.
    pub(crate) const ALL: [Self; 7] = [
        Self::Untrusted,
        Self::Timeout,
        Self::Cut,
        Self::Missing,
        Self::TooLong,
        Self::Malformed,
        Self::Checksum,
    ];

    /// In snake case.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Untrusted => "untrusted",
            Self::Timeout => "timeout",
            Self::Cut => "cut",
            Self::Missing => "missing",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Checksum => "checksum",
        }
    }
}

/// Reads a whole header of version 1, CRLF included.
pub(super) fn version_1(header: &[u8]) -> Result<Told, HeaderFault> {
    let header = v1::Header::try_from(header).map_err(|_| HeaderFault::Malformed)?;
    Ok(match header.addresses {
        v1::Addresses::Unknown => Told::Nobody,
        v1::Addresses::Tcp4(ends) => client(ends.source_address.into(), ends.source_port),
        v1::Addresses::Tcp6(ends) => client(ends.source_address.into(), ends.source_port),
    })
}

/// Reads a whole header of version 2.
pub(super) fn version_2(bytes: &[u8]) -> Result<Told, HeaderFault> {
    let header = v2::Header::try_from(bytes).map_err(|_| HeaderFault::Malformed)?;
    if header.len() != bytes.len() {
        return Err(HeaderFault::Malformed);
    }
    // Also with LOCAL, whose addresses are to be passed over.
    check_items(bytes, bytes.len() - header.tlv_bytes().len())?;
    if header.command == v2::Command::Local {
        return Ok(Told::Nobody);
    }
    Ok(match header.addresses {
        v2::Addresses::IPv4(ends) => client(ends.source_address.into(), ends.source_port),
        v2::Addresses::IPv6(ends) => client(ends.source_address.into(), ends.source_port),
        // A family that we do not serve: the real ends are to be used (section 2.2).
        v2::Addresses::Unspecified | v2::Addresses::Unix(_) => Told::Nobody,
    })
}

fn client(address: IpAddr, port: u16) -> Told {
    Told::Client(SocketAddr::new(address.to_canonical(), port))
}

/// The items from `at` on: type, length in two bytes, value. They must fill the header exactly.
fn check_items(bytes: &[u8], mut at: usize) -> Result<(), HeaderFault> {
    while at < bytes.len() {
        let [kind, high, low] =
            *bytes.get(at..at + 3).and_then(<[u8]>::as_array).ok_or(HeaderFault::Malformed)?;
        let value = at + 3;
        at = value + usize::from(u16::from_be_bytes([high, low]));
        let content = bytes.get(value..at).ok_or(HeaderFault::Malformed)?;
        if kind == TYPE_CRC32C {
            let told = content.as_array().copied().map(u32::from_be_bytes).ok_or(HeaderFault::Malformed)?;
            if told != crc32c(bytes, value) {
                return Err(HeaderFault::Checksum);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "header_tests.rs"]
pub(super) mod tests;
