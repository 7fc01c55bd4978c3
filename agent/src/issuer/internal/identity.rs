//! Which key of the CA: a root or an intermediate, by number.

use std::fmt;
use std::str::FromStr;

/// One CA certificate of an issuer. Numbers count from 1 and are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum AuthorityId {
    Root(u64),
    Intermediate(u64),
}

impl AuthorityId {
    /// What the names of its files start with.
    pub(super) fn stem(self) -> String {
        match self {
            // There was only one when the layout was made.
            Self::Root(1) => "root".to_owned(),
            other => other.to_string(),
        }
    }

    /// The authority of a file name such as `intermediate-3.pem`.
    pub(super) fn of_file(name: &str, suffix: &str) -> Option<Self> {
        let stem = name.strip_suffix(suffix)?;
        if stem == "root" { Some(Self::Root(1)) } else { stem.parse().ok() }
    }
}

impl fmt::Display for AuthorityId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(number) => write!(formatter, "root-{number}"),
            Self::Intermediate(number) => write!(formatter, "intermediate-{number}"),
        }
    }
}

/// Not the name of an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoSuchAuthority;

impl FromStr for AuthorityId {
    type Err = NoSuchAuthority;

    fn from_str(text: &str) -> Result<Self, NoSuchAuthority> {
        let (kind, number) = text.rsplit_once('-').ok_or(NoSuchAuthority)?;
        let plain = !number.starts_with(['0', '+']);
        let number = number.parse().ok().filter(|_| plain).ok_or(NoSuchAuthority)?;
        match kind {
            "root" => Ok(Self::Root(number)),
            "intermediate" => Ok(Self::Intermediate(number)),
            _ => Err(NoSuchAuthority),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for id in [AuthorityId::Root(1), AuthorityId::Root(2), AuthorityId::Intermediate(30)] {
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(AuthorityId::of_file(&format!("{}.pem", id.stem()), ".pem"), Some(id));
        }
        for other in ["root", "root-0", "root-01", "root-+1", "leaf-1", "intermediate-", "1"] {
            assert_eq!(other.parse::<AuthorityId>(), Err(NoSuchAuthority), "{other}");
        }
        assert_eq!(AuthorityId::of_file("root.key.pem", ".pem"), None);
    }
}
