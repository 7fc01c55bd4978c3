//! Differences of byte strings in the format of the Fossil version control system, which the SDKs apply
//! (<https://fossil-scm.org/home/doc/tip/www/delta_format.wiki>).
//!
//! A delta is the size of the target and a line feed, then commands to copy from the base (`COUNT@OFFSET,`) or to
//! insert (`COUNT:BYTES`), and a checksum of the target (`SUM;`). Numbers are in base 64 with an alphabet of its own.

mod apply;
mod create;
mod index;

pub use apply::{ApplyError, apply};
pub use create::{MAX_BYTES, create};

const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~";

fn put_number(number: u32, into: &mut Vec<u8>) {
    for digit in (1..digits(number)).rev() {
        into.push(DIGITS[(number >> (6 * digit)) as usize & 63]);
    }
    into.push(DIGITS[number as usize & 63]);
}

/// How many digits a number has.
const fn digits(number: u32) -> usize {
    let bits = u32::BITS - number.leading_zeros();
    if bits == 0 { 1 } else { bits.div_ceil(6) as usize }
}

/// The sum of all words of four bytes, big-endian, the last one filled up with zeros.
fn checksum(bytes: &[u8]) -> u32 {
    let (words, last) = bytes.as_chunks::<4>();
    let sum = words.iter().fold(0u32, |sum, word| sum.wrapping_add(u32::from_be_bytes(*word)));
    let mut filled = [0; 4];
    filled[..last.len()].copy_from_slice(last);
    sum.wrapping_add(u32::from_be_bytes(filled))
}
