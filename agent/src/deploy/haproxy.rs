//! HAProxy: the running one takes the certificate by a transaction of its runtime API, and the PEM file is replaced, so
//! that the next one starts with it.

mod runtime;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::Target;
use super::directory::Readers;
use crate::config::DeployConfig;
use crate::store::{Generation, key_pem_of, pem_of};
use runtime::Runtime;

/// `type = "haproxy"`
pub(super) struct Haproxy {
    pem_file: PathBuf,
    readers: Readers,
    runtime: Runtime,
    turn: Arc<Mutex<()>>,
}

impl Haproxy {
    /// `None` for a configuration that was not checked.
    pub(super) fn new(deploy: &DeployConfig, turn: Arc<Mutex<()>>) -> Option<Self> {
        let runtime = Runtime { socket: deploy.socket.clone()?, timeout: deploy.timeout };
        let (pem_file, readers) = (deploy.pem_file.clone()?, Readers(deploy.gid));
        Some(Self { pem_file, readers, runtime, turn })
    }

    fn write(&self, pem: &[u8]) -> Result<(), String> {
        self.readers.write_key(&self.pem_file, pem).map_err(|error| error.to_string())
    }

    fn on_disk(&self) -> Option<Zeroizing<Vec<u8>>> {
        std::fs::read(&self.pem_file).ok().map(Zeroizing::new)
    }

    /// Writes the file and commits; the file is as it was if the commit fails.
    async fn commit(&self, pem: &[u8]) -> Result<(), String> {
        let before = self.on_disk();
        self.write(pem)?;
        let Err(error) = self.runtime.commit(&self.pem_file).await else { return Ok(()) };
        match before {
            // The next start should have what this one serves.
            Some(before) if *before != *pem => match self.write(&before) {
                Ok(()) => Err(format!("{error}; {} is as before", self.pem_file.display())),
                Err(failed) => Err(format!("{error}; and it could not be put back: {failed}")),
            },
            _ => Err(error),
        }
    }
}

#[async_trait]
impl Target for Haproxy {
    fn holds(&self, generation: &Generation) -> bool {
        self.on_disk().is_some_and(|found| *found == *combined(generation).as_bytes())
    }

    async fn apply(&self, generation: &Generation) -> Result<(), String> {
        let pem = combined(generation);
        let _turn = self.turn.lock().await;
        let staged = match self.runtime.set(&self.pem_file, pem.as_bytes()).await {
            Ok(staged) => staged,
            Err(down) => {
                self.write(pem.as_bytes())?;
                let file = self.pem_file.display();
                return Err(format!("{down}; {file} is the new one, for when HAProxy starts"));
            }
        };
        let result = match staged {
            Ok(()) => self.commit(pem.as_bytes()).await,
            Err(refused) => Err(refused),
        };
        let Err(error) = result else { return Ok(()) };
        // Else the transaction would stand in the way of every other.
        self.runtime.abort(&self.pem_file).await;
        Err(error)
    }
}

/// Chain and key in one PEM text, as HAProxy wants them.
fn combined(generation: &Generation) -> Zeroizing<String> {
    let (chain, key) = (pem_of(&generation.chain.to_vec()), key_pem_of(&generation.key));
    // At once as large as it gets: a key is not left behind in a smaller buffer.
    let mut pem = Zeroizing::new(String::with_capacity(chain.len() + key.len()));
    pem.push_str(&chain);
    pem.push_str(&key);
    pem
}

#[cfg(test)]
#[path = "haproxy_tests.rs"]
mod tests;
