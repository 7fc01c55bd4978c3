//! How things look on a terminal: tables, durations, instants.

use jiff::{SignedDuration, Timestamp};

use crate::lifecycle::span;

/// A table with columns as wide as they must be; the last one is left ragged.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<_> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(head.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

/// An instant sent as milliseconds; `None` for 0, which means never.
pub(super) fn instant(milliseconds: i64) -> Option<Timestamp> {
    (milliseconds != 0).then(|| Timestamp::from_millisecond(milliseconds).ok())?
}

/// From `now` to `at` in the two units that matter: `in 3d 4h`, `12s ago`.
pub(super) fn from_now(now: Timestamp, at: Timestamp) -> String {
    let seconds = at.as_second() - now.as_second();
    let left = span(SignedDuration::from_secs(seconds.abs()));
    if seconds < 0 { format!("{left} ago") } else { format!("in {left}") }
}

/// Microseconds as milliseconds.
pub(super) fn millis(micros: u64) -> String {
    format!("{:.1} ms", micros as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        let cases = [(5, "5s"), (65, "1m 5s"), (3 * 3600 + 120, "3h 2m"), (90 * 86400, "90d 0h")];
        for (seconds, expected) in cases {
            assert_eq!(span(SignedDuration::from_secs(seconds)), expected);
        }
        let at = |second| Timestamp::from_second(second).unwrap_or_default();
        assert_eq!(from_now(at(100), at(90)), "10s ago");
        assert_eq!(from_now(at(100), at(160)), "in 1m 0s");
    }

    #[test]
    fn columns_line_up() {
        let rows = vec![vec!["web".to_owned(), "x".to_owned()], vec!["a-long-one".to_owned(), String::new()]];
        assert_eq!(table(&["NAME", "NEXT"], &rows), "NAME        NEXT\nweb         x\na-long-one\n");
    }
}
