//! Lines of a text frame, without looking into them.

/// A line, as far as can be told by its brackets.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::wire) struct Line<'a> {
    pub(in crate::wire) text: &'a [u8],
    /// How deep it is nested at its deepest, if it is JSON.
    pub(in crate::wire) depth: usize,
    pub(in crate::wire) rest: &'a [u8],
}

/// Takes the first line off. A line feed cannot stand within a JSON string, so it ends a line wherever it is.
pub(in crate::wire) fn first_line(text: &[u8]) -> Line<'_> {
    let mut nesting = Nesting::default();
    for (at, byte) in text.iter().enumerate() {
        if *byte == b'\n' {
            return Line { text: &text[..at], depth: nesting.deepest, rest: &text[at + 1..] };
        }
        nesting.step(*byte);
    }
    Line { text, depth: nesting.deepest, rest: &[] }
}

/// How deep a JSON text is nested at its deepest.
pub(super) fn depth(text: &[u8]) -> usize {
    let mut nesting = Nesting::default();
    text.iter().for_each(|byte| nesting.step(*byte));
    nesting.deepest
}

#[derive(Default)]
struct Nesting {
    depth: usize,
    deepest: usize,
    in_string: bool,
    escaped: bool,
}

impl Nesting {
    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => {
                self.depth += 1;
                self.deepest = self.deepest.max(self.depth);
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_count_outside_of_strings_only() {
        for (text, expected) in [
            ("", 0),
            ("7", 0),
            (r#"{"a":[{}]}"#, 3),
            ("[[],[],[]]", 2),
            (r#"["[[[[", "\"[[[", "\\", []]"#, 2),
            ("]]]]{}", 1),
        ] {
            assert_eq!(depth(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn lines_come_off_one_by_one() {
        let first = first_line(b"{\"a\":1}\n\n[[]]");
        assert_eq!((first.text, first.depth), (&b"{\"a\":1}"[..], 1));
        let second = first_line(first.rest);
        assert_eq!((second.text, second.depth), (&b""[..], 0));
        let third = first_line(second.rest);
        assert_eq!(third, Line { text: b"[[]]", depth: 2, rest: b"" });
    }
}
