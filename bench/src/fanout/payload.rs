//! What is published: JSON of a fixed size that tells when it was sent. A server may put many into one message, or cut one
//! in two, and the reader need not understand its protocol to count them: each payload has one mark. Pure.

use std::time::Duration;

/// Of a payload, in bytes, unless a run says otherwise.
pub(super) const BYTES: usize = 128;
/// Once in each payload, and nowhere else in what servers send here.
const MARK: u8 = b'@';
/// Nanoseconds, with zeros in front.
const DIGITS: usize = 20;
const HEAD: &[u8] = br#"{"at":"@"#;
const MIDDLE: &[u8] = br#"","pad":""#;
const TAIL: &[u8] = br#""}"#;

/// The smallest payload that there is.
pub(super) const MIN_BYTES: usize = HEAD.len() + DIGITS + MIDDLE.len() + TAIL.len();

/// A payload of `bytes` bytes (at least [`MIN_BYTES`]) that was sent `at`, on a clock of the caller's.
#[must_use]
pub(super) fn write(at: Duration, bytes: usize) -> Vec<u8> {
    let mut payload = Vec::with_capacity(bytes.max(MIN_BYTES));
    payload.extend_from_slice(HEAD);
    payload.extend_from_slice(format!("{:0DIGITS$}", at.as_nanos()).as_bytes());
    payload.extend_from_slice(MIDDLE);
    payload.resize(bytes.max(MIN_BYTES) - TAIL.len(), b'x');
    payload.extend_from_slice(TAIL);
    payload
}

/// Finds the payloads in a piece of what came. `each` is told when one was sent; `None` if the piece ends within that.
pub(super) fn find(mut piece: &[u8], mut each: impl FnMut(Option<Duration>)) {
    while let Some(at) = memchr::memchr(MARK, piece) {
        let digits = piece.get(at + 1..at + 1 + DIGITS);
        each(digits.and_then(read));
        piece = piece.get(at + 1 + DIGITS..).unwrap_or_default();
    }
}

fn read(digits: &[u8]) -> Option<Duration> {
    digits
        .iter()
        .try_fold(0_u64, |sum, digit| {
            digit.is_ascii_digit().then(|| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
        })
        .map(Duration::from_nanos)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn found(piece: &[u8]) -> Vec<Option<Duration>> {
        let mut all = Vec::new();
        find(piece, |at| all.push(at));
        all
    }

    #[test]
    fn it_is_json_of_the_size_asked_for() {
        let payload = write(Duration::from_nanos(1_234_567), BYTES);
        assert_eq!(payload.len(), BYTES);
        let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(value["at"], "@00000000000001234567");
        assert_eq!(write(Duration::ZERO, 0).len(), MIN_BYTES);
    }

    #[test]
    fn all_are_found_whatever_is_around_them_and_wherever_they_are_cut() {
        let (one, two) = (Duration::from_nanos(7), Duration::from_secs(900));
        let mut stream = b"MSG c 1 128\r\n".to_vec();
        stream.extend(write(one, BYTES));
        stream.extend(b"\r\nMSG c 1 128\r\n");
        stream.extend(write(two, 64));
        assert_eq!(found(&stream), [Some(one), Some(two)]);
        for cut in 0..stream.len() {
            let (before, after) = stream.split_at(cut);
            assert_eq!(found(before).len() + found(after).len(), 2, "cut at {cut}");
        }
    }
}
