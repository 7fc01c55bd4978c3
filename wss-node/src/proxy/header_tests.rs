#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// A header of version 2 with this command, family and payload.
pub(in crate::proxy) fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([0x20 | command, family]);
    header.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    header.extend(payload);
    header
}

/// 192.0.2.7:1000 connects to 198.51.100.1:443.
const TCP4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 3, 232, 1, 187];

fn with_items(items: &[u8]) -> Vec<u8> {
    v2(1, 0x11, &[&TCP4, items].concat())
}

fn told(address: &str) -> Result<Told, HeaderFault> {
    Ok(Told::Client(address.parse().unwrap()))
}

#[test]
fn version_1_as_in_the_specification() {
    let cases: [(&str, Result<Told, HeaderFault>); 12] = [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 1000 443\r\n", told("192.0.2.7:1000")),
        ("PROXY TCP6 2001:db8::1 2001:db8::2 1000 443\r\n", told("[2001:db8::1]:1000")),
        ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1000 443\r\n", told("192.0.2.7:1000")),
        ("PROXY UNKNOWN\r\n", Ok(Told::Nobody)),
        ("PROXY UNKNOWN ffff:: ffff:: 65535 65535\r\n", Ok(Told::Nobody)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 1000\r\n", Err(HeaderFault::Malformed)),
        ("PROXY TCP4 2001:db8::1 2001:db8::2 1000 443\r\n", Err(HeaderFault::Malformed)),
        ("PROXY TCP4 192.0.2.256 198.51.100.1 1000 443\r\n", Err(HeaderFault::Malformed)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 1000 65536\r\n", Err(HeaderFault::Malformed)),
        ("PROXY TCP4 192.0.2.7 198.51.100.1 1000 443 1\r\n", Err(HeaderFault::Malformed)),
        ("PROXY UDP4 192.0.2.7 198.51.100.1 1000 443\r\n", Err(HeaderFault::Malformed)),
        ("PROXY tcp4 192.0.2.7 198.51.100.1 1000 443\r\n", Err(HeaderFault::Malformed)),
    ];
    for (header, expected) in cases {
        assert_eq!(version_1(header.as_bytes()), expected, "{header:?}");
    }
}

#[test]
fn version_2_as_in_the_specification() {
    let mut tcp6 = [0; 36];
    tcp6[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
    tcp6[32..].copy_from_slice(&[3, 232, 1, 187]);
    let cases = [
        (v2(1, 0x11, &TCP4), told("192.0.2.7:1000")),
        (v2(1, 0x21, &tcp6), told("[2001:db8::]:1000")),
        (v2(0, 0x11, &TCP4), Ok(Told::Nobody)),
        (v2(0, 0, &[]), Ok(Told::Nobody)),
        (v2(1, 0, &[]), Ok(Told::Nobody)),
        (v2(1, 0x31, &[0; 216]), Ok(Told::Nobody)),
        (v2(2, 0x11, &TCP4), Err(HeaderFault::Malformed)),
        (v2(1, 0x41, &TCP4), Err(HeaderFault::Malformed)),
        (v2(1, 0x11, &TCP4[..11]), Err(HeaderFault::Malformed)),
        (with_items(&[0x04, 0, 2, 0, 0]), told("192.0.2.7:1000")),
        (with_items(&[0x04, 0, 3, 0, 0]), Err(HeaderFault::Malformed)),
        (with_items(&[0x04, 0]), Err(HeaderFault::Malformed)),
        (with_items(&[TYPE_CRC32C, 0, 2, 0, 0]), Err(HeaderFault::Malformed)),
        ([v2(1, 0x11, &TCP4), b"\x16\x03\x01".to_vec()].concat(), Err(HeaderFault::Malformed)),
    ];
    for (header, expected) in cases {
        assert_eq!(version_2(&header), expected, "{header:?}");
    }
    let mut old = v2(1, 0x11, &TCP4);
    old[12] = 0x11;
    assert_eq!(version_2(&old), Err(HeaderFault::Malformed), "there is no version 1 in binary");
}

#[test]
fn a_checksum_that_is_there_must_be_right() {
    let mut header = with_items(&[TYPE_CRC32C, 0, 4, 0, 0, 0, 0]);
    assert_eq!(version_2(&header), Err(HeaderFault::Checksum));
    let hole = header.len() - 4;
    let sum = crc32c(&header, hole);
    header[hole..].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(version_2(&header), told("192.0.2.7:1000"));
    header[16] ^= 1;
    assert_eq!(version_2(&header), Err(HeaderFault::Checksum));
}

proptest! {
    /// Whatever comes is read or refused.
    #[test]
    fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..600), start in 0..3) {
        let start: &[u8] = match start { 0 => &SIGNATURE, 1 => &V1_START, _ => &[] };
        let bytes = [start, &bytes].concat();
        let _ = (version_1(&bytes), version_2(&bytes));
    }

    /// Nearly right headers, in which one byte is another.
    #[test]
    fn one_byte_changed(at in 0usize..28, byte in any::<u8>()) {
        let mut header = v2(1, 0x11, &TCP4);
        header[at] = byte;
        let told = version_2(&header);
        prop_assert!(at >= 12 || byte == SIGNATURE[at] || told == Err(HeaderFault::Malformed));
    }
}
