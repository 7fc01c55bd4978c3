//! Which CA something came from, in the clients' words, and which issuer of ours that is.

use super::AdoptError;
use crate::config::{AcmeConfig, Config};

/// Which CA it was, as far as the client wrote it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// URL of the ACME directory (a certificate of certbot).
    Directory(String),
    /// The same without its scheme (an account of certbot).
    Path(String),
    /// Host, and port if any, of the certificate's URL (a certificate of lego).
    Authority(String),
    /// The same of the directory, with `_` for `:` (an account of lego).
    Folder(String),
    /// Host and path of the directory, as a name for files (Caddy).
    Key(String),
    /// Not written down.
    Unknown,
}

impl Origin {
    /// Whether it is the CA with this directory URL.
    #[must_use]
    pub fn is(&self, directory: &str) -> bool {
        let rest = directory.split_once("://").map_or(directory, |(_, rest)| rest);
        let (authority, _) = rest.split_once('/').unwrap_or((rest, ""));
        match self {
            Self::Directory(url) => url == directory,
            Self::Path(path) => path == rest.trim_end_matches('/'),
            Self::Authority(name) => name == authority,
            Self::Folder(name) => *name == authority.replace(':', "_"),
            Self::Key(key) => *key == caddy_key(rest),
            Self::Unknown => false,
        }
    }

    /// As the client wrote it.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Directory(text)
            | Self::Path(text)
            | Self::Authority(text)
            | Self::Folder(text)
            | Self::Key(text) => text,
            Self::Unknown => "a CA not written down",
        }
    }

    /// The `[acme.NAME]` tables with its directory. Those in `preferred` alone, if any of them is there.
    ///
    /// # Errors
    /// They are of several CAs: the client did not write down enough.
    pub(super) fn issuers<'a>(
        &self,
        config: &'a Config,
        preferred: &[String],
    ) -> Result<Vec<&'a str>, AdoptError> {
        let is_preferred = |name: &str| preferred.iter().any(|preferred| preferred == name);
        let mut all: Vec<(&str, &AcmeConfig)> = config
            .acme
            .iter()
            .filter(|(_, acme)| self.is(&acme.directory))
            .map(|(name, acme)| (name.as_str(), acme))
            .collect();
        if all.iter().any(|(name, _)| is_preferred(name)) {
            all.retain(|(name, _)| is_preferred(name));
        }
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        if all.windows(2).any(|pair| pair[0].1.directory != pair[1].1.directory) {
            let detail = format!("may be of any of {}: give --issuer NAME", names.join(", "));
            return Err(AdoptError(detail));
        }
        Ok(names)
    }
}

/// As certmagic makes it (`issuerKey` and `KeyBuilder.Safe`).
fn caddy_key(rest: &str) -> String {
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.split(['?', '#']).next().unwrap_or_default().replace(['/', '\\'], "-");
    let path = path.trim_matches('-');
    let key = if path.is_empty() { host.to_owned() } else { format!("{host}-{path}") };
    let key = key
        .to_lowercase()
        .replace('+', "_plus_")
        .replace('*', "wildcard_")
        .replace(':', "-")
        .replace("..", "");
    key.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '@' | '.' | '-')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_names_a_ca_in_its_own_way() {
        let directory = "https://127.0.0.1:14000/acme/Main/dir";
        for origin in [
            Origin::Directory(directory.into()),
            Origin::Path("127.0.0.1:14000/acme/Main/dir".into()),
            Origin::Authority("127.0.0.1:14000".into()),
            Origin::Folder("127.0.0.1_14000".into()),
            Origin::Key("127.0.0.1-14000-acme-main-dir".into()),
        ] {
            assert!(origin.is(directory), "{origin:?}");
            assert!(!origin.is("https://127.0.0.1:14001/acme/Main/dir"), "{origin:?}");
        }
        assert!(!Origin::Unknown.is(directory));
        assert_eq!(
            caddy_key("acme-v02.api.letsencrypt.org/directory"),
            "acme-v02.api.letsencrypt.org-directory"
        );
        assert_eq!(caddy_key("[::1]:14000/dir/"), "--1-14000-dir");
        assert_eq!(caddy_key("ca.example"), "ca.example");
    }
}
