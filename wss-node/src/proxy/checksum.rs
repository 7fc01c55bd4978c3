//! CRC-32C (Castagnoli), with which a header of version 2 may be protected.

/// Reflected 0x1EDC6F41.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// Of `bytes`, with the four at `hole` taken for zeros: the checksum is made before it is written in.
pub(super) fn crc32c(bytes: &[u8], hole: usize) -> u32 {
    let mut sum = u32::MAX;
    for (position, byte) in bytes.iter().enumerate() {
        let byte = if (hole..hole + 4).contains(&position) { 0 } else { *byte };
        sum ^= u32::from(byte);
        // A header has at most a few hundred bytes: a table would gain nothing.
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL } else { sum >> 1 };
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_3720_appendix_b_4() {
        let nowhere = usize::MAX - 4;
        assert_eq!(crc32c(&[0; 32], nowhere), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32], nowhere), 0x62A8_AB43);
        assert_eq!(crc32c(&[0, 9, 9, 9, 9], 1), crc32c(&[0; 5], nowhere));
    }
}
