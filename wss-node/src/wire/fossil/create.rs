//! Deltas are made here. Time is linear in the sizes of both texts, whatever is in them.

use super::index::{Index, PIECE};
use super::{checksum, digits, put_number};

/// Texts larger than this are not compared: a comparison holds up the publications behind it (1 to 10 ms at this
/// size).
pub const MAX_BYTES: usize = 256 * 1024;

/// A part of the target that is in the base.
#[derive(Clone, Copy, Debug)]
struct Copy {
    to: usize,
    from: usize,
    count: usize,
}

impl Copy {
    /// Whether it takes less room than its bytes, with the header of the insertion that it may split off.
    fn pays(self) -> bool {
        self.count > digits(self.count as u32) + digits(self.from as u32) + 4
    }

    fn end(self) -> usize {
        self.to + self.count
    }
}

/// The delta that makes `target` out of `base`; nothing when it would not be smaller than the target, or one of them
/// is larger than [`MAX_BYTES`].
///
/// Between two texts in UTF-8, no insertion begins or ends within a character, so that the delta is UTF-8, too.
#[must_use]
pub fn create(base: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    if base.len().max(target.len()) > MAX_BYTES {
        return None;
    }
    let mut copies = copies(base, target);
    if std::str::from_utf8(target).is_ok() {
        copies.iter_mut().for_each(|copy| *copy = within_characters(*copy, target));
        copies.retain(|copy| copy.pays());
    }
    write(&copies, target)
}

fn write(copies: &[Copy], target: &[u8]) -> Option<Vec<u8>> {
    let mut delta = Vec::new();
    put_number(target.len() as u32, &mut delta);
    delta.push(b'\n');
    let mut done = 0;
    let end = Copy { to: target.len(), from: 0, count: 0 };
    for copy in copies.iter().copied().chain([end]) {
        let inserted = &target[done..copy.to];
        if delta.len() + inserted.len() >= target.len() {
            return None;
        }
        if !inserted.is_empty() {
            put_number(inserted.len() as u32, &mut delta);
            delta.push(b':');
            delta.extend_from_slice(inserted);
        }
        if copy.count > 0 {
            put_number(copy.count as u32, &mut delta);
            delta.push(b'@');
            put_number(copy.from as u32, &mut delta);
            delta.push(b',');
        }
        done = copy.end();
    }
    put_number(checksum(target), &mut delta);
    delta.push(b';');
    (delta.len() < target.len()).then_some(delta)
}

/// Parts of the target that are in the base, in order and apart from each other.
fn copies(base: &[u8], target: &[u8]) -> Vec<Copy> {
    let mut found = Vec::new();
    let start = common(base.iter(), target.iter());
    let end = common(base[start..].iter().rev(), target[start..].iter().rev());
    let first = Copy { to: 0, from: 0, count: start };
    let last = Copy { to: target.len() - end, from: base.len() - end, count: end };
    let mut done = if first.pays() { start } else { 0 };
    if first.pays() {
        found.push(first);
    }
    let until = if last.pays() { last.to } else { target.len() };
    // Most changes of small states end here: there is little between a common start and a common end.
    if until - done >= PIECE {
        between(base, target, &mut done, until, &mut found);
    }
    if last.pays() {
        found.push(last);
    }
    found
}

fn between(base: &[u8], target: &[u8], done: &mut usize, until: usize, found: &mut Vec<Copy>) {
    let index = Index::new(base);
    let mut at = *done;
    while let Some(piece) = target[at..until].first_chunk::<PIECE>() {
        let longest = index
            .places(piece)
            .map(|from| {
                let forwards = common(base[from..].iter(), target[at..until].iter());
                let backwards = common(base[..from].iter().rev(), target[*done..at].iter().rev());
                Copy { to: at - backwards, from: from - backwards, count: backwards + forwards }
            })
            .filter(|copy| copy.pays())
            .max_by_key(|copy| copy.count);
        match longest {
            Some(copy) => {
                found.push(copy);
                *done = copy.end();
                at = *done;
            }
            None => at += 1,
        }
    }
}

fn common<'a>(one: impl Iterator<Item = &'a u8>, other: impl Iterator<Item = &'a u8>) -> usize {
    one.zip(other).take_while(|(one, other)| one == other).count()
}

/// The part of a copy that begins and ends between characters of the target.
fn within_characters(copy: Copy, target: &[u8]) -> Copy {
    let inside = |at: usize| target.get(at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    let start = (copy.to..copy.end()).find(|at| !inside(*at)).unwrap_or(copy.end());
    let end = (start..=copy.end()).rev().find(|at| !inside(*at)).unwrap_or(start);
    Copy { to: start, from: copy.from + (start - copy.to), count: end - start }
}
