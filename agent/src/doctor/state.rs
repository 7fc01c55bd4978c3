//! The state directory: whether the agent could open it, has room in it, and would find what it left there.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat, statvfs};
use sealwire_proto::socket::dial;
use sealwire_proto::v1::StatusRequest;
use sealwire_proto::v1::admin_service_client::AdminServiceClient;
use tokio::time::timeout;

use super::{Finding, STEP_TIMEOUT, Scene};
use crate::config::Config;
use crate::issuer::acme::survey::account_url;
use crate::store::{Glance, StoreError, check_dir_private};

const CHECK: &str = "state";
/// A generation has about 10 KiB; a journal and its copies beside it as well.
const MIN_FREE_BYTES: u64 = 64 * 1024 * 1024;
const LOW_FREE_PERCENT: u64 = 5;
/// An order makes about ten files.
const MIN_FREE_INODES: u64 = 64;
const LOW_FREE_INODES: u64 = 1000;

/// Whether an agent has the state directory.
#[derive(Debug, Default)]
pub(super) struct Running {
    /// Its process, where known.
    pub(super) pid: Option<u32>,
    /// It holds the lock, or answers at the admin socket for this state directory.
    pub(super) is: bool,
    /// What it says at the admin socket.
    pub(super) version: Option<String>,
    /// Why it says nothing.
    pub(super) silent: Option<String>,
}

impl Running {
    /// Looks, without taking the lock.
    pub(super) async fn look(config: &Config) -> Self {
        let lock = config.state_dir.join("lock");
        let pid: Option<u32> = std::fs::read_to_string(&lock).ok().and_then(|text| text.trim().parse().ok());
        let held = std::fs::metadata(&lock).is_ok_and(|found| is_locked(&found, pid));
        let mut running = Self { pid: pid.filter(|_| held), is: held, ..Self::default() };
        let asked = async {
            let channel = dial(&config.admin.socket).await.map_err(|error| error.to_string())?;
            let said = |status: tonic::Status| status.message().to_owned();
            let parts = AdminServiceClient::new(channel).status(StatusRequest {}).await.map_err(said)?;
            // All that is wanted is in the first part.
            let part = parts.into_inner().message().await.map_err(said)?;
            part.ok_or_else(|| "an empty answer".to_owned())
        };
        match timeout(STEP_TIMEOUT, asked).await {
            Ok(Ok(status)) => {
                running.version = Some(status.version);
                if Path::new(&status.state_dir) == config.state_dir {
                    (running.is, running.pid) = (true, Some(status.pid));
                }
            }
            Ok(Err(error)) => running.silent = Some(error),
            Err(_) => running.silent = Some(format!("no answer within {} s", STEP_TIMEOUT.as_secs())),
        }
        running
    }

    /// ` (pid 7)`, if known.
    pub(super) fn who(&self) -> String {
        self.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    }
}

/// Whether somebody holds a lock on a file (proc_locks(5)); asking the file itself would take the lock.
fn is_locked(file: &Metadata, pid: Option<u32>) -> bool {
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    // Not by the device: btrfs and overlays show another one there than stat tells. So by the owner as well.
    let (inode, pid) = (format!(":{}", file.ino()), pid.map(|pid| pid.to_string()));
    let ours = |line: &str| {
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        words.contains(&"FLOCK")
            && words.iter().any(|word| word.ends_with(&inode))
            && pid.as_deref().is_none_or(|pid| words.contains(&pid))
    };
    locks.lines().any(ours)
}

/// All about the directory.
pub(super) fn check(scene: &Scene) -> Vec<Finding> {
    let dir = &scene.config.state_dir;
    let shown = dir.display().to_string();
    let mut findings = Vec::new();
    if scene.running.is {
        let message = format!("an agent{} has it", scene.running.who());
        findings.push(Finding::ok(CHECK, &shown, message));
    }
    let (existing, there) = nearest(dir);
    if !existing.is_dir() {
        let message = format!("{} is not a directory", existing.display());
        findings.push(Finding::error(CHECK, shown, message, "set `state_dir` to a directory"));
        return findings;
    }
    let writable = accessat(CWD, &existing, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    if let Err(error) = writable {
        let message = format!("{} cannot be written by this user: {error}", existing.display());
        let advice = format!(
            "as root: install -d -m 0700 -o USER {shown}, with the user that runs the agent (or run doctor as that user)"
        );
        findings.push(Finding::error(CHECK, &shown, message, advice));
    } else if !there {
        let message = format!("does not exist; the first start makes it in {}", existing.display());
        findings.push(Finding::ok(CHECK, &shown, message));
    }
    findings.extend(room(&existing, &shown));
    if there {
        findings.extend(content(scene, dir, &shown));
    }
    findings
}

/// The path itself or the closest directory above that is there, and whether it is the path itself.
fn nearest(path: &Path) -> (PathBuf, bool) {
    let found = path.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
    (found.to_owned(), found == path)
}

fn room(existing: &Path, shown: &str) -> Vec<Finding> {
    let free = match statvfs(existing) {
        Ok(free) => free,
        Err(error) => {
            let message = format!("cannot see how much room there is: {error}");
            return vec![Finding::warning(CHECK, shown, message, format!("df {}", existing.display()))];
        }
    };
    let (bytes, all) =
        (free.f_bavail.saturating_mul(free.f_frsize), free.f_blocks.saturating_mul(free.f_frsize));
    let mib = bytes / (1024 * 1024);
    let percent = bytes.saturating_mul(100).checked_div(all).unwrap_or(100);
    let advice =
        format!("make room on the file system of {} (df {0}), or move `state_dir`", existing.display());
    let message = format!("{mib} MiB ({percent} %) are free");
    let mut findings = vec![if bytes < MIN_FREE_BYTES {
        Finding::error(CHECK, shown, format!("only {message}"), &*advice)
    } else if percent < LOW_FREE_PERCENT {
        Finding::warning(CHECK, shown, format!("only {message}"), &*advice)
    } else {
        Finding::ok(CHECK, shown, message)
    }];
    // Some file systems count none.
    if free.f_files > 0 && free.f_favail < LOW_FREE_INODES {
        let message = format!("only {} files more can be made (free inodes)", free.f_favail);
        let advice = format!("remove files on the file system of {} (df -i {0})", existing.display());
        findings.push(if free.f_favail < MIN_FREE_INODES {
            Finding::error(CHECK, shown, message, advice)
        } else {
            Finding::warning(CHECK, shown, message, advice)
        });
    }
    findings
}

/// What is in it.
fn content(scene: &Scene, dir: &Path, shown: &str) -> Vec<Finding> {
    let mut findings: Vec<_> =
        check_dir_private(dir).err().map(|error| of(shown, &error)).into_iter().collect();
    for name in ["agent.json", "limits.json", "deliveries.json"] {
        findings.extend(document(&dir.join(name)).err());
    }
    for name in scene.config.acme.keys() {
        let accounts = dir.join("accounts").join(name);
        findings
            .extend(account_url(&accounts).err().map(|error| of(&accounts.display().to_string(), &error)));
    }
    for certificate in &scene.certificates {
        let own = dir.join("certificates").join(&certificate.name);
        if !own.join("generations").is_dir() {
            continue;
        }
        findings.extend(document(&own.join("memory.json")).err());
        let found = Glance::at(dir, &certificate.name);
        let own = own.display().to_string();
        findings.push(match found {
            Ok(Glance { loaded, .. }) => match (loaded.damage, loaded.generation) {
                (None, Some(current)) => {
                    let message = format!(
                        "generation {} is whole, valid until {}",
                        current.number,
                        current.not_after()
                    );
                    Finding::ok(CHECK, own, message)
                }
                (None, None) => Finding::ok(CHECK, own, "no generation yet"),
                (Some(damage), whole) => {
                    let instead = whole.map_or_else(
                        || "and none is whole".to_owned(),
                        |whole| format!("generation {} would be served instead", whole.number),
                    );
                    let advice = format!(
                        "restore it from a backup, or let the agent order anew: sealwire renew {}",
                        certificate.name
                    );
                    Finding::error(CHECK, own, format!("{damage}; {instead}"), advice)
                }
            },
            Err(error) => of(&own, &error),
        });
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, shown, "is for this user only, and nothing in it is damaged"));
    }
    findings
}

fn document(path: &Path) -> Result<(), Finding> {
    let shown = path.display().to_string();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(of(&shown, &StoreError::system("read", path)(error))),
    };
    let read: Result<serde_json::Value, _> = serde_json::from_slice(&bytes);
    read.map(|_| ()).map_err(|error| {
        let advice = "restore it from a backup; else the next start moves it aside and begins afresh";
        Finding::warning(CHECK, shown, format!("is damaged: {error}"), advice)
    })
}

fn of(subject: &str, error: &StoreError) -> Finding {
    let advice = match error {
        StoreError::TooOpen { fix, .. } => fix.clone(),
        StoreError::System { .. } => {
            "run doctor as the user that runs the agent, or mend the permissions".to_owned()
        }
        StoreError::Damaged { .. } | StoreError::InUse { .. } => "restore it from a backup".to_owned(),
    };
    Finding::error(CHECK, subject, error.to_string(), advice)
}
