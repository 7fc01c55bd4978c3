//! Names of sessions.

use std::fmt;
use std::str::FromStr;

/// A version 4 UUID (RFC 9562). It names a session and protects nothing, so no secure randomness is needed. Kept as a
/// number: as text it would take four times the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SessionId(u128);

/// Where the hyphens are, in digits from the left.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

impl SessionId {
    /// One that nobody else has.
    pub(crate) fn random() -> Self {
        Self(fastrand::u128(..) & !(0xf << 76) & !(0b11 << 62) | (0x4 << 76) | (0b10 << 62))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        let mut rest = hex.as_str();
        for (position, digits) in GROUPS.into_iter().enumerate() {
            let (group, after) = rest.split_at(digits);
            rest = after;
            f.write_str(if position == 0 { "" } else { "-" })?;
            f.write_str(group)?;
        }
        Ok(())
    }
}

impl FromStr for SessionId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let groups: Vec<_> = text.split('-').collect();
        let sound = groups.iter().map(|group| group.len()).eq(GROUPS)
            && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
        if !sound {
            return Err("expected the id of a session, as `sessions` shows it");
        }
        u128::from_str_radix(&groups.concat(), 16).map(Self).map_err(|_| "expected hexadecimal digits")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_4_uuids_and_read_as_written() {
        for _ in 0..100 {
            let id = SessionId::random();
            let text = id.to_string();
            assert_eq!((text.len(), &text[14..15]), (36, "4"), "{text}");
            assert!("89ab".contains(&text[19..20]), "{text}");
            assert_eq!(text.parse(), Ok(id));
        }
        for wrong in
            ["", "1-2-3-4-5", "+0000000-0000-4000-8000-000000000000", "zzzzzzzz-0000-4000-8000-000000000000"]
        {
            assert!(wrong.parse::<SessionId>().is_err(), "{wrong}");
        }
    }
}
