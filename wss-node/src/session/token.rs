//! A token in a command.

use std::fmt;

use zeroize::Zeroizing;

/// Wiped when dropped, and never shown.
pub(super) struct Token(Zeroizing<String>);

impl Token {
    /// Takes it out of a request, which has none any more.
    pub(super) fn take(field: &mut String) -> Self {
        Self(Zeroizing::new(std::mem::take(field)))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_and_never_shown() {
        let mut field = "SECRET".to_owned();
        let token = Token::take(&mut field);
        assert!(field.is_empty() && token.as_str() == "SECRET");
        assert!(!format!("{token:?}").contains("SECRET"));
    }
}
