//! Certificate profiles (draft-ietf-acme-profiles): which ones a CA offers, and how long theirs live.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::directory::Directory;
use super::problem::Ca;
use crate::issuer::{ErrorClass, IssueError};

/// Let's Encrypt's profiles (<https://letsencrypt.org/docs/profiles/>).
const LETS_ENCRYPT: [(&str, Duration); 3] = [
    ("classic", Duration::from_hours(90 * 24)),
    ("tlsserver", Duration::from_hours(45 * 24)),
    ("shortlived", Duration::from_hours(160)),
];

/// What is known about profiles beside the directory.
#[derive(Debug, Default)]
pub(super) struct Profiles {
    /// `[acme.NAME.lifetimes]`.
    pub(super) lifetimes: BTreeMap<String, Duration>,
    told: AtomicBool,
}

impl Profiles {
    pub(super) fn new(lifetimes: BTreeMap<String, Duration>) -> Self {
        Self { lifetimes, told: AtomicBool::new(false) }
    }

    /// What to order for the configured profile: itself, or none at a CA that has no profiles.
    ///
    /// # Errors
    /// Class `Ours`: the CA offers others.
    pub(super) fn choose<'a>(
        &self,
        ca: &Ca,
        directory: &Directory,
        wanted: Option<&'a str>,
    ) -> Result<Option<&'a str>, IssueError> {
        let Some(wanted) = wanted else { return Ok(None) };
        let offered = &directory.meta.profiles;
        if offered.is_empty() {
            if !self.told.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    issuer = ca.issuer,
                    profile = wanted,
                    "this CA has no profiles; ordering without"
                );
            }
            return Ok(None);
        }
        if offered.contains_key(wanted) {
            return Ok(Some(wanted));
        }
        let names: Vec<_> = offered.keys().map(String::as_str).collect();
        Err(IssueError::new(
            ErrorClass::Ours,
            format!(
                "issuer {}: the CA has no profile \"{wanted}\"; it offers {}: correct `profile` of the certificate \
                 or of [acme.{}]",
                ca.issuer,
                names.join(", "),
                ca.issuer
            ),
        ))
    }

    /// How long a certificate of this profile lives at most; `None` if nobody has said, or if the CA was not
    /// asked for the profile because it has none.
    pub(super) fn lifetime(&self, ca: &Ca, directory: &Directory, profile: &str) -> Option<Duration> {
        if !directory.meta.profiles.contains_key(profile) {
            return None;
        }
        let host = ca.directory.parse::<http::Uri>().ok()?.host()?.to_owned();
        let known = if host.ends_with(".letsencrypt.org") { &LETS_ENCRYPT[..] } else { &[] };
        self.lifetimes
            .get(profile)
            .copied()
            .or_else(|| known.iter().find(|(name, _)| *name == profile).map(|(_, lifetime)| *lifetime))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ca(directory: &str) -> Ca {
        Ca { issuer: "x".into(), directory: directory.into(), account_dir: "/nonexistent".into() }
    }

    fn offering(names: &[&str]) -> Directory {
        let mut directory = Directory::default();
        directory.meta.profiles = names.iter().map(|name| ((*name).to_owned(), "text".into())).collect();
        directory
    }

    #[test]
    fn only_what_is_offered_is_ordered() {
        let (profiles, ca) = (Profiles::default(), ca("https://ca.example/dir"));
        let both = offering(&["classic", "shortlived"]);
        assert_eq!(profiles.choose(&ca, &both, Some("shortlived")).unwrap(), Some("shortlived"));
        assert_eq!(profiles.choose(&ca, &both, None).unwrap(), None);
        let error = profiles.choose(&ca, &both, Some("short")).unwrap_err();
        assert_eq!(error.class, ErrorClass::Ours);
        assert!(error.message.contains("no profile \"short\"; it offers classic, shortlived"), "{error}");
        assert_eq!(profiles.choose(&ca, &offering(&[]), Some("short")).unwrap(), None);
    }

    #[test]
    fn lifetimes_are_those_of_the_configuration_then_of_lets_encrypt() {
        let directory = offering(&["shortlived", "own"]);
        let hours = |hours| Some(Duration::from_hours(hours));
        let lets_encrypt = ca("https://acme-v02.api.letsencrypt.org/directory");
        let lifetimes = BTreeMap::from([("own".to_owned(), Duration::from_hours(24))]);
        let profiles = Profiles::new(lifetimes);
        assert_eq!(profiles.lifetime(&lets_encrypt, &directory, "shortlived"), hours(160));
        assert_eq!(profiles.lifetime(&lets_encrypt, &directory, "own"), hours(24));
        assert_eq!(profiles.lifetime(&lets_encrypt, &directory, "classic"), None, "not offered");
        assert_eq!(profiles.lifetime(&ca("https://ca.example/dir"), &directory, "shortlived"), None);
    }
}
