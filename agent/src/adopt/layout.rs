//! Where other ACME clients keep certificates.

use std::path::{Path, PathBuf};

use super::origin::Origin;
use super::{AdoptError, read_json, read_limited};

/// Directories with more entries than this are not a client's.
const MAX_ENTRIES: usize = 10_000;

/// A client whose files can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Client {
    /// `/etc/letsencrypt`
    Certbot,
    /// `.lego`
    Lego,
    /// Caddy's data directory.
    Caddy,
}

/// The files of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What the client calls it.
    pub name: String,
    /// PEM, leaf first.
    pub chain: PathBuf,
    /// PEM.
    pub key: PathBuf,
    /// Which CA it came from.
    pub origin: Origin,
}

/// Lists the certificates below `path`, by name; none where the directory for them is not there. What cannot
/// be read is an error in the place of what it might be, and the rest is found all the same.
#[must_use]
pub fn find(client: Client, path: &Path) -> Vec<Result<Found, AdoptError>> {
    match client {
        Client::Certbot => each(entries(&path.join("live")), |dir| {
            // Its README aside.
            let name = file_name(&dir);
            (!is_file(&dir)).then(|| {
                let origin = certbot_conf(path, &name)?.server.map_or(Origin::Unknown, Origin::Directory);
                Ok(Found { chain: dir.join("fullchain.pem"), key: dir.join("privkey.pem"), name, origin })
            })
        }),
        Client::Lego => each(entries(&path.join("certificates")), |chain| {
            // NAME.issuer.crt is the chain without the leaf.
            let name = file_name(&chain);
            let name = name.strip_suffix(".crt").filter(|name| !name.ends_with(".issuer"))?.to_owned();
            // Not with_extension: names have dots.
            let beside = |end: &str| path.join("certificates").join(format!("{name}.{end}"));
            let (json, key) = (beside("json"), beside("key"));
            Some(lego_authority(&json).map(|authority| {
                let origin = authority.map_or(Origin::Unknown, Origin::Authority);
                Found { name, key, chain, origin }
            }))
        }),
        Client::Caddy => each(entries(&path.join("certificates")), |ca| (!is_file(&ca)).then_some(Ok(ca)))
            .into_iter()
            .flat_map(|ca| match ca {
                Ok(ca) => each(entries(&ca), |dir| {
                    let name = file_name(&dir);
                    let beside = |end: &str| dir.join(format!("{name}.{end}"));
                    let (chain, key) = (beside("crt"), beside("key"));
                    let origin = Origin::Key(file_name(&ca));
                    (!is_file(&dir)).then_some(Ok(Found { name, chain, key, origin }))
                }),
                Err(error) => vec![Err(error)],
            })
            .collect(),
    }
}

/// What `one` makes of each entry; `None` is passed over.
pub(super) fn each<T>(
    entries: Result<Vec<PathBuf>, AdoptError>,
    mut one: impl FnMut(PathBuf) -> Option<Result<T, AdoptError>>,
) -> Vec<Result<T, AdoptError>> {
    match entries {
        Ok(entries) => entries.into_iter().filter_map(&mut one).collect(),
        Err(error) => vec![Err(error)],
    }
}

/// The entries of a directory, sorted; none if it is not there.
pub(super) fn entries(dir: &Path) -> Result<Vec<PathBuf>, AdoptError> {
    let failed = |error: std::io::Error| AdoptError(format!("cannot list {}: {error}", dir.display()));
    let listed = match std::fs::read_dir(dir) {
        // A link that leads nowhere is there.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !dir.is_symlink() => {
            return Ok(Vec::new());
        }
        listed => listed.map_err(failed)?,
    };
    let mut paths = Vec::new();
    for entry in listed {
        paths.push(entry.map_err(failed)?.path());
        if paths.len() > MAX_ENTRIES {
            return Err(AdoptError(format!("{} has more than {MAX_ENTRIES} entries", dir.display())));
        }
    }
    paths.sort();
    Ok(paths)
}

/// Links are followed.
pub(super) fn is_file(path: &Path) -> bool {
    path.is_file()
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What certbot's `renewal/NAME.conf` says.
#[derive(Debug, Default)]
pub(super) struct CertbotConf {
    /// URL of the directory.
    pub(super) server: Option<String>,
    /// Id of the account.
    pub(super) account: Option<String>,
}

/// Reads `renewal/NAME.conf` below `path`; nothing if it is not there.
pub(super) fn certbot_conf(path: &Path, name: &str) -> Result<CertbotConf, AdoptError> {
    let conf = path.join("renewal").join(format!("{name}.conf"));
    if !conf.exists() {
        return Ok(CertbotConf::default());
    }
    let text = read_limited(&conf)?;
    let text = String::from_utf8_lossy(&text);
    let value = |wanted: &str| {
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let value = pairs.filter(|(key, _)| key.trim() == wanted).map(|(_, value)| value).next()?;
        Some(value.trim().trim_matches(['"', '\'']).to_owned())
    };
    Ok(CertbotConf { server: value("server"), account: value("account") })
}

fn lego_authority(json: &Path) -> Result<Option<String>, AdoptError> {
    if !json.exists() {
        return Ok(None);
    }
    let value = read_json(json)?;
    let url = value.get("certUrl").and_then(serde_json::Value::as_str).unwrap_or_default();
    Ok(url.split('/').nth(2).map(ToOwned::to_owned))
}
