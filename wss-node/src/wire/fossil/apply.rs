//! Deltas are applied here, as clients do: for tests, fuzzing, and whoever reads what a node sends.

use super::{DIGITS, checksum};

/// What `delta` makes out of `base`, of at most `limit_bytes`.
///
/// # Errors
/// It is no delta, or not one of this base.
pub fn apply(base: &[u8], delta: &[u8], limit_bytes: usize) -> Result<Vec<u8>, ApplyError> {
    let mut rest = delta;
    let size = number(&mut rest)? as usize;
    expect(&mut rest, b'\n')?;
    if size > limit_bytes {
        return Err(ApplyError::TooLarge);
    }
    let mut target = Vec::with_capacity(size);
    loop {
        let count = number(&mut rest)?;
        let (command, after) = rest.split_first().ok_or(ApplyError::Malformed)?;
        rest = after;
        let part = match command {
            b'@' => {
                let from = number(&mut rest)? as usize;
                expect(&mut rest, b',')?;
                base.get(from..).and_then(|base| base.get(..count as usize)).ok_or(ApplyError::OutOfBase)?
            }
            b':' => {
                let (part, after) = rest.split_at_checked(count as usize).ok_or(ApplyError::Malformed)?;
                rest = after;
                part
            }
            b';' if target.len() != size => return Err(ApplyError::Malformed),
            b';' if checksum(&target) != count => return Err(ApplyError::Checksum),
            b';' => return Ok(target),
            _ => return Err(ApplyError::Malformed),
        };
        if target.len() + part.len() > size {
            return Err(ApplyError::Malformed);
        }
        target.extend_from_slice(part);
    }
}

fn number(rest: &mut &[u8]) -> Result<u32, ApplyError> {
    let mut value = 0u32;
    let mut any = false;
    while let Some((byte, after)) = rest.split_first() {
        let Some(digit) = DIGITS.iter().position(|digit| digit == byte) else { break };
        value = value
            .checked_mul(64)
            .and_then(|value| value.checked_add(digit as u32))
            .ok_or(ApplyError::Malformed)?;
        *rest = after;
        any = true;
    }
    if any { Ok(value) } else { Err(ApplyError::Malformed) }
}

fn expect(rest: &mut &[u8], byte: u8) -> Result<(), ApplyError> {
    *rest = rest.strip_prefix(&[byte]).ok_or(ApplyError::Malformed)?;
    Ok(())
}

/// A delta that cannot be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Not in the format.
    #[error("not a delta in Fossil's format")]
    Malformed,
    /// Its target is larger than is wanted.
    #[error("the target of the delta is larger than the limit")]
    TooLarge,
    /// It copies from beyond the base.
    #[error("the delta copies from beyond its base: it is a delta from another")]
    OutOfBase,
    /// The checksum is another.
    #[error("the checksum of the delta is not that of its target: it is a delta from another base")]
    Checksum,
}
