//! HAProxy's runtime API (management.txt, section 9.3): one command for each connection, and a text for an answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use crate::outgoing::one_line;

/// Longer answers are none to commands about one certificate.
const MAX_ANSWER_BYTES: u64 = 16 * 1024;

/// Its stats socket.
pub(super) struct Runtime {
    pub(super) socket: PathBuf,
    pub(super) timeout: Duration,
}

impl Runtime {
    /// Begins a transaction with the new certificate: the outer error says that nobody answers, the inner one what
    /// HAProxy has against it.
    pub(super) async fn set(&self, file: &Path, pem: &[u8]) -> Result<Result<(), String>, String> {
        let head = format!("set ssl cert {} <<\n", file.display());
        let mut command = Zeroizing::new(Vec::with_capacity(head.len() + pem.len() + 1));
        command.extend_from_slice(head.as_bytes());
        command.extend_from_slice(pem);
        // An empty line ends it.
        command.push(b'\n');
        let answer = self.ask(&command).await?;
        let taken = answer.contains("Transaction created") || answer.contains("Transaction updated");
        Ok(if taken { Ok(()) } else { Err(self.refusal("set ssl cert", &answer)) })
    }

    /// Ends the transaction well.
    pub(super) async fn commit(&self, file: &Path) -> Result<(), String> {
        let answer = self.ask(format!("commit ssl cert {}\n", file.display()).as_bytes()).await?;
        if answer.contains("Success!") { Ok(()) } else { Err(self.refusal("commit ssl cert", &answer)) }
    }

    /// Ends the transaction without an effect; one that there is not is as good.
    pub(super) async fn abort(&self, file: &Path) {
        match self.ask(format!("abort ssl cert {}\n", file.display()).as_bytes()).await {
            Ok(answer) => tracing::info!(answer, "aborted the transaction with HAProxy"),
            Err(error) => tracing::warn!(error, "cannot abort the transaction with HAProxy"),
        }
    }

    fn refusal(&self, command: &str, answer: &str) -> String {
        let answer = if answer.is_empty() { "no answer (is the socket at level admin?)" } else { answer };
        format!("HAProxy at {}: {command}: {answer}", self.socket.display())
    }

    /// One line.
    async fn ask(&self, command: &[u8]) -> Result<String, String> {
        let failed = |error: std::io::Error| {
            format!("cannot talk to HAProxy at {} (`socket`): {error}", self.socket.display())
        };
        let talk = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            stream.write_all(command).await?;
            let mut answer = Vec::new();
            (&mut stream).take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
            Ok(one_line(&answer))
        };
        match tokio::time::timeout(self.timeout, talk).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(format!(
                "HAProxy at {} (`socket`) did not answer within {:?}",
                self.socket.display(),
                self.timeout
            )),
        }
    }
}
