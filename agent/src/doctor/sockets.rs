//! The Unix sockets of nodes and of the command line.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use sealwire_proto::socket::MAX_PATH_BYTES;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Finding, STEP_TIMEOUT, Scene};

const CHECK: &str = "socket";

/// Both sockets.
pub(super) async fn check(scene: &Scene) -> Vec<Finding> {
    let config = &scene.config;
    let mut findings = Vec::new();
    for (key, path) in [("delivery.socket", &config.delivery.socket), ("admin.socket", &config.admin.socket)]
    {
        findings.push(one(scene, key, path).await);
    }
    findings.push(admin(scene));
    findings
}

async fn one(scene: &Scene, key: &str, path: &Path) -> Finding {
    let shown = path.display().to_string();
    let error = |message: String, advice: String| Finding::error(CHECK, &*shown, message, advice);
    let length = path.as_os_str().len();
    if length > MAX_PATH_BYTES {
        let message = format!("has {length} bytes, the kernel takes {MAX_PATH_BYTES}");
        return error(message, format!("set `{key}` to a shorter path"));
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    match std::fs::metadata(parent) {
        Ok(found) if !found.is_dir() => {
            return error(format!("{} is not a directory", parent.display()), format!("set another `{key}`"));
        }
        Ok(found) if found.mode() & 0o002 != 0 => {
            let message = format!("{} may be written by everyone", parent.display());
            return error(message, format!("chmod 0750 {}", parent.display()));
        }
        _ => {}
    }
    let existing = parent.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
    if let Err(refused) = accessat(CWD, existing, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        let advice = format!(
            "as root: install -d -m 0750 -o USER {}, with the user that runs the agent (systemd: RuntimeDirectory=)",
            parent.display()
        );
        return error(format!("{} cannot be written by this user: {refused}", existing.display()), advice);
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            error("exists and is not a socket".to_owned(), format!("move it away, or set another `{key}`"))
        }
        Ok(_) => present(scene, key, path, &shown).await,
        Err(_) if scene.running.is => {
            let advice = format!("restart the agent, and see whether its `{key}` is this one");
            error(format!("does not exist although an agent{} runs", scene.running.who()), advice)
        }
        Err(_) if parent.exists() => Finding::ok(CHECK, shown, "the start will make it"),
        Err(_) => Finding::ok(CHECK, shown, "the start will make it and its directory"),
    }
}

async fn present(scene: &Scene, key: &str, path: &Path, shown: &str) -> Finding {
    let failed = match timeout(STEP_TIMEOUT, UnixStream::connect(path)).await {
        Ok(Ok(_)) if scene.running.is => return Finding::ok(CHECK, shown, "takes connections"),
        Ok(Ok(_)) => {
            let advice = format!("stop the process that has it (ss -xlp), or set another `{key}`");
            return Finding::error(CHECK, shown, "another process listens there", advice);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no connection within {} s", STEP_TIMEOUT.as_secs()),
    };
    if scene.running.is {
        let advice = format!("run doctor as a user that may write {shown}, or restart the agent");
        Finding::error(CHECK, shown, format!("takes no connection: {failed}"), advice)
    } else {
        Finding::ok(CHECK, shown, "is left over from an agent that ended; the next start replaces it")
    }
}

/// Whether the running agent answers.
fn admin(scene: &Scene) -> Finding {
    let (running, shown) = (&scene.running, scene.config.admin.socket.display().to_string());
    let own = env!("CARGO_PKG_VERSION");
    match (&running.version, &running.silent) {
        (Some(version), _) if !running.is => {
            let message = format!("an agent {version} answers that has another state directory");
            Finding::error("agent", shown, message, "give each agent its own `admin.socket`")
        }
        (Some(version), _) if version != own => {
            let message = format!("agent {version}{} runs, this command is {own}", running.who());
            Finding::warning("agent", shown, message, "restart the agent, so that it is the installed one")
        }
        (Some(version), _) => {
            Finding::ok("agent", shown, format!("agent {version}{} answers", running.who()))
        }
        (None, Some(silent)) if running.is => {
            let message = format!("an agent{} runs but does not answer: {silent}", running.who());
            let advice =
                "run doctor as a user of `admin.allow_uids` or `admin.allow_gids`; else see the agent's log";
            Finding::warning("agent", shown, message, advice)
        }
        _ => Finding::ok("agent", shown, "no agent runs"),
    }
}
