//! Lines into something that may fail: a full disk tears lines and swallows them; once it takes some again, it is told
//! how many were lost.

use std::io::{self, Write};

use jiff::Timestamp;

use super::line::Line;

/// What becomes of lines.
#[derive(Debug)]
pub(super) struct Lines {
    /// Lost since the last line that got through.
    lost: u64,
    /// Why.
    why: String,
    /// The last one ends in its middle.
    torn: bool,
}

/// What a write came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    AsBefore,
    /// The first that failed.
    Fails(String),
    /// The first that got through again; so many were lost.
    Again(u64),
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { lost: 0, why: String::new(), torn: false }
    }

    /// Some were lost on their way here.
    pub(super) fn lost_before(&mut self, count: u64) {
        if count > 0 {
            self.lost += count;
            "the queue was full".clone_into(&mut self.why);
        }
    }

    /// Whether all that was given so far is written.
    pub(super) fn is_whole(&self) -> bool {
        !self.torn && self.lost == 0
    }

    /// Writes whole lines, `count` of them.
    pub(super) fn write(
        &mut self,
        into: &mut impl Write,
        bytes: &[u8],
        count: u64,
        now: Timestamp,
    ) -> Written {
        let was_failing = !self.is_whole();
        let mut all = Vec::with_capacity(bytes.len());
        if self.torn {
            all.push(b'\n');
        }
        if self.lost > 0 {
            let detail = format!("{} lines were lost: {}", self.lost, self.why);
            all.extend(Line::lost(self.lost, &detail, now).encode());
        }
        all.extend(bytes);
        if let Err((written, error)) = write_all(into, &all) {
            self.torn |= written > 0;
            self.lost += count;
            self.why = error.to_string();
            return if was_failing { Written::AsBefore } else { Written::Fails(self.why.clone()) };
        }
        self.torn = false;
        match std::mem::take(&mut self.lost) {
            0 => Written::AsBefore,
            lost => Written::Again(lost),
        }
    }
}

/// Tells how much was written before it failed.
fn write_all(into: &mut impl Write, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < bytes.len() {
        match into.write(&bytes[written..]) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for so many bytes.
    struct Disk {
        room: usize,
        holds: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let takes = bytes.len().min(self.room).min(5);
            self.room -= takes;
            self.holds.extend(&bytes[..takes]);
            Ok(takes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_loses_lines_and_tells_how_many_once_it_has_room() {
        let mut disk = Disk { room: 12, holds: Vec::new() };
        let (mut lines, now) = (Lines::new(), Timestamp::UNIX_EPOCH);
        assert_eq!(lines.write(&mut disk, b"{first}\n", 1, now), Written::AsBefore);
        assert!(matches!(lines.write(&mut disk, b"{second}\n", 1, now), Written::Fails(_)));
        assert_eq!(lines.write(&mut disk, b"{third}\n", 1, now), Written::AsBefore);
        lines.lost_before(2);
        disk.room = 10_000;
        assert_eq!(lines.write(&mut disk, b"{fourth}\n", 1, now), Written::Again(4));
        assert_eq!(lines.write(&mut disk, b"{fifth}\n", 1, now), Written::AsBefore);
        let text = String::from_utf8_lossy(&disk.holds).into_owned();
        let found: Vec<_> = text.lines().collect();
        assert_eq!(found.len(), 5, "{text}");
        assert_eq!((found[0], found[1], found[3], found[4]), ("{first}", "{sec", "{fourth}", "{fifth}"));
        assert!(found[2].contains("\"what\":\"lost\"") && found[2].contains("\"count\":4"), "{text}");
    }
}
