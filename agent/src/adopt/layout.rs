//! Where other ACME clients keep certificates.

use std::path::{Path, PathBuf};

use super::{AdoptError, read_limited};

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

/// Which CA a certificate came from, as far as the client wrote it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// URL of the ACME directory (certbot).
    Directory(String),
    /// Host, and port if any, of the certificate's URL (lego).
    Authority(String),
    /// URL of the directory without scheme and with `-` for `/` (Caddy).
    Key(String),
    /// Not written down.
    Unknown,
}

impl Origin {
    /// Whether it is the CA with this directory URL.
    #[must_use]
    pub fn is(&self, directory: &str) -> bool {
        let rest = directory.split_once("://").map_or(directory, |(_, rest)| rest);
        match self {
            Self::Directory(url) => url == directory,
            Self::Authority(authority) => rest.split('/').next() == Some(authority),
            Self::Key(key) => rest.replace('/', "-") == *key,
            Self::Unknown => false,
        }
    }
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

/// Lists the certificates below `path`, by name.
///
/// # Errors
/// [`AdoptError`] when the layout is not there or cannot be read.
pub fn find(client: Client, path: &Path) -> Result<Vec<Found>, AdoptError> {
    let mut found = Vec::new();
    match client {
        Client::Certbot => {
            for dir in entries(&path.join("live"))?.into_iter().filter(|dir| dir.is_dir()) {
                let name = file_name(&dir);
                let conf = path.join("renewal").join(format!("{name}.conf"));
                let origin = certbot_server(&conf)?.map_or(Origin::Unknown, Origin::Directory);
                found.push(Found {
                    name,
                    chain: dir.join("fullchain.pem"),
                    key: dir.join("privkey.pem"),
                    origin,
                });
            }
        }
        Client::Lego => {
            for file in entries(&path.join("certificates"))? {
                // NAME.issuer.crt is the chain without the leaf.
                let name = file_name(&file);
                let Some(name) = name.strip_suffix(".crt").filter(|name| !name.ends_with(".issuer")) else {
                    continue;
                };
                // Not with_extension: names have dots.
                let beside = |end: &str| path.join("certificates").join(format!("{name}.{end}"));
                let origin = lego_authority(&beside("json"))?.map_or(Origin::Unknown, Origin::Authority);
                found.push(Found { name: name.to_owned(), key: beside("key"), chain: file, origin });
            }
        }
        Client::Caddy => {
            for ca in entries(&path.join("certificates"))?.into_iter().filter(|dir| dir.is_dir()) {
                for dir in entries(&ca)?.into_iter().filter(|dir| dir.is_dir()) {
                    let name = file_name(&dir);
                    let beside = |end: &str| dir.join(format!("{name}.{end}"));
                    let origin = Origin::Key(file_name(&ca));
                    found.push(Found { chain: beside("crt"), key: beside("key"), name, origin });
                }
            }
        }
    }
    Ok(found)
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, AdoptError> {
    let failed = |error: std::io::Error| AdoptError(format!("cannot list {}: {error}", dir.display()));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
        if paths.len() > MAX_ENTRIES {
            return Err(AdoptError(format!("{} has more than {MAX_ENTRIES} entries", dir.display())));
        }
    }
    paths.sort();
    Ok(paths)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn certbot_server(conf: &Path) -> Result<Option<String>, AdoptError> {
    if !conf.exists() {
        return Ok(None);
    }
    let text = read_limited(conf)?;
    let text = String::from_utf8_lossy(&text);
    let server = text.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| key.trim() == "server");
    Ok(server.map(|(_, value)| value.trim().to_owned()))
}

fn lego_authority(json: &Path) -> Result<Option<String>, AdoptError> {
    if !json.exists() {
        return Ok(None);
    }
    let value: serde_json::Value = serde_json::from_slice(&read_limited(json)?)
        .map_err(|error| AdoptError(format!("{} is not JSON: {error}", json.display())))?;
    let url = value.get("certUrl").and_then(serde_json::Value::as_str).unwrap_or_default();
    Ok(url.split('/').nth(2).map(ToOwned::to_owned))
}
