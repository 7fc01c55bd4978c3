//! nginx: files that it judges itself before it is told to read them again.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::Target;
use super::directory::Directory;
use super::files::undo;
use super::program::Programs;
use crate::config::{CertificateConfig, DeployConfig};
use crate::store::Generation;

/// How it is told.
enum Reload {
    /// A program.
    Program(Vec<String>),
    /// A file that a systemd path unit watches: the agent has no right to reload anything itself.
    Signal(PathBuf),
}

/// `type = "nginx"`
pub(super) struct Nginx {
    directory: Directory,
    programs: Programs,
    test: Vec<String>,
    reload: Reload,
}

impl Nginx {
    /// `None` for a configuration that was not checked.
    pub(super) fn new(
        certificate: &CertificateConfig,
        deploy: &DeployConfig,
        turns: &Arc<Semaphore>,
    ) -> Option<Self> {
        let reload = match (&deploy.reload, &deploy.signal_file) {
            (Some(program), _) => Reload::Program(program.clone()),
            (None, file) => Reload::Signal(file.clone()?),
        };
        Some(Self {
            directory: Directory::new(deploy.directory.clone()?, deploy.gid),
            programs: Programs::new(certificate, deploy.timeout, Arc::clone(turns)),
            test: deploy.test.clone().unwrap_or_default(),
            reload,
        })
    }
}

#[async_trait]
impl Target for Nginx {
    fn holds(&self, generation: &Generation) -> bool {
        self.directory.holds(generation)
    }

    async fn apply(&self, generation: &Generation) -> Result<(), String> {
        let live = self.directory.live();
        let before = self.directory.put(generation).map_err(|error| error.to_string())?;
        if let Err(error) = self.programs.run("test", &self.test, generation, &live).await {
            return Err(undo(&self.directory, &before, error, Timestamp::now()));
        }
        // The test was passed: whatever is wrong with the reload, an nginx that starts now should have the new ones.
        match &self.reload {
            Reload::Program(program) => self.programs.run("reload", program, generation, &live).await?,
            // Written in place: a path unit sees the file closed.
            Reload::Signal(file) => std::fs::write(file, format!("{}\n", generation.number))
                .map_err(|error| format!("cannot write {} (`signal_file`): {error}", file.display()))?,
        }
        self.directory.tidy(&before).map_err(|error| error.to_string())
    }
}
