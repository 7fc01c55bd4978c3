//! Where other ACME clients keep their accounts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::layout::{certbot_conf, each, entries, file_name, is_file};
use super::origin::Origin;
use super::{AdoptError, Client, key, read_json, read_limited};
use crate::issuer::acme::ForeignAccount;

/// certbot has a directory for each part of the CA's URL.
const MAX_DEPTH: usize = 8;
/// A CA's URL has a few parts, and a client a few CAs.
const MAX_DIRS: usize = 1_000;

/// The files of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundAccount {
    /// What the client calls it.
    pub name: String,
    /// JSON with its URL.
    pub registration: PathBuf,
    /// JWK (certbot) or PEM.
    pub key: PathBuf,
    /// Which CA it is with.
    pub origin: Origin,
    /// How many certificates the client renews with it, where it wrote that down.
    pub uses: usize,
    client: Client,
}

/// Lists the accounts below `path`, by CA and name; none where the directory for them is not there. What cannot
/// be read is an error in the place of what it might be.
#[must_use]
pub fn find_accounts(client: Client, path: &Path) -> Vec<Result<FoundAccount, AdoptError>> {
    match client {
        Client::Certbot => certbot(path),
        Client::Lego => nested(&path.join("accounts"), "", |server, dir| {
            // accounts/HOST_PORT/EMAIL/account.json, keys/EMAIL.key; from version 5 on accounts/HOST_PORT/ID/ID.key
            let name = file_name(dir);
            let file = format!("{name}.key");
            let registration = dir.join("account.json");
            FoundAccount {
                key: if dir.join(&file).exists() { dir.join(&file) } else { dir.join("keys").join(&file) },
                origin: lego_server(&registration).map_or(Origin::Folder(server), Origin::Directory),
                registration,
                uses: 0,
                client,
                name,
            }
        }),
        Client::Caddy => nested(&path.join("acme"), "users", |ca, dir| {
            // acme/CA/users/EMAIL/LOCAL-PART.json, .key; "default" for no email.
            let name = file_name(dir);
            let local = name.trim_start_matches('@').split('@').next().unwrap_or_default();
            let beside = |end: &str| dir.join(format!("{local}.{end}"));
            FoundAccount {
                registration: beside("json"),
                key: beside("key"),
                origin: Origin::Key(ca),
                uses: 0,
                client,
                name,
            }
        }),
    }
}

/// `make(CA, DIR)` for each `path/CA/below/DIR`.
fn nested(
    path: &Path,
    below: &str,
    make: impl Fn(String, &Path) -> FoundAccount,
) -> Vec<Result<FoundAccount, AdoptError>> {
    let one = |ca: PathBuf| {
        if is_file(&ca) {
            return Vec::new();
        }
        let dirs = if below.is_empty() { entries(&ca) } else { entries(&ca.join(below)) };
        each(dirs, |dir| (!is_file(&dir)).then(|| Ok(make(file_name(&ca), &dir))))
    };
    match entries(path) {
        Ok(all) => all.into_iter().flat_map(one).collect(),
        Err(error) => vec![Err(error)],
    }
}

/// accounts/HOST/PATH…/ID/{private_key.json, regr.json, meta.json}
fn certbot(path: &Path) -> Vec<Result<FoundAccount, AdoptError>> {
    let root = path.join("accounts");
    let uses = certbot_uses(path);
    let mut found = Vec::new();
    let mut dirs = vec![(root.clone(), 0)];
    let mut seen = 0;
    while let Some((dir, depth)) = dirs.pop() {
        let (registration, key) = (dir.join("regr.json"), dir.join("private_key.json"));
        if registration.exists() || key.exists() {
            let server = dir.parent().and_then(|server| server.strip_prefix(&root).ok());
            let server = server.map(|server| server.to_string_lossy().into_owned()).unwrap_or_default();
            let name = file_name(&dir);
            let uses = uses.get(&name).copied().unwrap_or_default();
            let origin = Origin::Path(server);
            found.push(Ok(FoundAccount { name, registration, key, origin, uses, client: Client::Certbot }));
            continue;
        }
        seen += 1;
        if seen > MAX_DIRS {
            found.push(Err(AdoptError(format!("{} has more than {MAX_DIRS} directories", root.display()))));
            break;
        }
        if depth > MAX_DEPTH || leads_back(&dir) {
            let detail = "a link in a circle, or too many directories in one another";
            found.push(Err(AdoptError(format!("{}: {detail}", dir.display()))));
            continue;
        }
        match entries(&dir) {
            Ok(below) => {
                dirs.extend(
                    below.into_iter().rev().filter(|path| !is_file(path)).map(|path| (path, depth + 1)),
                );
            }
            Err(error) => found.push(Err(error)),
        }
    }
    found
}

/// URL of the directory, which lego writes down from version 5 on. What cannot be read is told by
/// [`FoundAccount::read`].
fn lego_server(registration: &Path) -> Option<String> {
    let json = read_json(registration).ok()?;
    json.get("server")?.as_str().filter(|server| !server.is_empty()).map(str::to_owned)
}

/// Whether it is a link to a directory that it is in.
fn leads_back(dir: &Path) -> bool {
    let target = dir.is_symlink().then(|| dir.canonicalize().ok()).flatten();
    let above = dir.parent().and_then(|above| above.canonicalize().ok());
    target.zip(above).is_some_and(|(target, above)| above.starts_with(target))
}

/// How many certificates each account renews. What cannot be read is told where its certificate is imported.
fn certbot_uses(path: &Path) -> HashMap<String, usize> {
    let mut uses = HashMap::new();
    for conf in entries(&path.join("renewal")).unwrap_or_default() {
        let name = file_name(&conf);
        let Some(name) = name.strip_suffix(".conf") else { continue };
        if let Ok(Some(account)) = certbot_conf(path, name).map(|conf| conf.account) {
            *uses.entry(account).or_default() += 1;
        }
    }
    uses
}

impl FoundAccount {
    /// Reads URL and key. Without a registration the account can still be found by its key.
    ///
    /// # Errors
    /// [`AdoptError`] names the file.
    pub fn read(&self) -> Result<ForeignAccount, AdoptError> {
        let at = |path: &Path, error: String| AdoptError(format!("{}: {error}", path.display()));
        let bytes = read_limited(&self.key)?;
        let pkcs8 = match self.client {
            Client::Certbot => key::jwk_to_pkcs8(&bytes),
            Client::Lego | Client::Caddy => key::to_pkcs8(&bytes),
        };
        let pkcs8 = pkcs8.map_err(|error| at(&self.key, error))?;
        let url = if self.registration.exists() {
            let registration = read_json(&self.registration)?;
            let members: &[&str] = match self.client {
                Client::Certbot => &["/uri"],
                Client::Lego => &["/registration/uri", "/registration/accountURL"],
                Client::Caddy => &["/location"],
            };
            let text = |member: &&str| registration.pointer(member)?.as_str().map(str::to_owned);
            members.iter().find_map(text)
        } else {
            None
        };
        let url = url.filter(|url| !url.is_empty());
        ForeignAccount::new(url.clone(), &pkcs8, key::pem_of(&pkcs8)).map_err(|error| {
            // Only a URL that is there can be wrong; all else is the key.
            let file = if error.ends_with("URL of an account") { &self.registration } else { &self.key };
            at(file, error)
        })
    }
}
