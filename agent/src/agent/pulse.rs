//! What the service manager hears of the loop: an answer means that it turns.

use sealwire_systemd::Life;
use tokio::sync::{mpsc, oneshot};

use super::{Agent, Command};

/// Asks the loop, by the same way as operators do.
pub(super) struct Pulse {
    commands: mpsc::Sender<Command>,
}

impl Pulse {
    pub(super) fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands }
    }
}

impl Life for Pulse {
    async fn turn(&mut self) -> String {
        let (reply, answer) = oneshot::channel();
        // A loop that has ended has nothing to say: whoever waits for it decides what that means.
        if self.commands.send(Command::Pulse { reply }).await.is_err() {
            return std::future::pending().await;
        }
        match answer.await {
            Ok(said) => said,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Agent {
    /// How the agent is, on one line.
    pub(super) fn pulse(&self) -> String {
        let incidents = self.incidents.open().count();
        let mut line = format!(
            "{} certificate(s), {} node(s) paired, {incidents} open incident(s)",
            self.certificates.len(),
            self.nodes.len()
        );
        if incidents > 0 {
            line.push_str("; see: sealwire incidents");
        }
        line
    }
}
