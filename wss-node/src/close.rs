//! What is said when a session is closed from here.

use std::borrow::Cow;

use crate::wire::Disconnect;

/// What fits into a close frame beside the code (RFC 6455 section 5.5).
pub(crate) const MAX_REASON_BYTES: usize = 123;

/// A close code that may be sent, and a reason that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Close {
    code: u16,
    reason: Cow<'static, str>,
}

impl Close {
    /// An operator's words.
    ///
    /// # Errors
    /// The code is not one that a server may choose (RFC 6455 section 7.4), or the reason is too long; for people.
    pub(crate) fn told(code: u16, reason: String) -> Result<Self, String> {
        if !matches!(code, 1000 | 1001 | 1003 | 1007..=1009 | 1011..=1014 | 3000..=4999) {
            return Err(format!(
                "{code}: expected a close code of 3000 to 4999, or one of 1000 to 1014 that servers send"
            ));
        }
        if reason.len() > MAX_REASON_BYTES {
            return Err(format!(
                "the reason has {} bytes, a close frame takes {MAX_REASON_BYTES}",
                reason.len()
            ));
        }
        Ok(Self { code, reason: Cow::Owned(reason) })
    }

    /// The close code.
    pub(crate) fn code(&self) -> u16 {
        self.code
    }

    /// Whether something was wrong: neither the node stops nor does an operator wish it.
    pub(crate) fn is_fault(&self) -> bool {
        let meant = [Disconnect::SHUTDOWN.code, Disconnect::RESTART.code];
        matches!(self.reason, Cow::Borrowed(_)) && !meant.contains(&self.code)
    }

    /// For people.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }
}

impl From<Disconnect> for Close {
    fn from(disconnect: Disconnect) -> Self {
        Self { code: disconnect.code, reason: Cow::Borrowed(disconnect.reason) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_sent() {
        for code in [1000, 1001, 1013, 3000, 4999] {
            assert!(Close::told(code, String::new()).is_ok(), "{code}");
        }
        for code in [0, 999, 1002, 1004, 1005, 1006, 1010, 1015, 1016, 2999, 5000] {
            assert!(Close::told(code, String::new()).is_err(), "{code}");
        }
        assert!(Close::told(3000, "x".repeat(123)).is_ok());
        assert!(Close::told(3000, "x".repeat(124)).is_err());
    }
}
