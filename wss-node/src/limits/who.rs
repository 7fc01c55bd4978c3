//! Whom a limit is about: one IPv4 address, or one IPv6 network of 64 bits, which is what a single customer gets and
//! can change addresses in at will.

use std::net::IpAddr;

/// One client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    V4([u8; 4]),
    V6([u8; 8]),
    /// All those for whom there was no room in the table.
    Others,
}

impl Who {
    /// An IPv4 address in the clothes of IPv6 (`::ffff:192.0.2.1`) is the IPv4 address.
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_64_bits_is_one_client_and_a_mapped_address_is_itself() {
        let who = |text: &str| Who::of(text.parse().unwrap());
        assert_eq!(who("2001:db8:1:2::1"), who("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(who("2001:db8:1:2::1"), who("2001:db8:1:3::1"));
        assert_eq!(who("::ffff:192.0.2.1"), who("192.0.2.1"));
        assert_ne!(who("192.0.2.1"), who("192.0.2.2"));
    }
}
