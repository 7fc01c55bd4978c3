//! A token in a command.

use std::fmt;

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// Wiped when dropped, and never shown.
#[derive(Clone, Default)]
pub(crate) struct Token(Zeroizing<String>);

impl Token {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|token| Self(Zeroizing::new(token)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::protocol::commands;

    #[test]
    fn a_token_is_read_and_never_shown() {
        let commands = commands(r#"{"id":1,"connect":{"token":"SECRET"}}"#).unwrap();
        assert_eq!(commands[0].connect.as_ref().unwrap().token.as_str(), "SECRET");
        assert!(!format!("{commands:?}").contains("SECRET"));
    }
}
