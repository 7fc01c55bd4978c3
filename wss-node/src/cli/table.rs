//! How things look on a terminal.

use std::fmt::Write;

/// A table with columns as wide as they must be; the last one is left ragged.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<_> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let head: Vec<_> = head.iter().map(ToString::to_string).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing into a string does not fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What others wrote, so that it moves no cursor: control characters as escapes. Nothing is `-`.
pub(super) fn cell(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    let mut shown = String::new();
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nobody_moves_the_cursor() {
        let rows = [vec!["a".to_owned(), cell("")], vec!["longer".to_owned(), cell("x\u{1b}[2Jy\n")]];
        assert_eq!(table(&["ONE", "TWO"], &rows), "ONE     TWO\na       -\nlonger  x\\u{1b}[2Jy\\n\n");
    }
}
