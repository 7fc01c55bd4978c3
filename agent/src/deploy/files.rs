//! Files, and programs of the operator's around them.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use sealwire_proto::validate::LeafFacts;
use tokio::sync::Semaphore;

use super::Target;
use super::directory::{Before, Directory};
use super::program::Programs;
use crate::config::{CertificateConfig, DeployConfig};
use crate::store::{Generation, chain_from_pem};

/// `type = "files"`
pub(super) struct Files {
    directory: Directory,
    programs: Programs,
    pre: Vec<String>,
    deploy: Vec<String>,
    post: Vec<String>,
}

impl Files {
    /// `None` for a configuration that was not checked.
    pub(super) fn new(
        certificate: &CertificateConfig,
        deploy: &DeployConfig,
        turns: &Arc<Semaphore>,
    ) -> Option<Self> {
        Some(Self {
            directory: Directory::new(deploy.directory.clone()?, deploy.gid),
            programs: Programs::new(certificate, deploy.timeout, Arc::clone(turns)),
            pre: deploy.pre.clone().unwrap_or_default(),
            deploy: deploy.deploy.clone().unwrap_or_default(),
            post: deploy.post.clone().unwrap_or_default(),
        })
    }

    async fn put(&self, generation: &Generation) -> Result<(), String> {
        let live = self.directory.live();
        let before = self.directory.put(generation).map_err(|error| error.to_string())?;
        match self.programs.run("deploy", &self.deploy, generation, &live).await {
            Ok(()) => self.directory.tidy(&before).map_err(|error| error.to_string()),
            Err(error) => Err(undo(&self.directory, &before, error, Timestamp::now())),
        }
    }
}

/// Goes back to the files of before, unless they are of no use by now; tells so with the error.
pub(super) fn undo(directory: &Directory, before: &Before, error: String, now: Timestamp) -> String {
    let chain = directory.chain_before(before).and_then(|pem| chain_from_pem(&pem).ok());
    let leaf = chain.and_then(|chain| LeafFacts::parse(&chain[0]).ok());
    if leaf.is_none_or(|leaf| leaf.not_after < now.as_second()) {
        return format!("{error}; there are no valid files of before to go back to");
    }
    match directory.put_back(before) {
        Ok(true) => format!("{error}; the files are those of before again"),
        Ok(false) => error,
        Err(failed) => format!("{error}; and going back to the files of before failed: {failed}"),
    }
}

#[async_trait]
impl Target for Files {
    fn holds(&self, generation: &Generation) -> bool {
        self.directory.holds(generation)
    }

    async fn apply(&self, generation: &Generation) -> Result<(), String> {
        let live = self.directory.live();
        self.programs.run("pre", &self.pre, generation, &live).await?;
        let put = self.put(generation).await;
        // It undoes what `pre` did, so it runs whatever became of the rest; its own failure is one, too.
        let post = self.programs.run("post", &self.post, generation, &live).await;
        put.and(post)
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
