//! What the service manager hears of the node: an answer means that the runtime that serves connections, the loop of the
//! breaker and the thread that takes certificates all turn.

use std::sync::Arc;

use sealwire_systemd::Life;
use tokio::runtime::Handle;

use crate::service::Node;

/// Asks each part that could get stuck by itself.
pub(crate) struct Pulse {
    node: Arc<Node>,
    /// Of the thread that takes certificates.
    pairing: Handle,
}

impl Pulse {
    pub(crate) fn new(node: Arc<Node>, pairing: Handle) -> Self {
        Self { node, pairing }
    }
}

impl Life for Pulse {
    async fn turn(&mut self) -> String {
        let guard = Arc::clone(&self.node.guard);
        let node = Arc::clone(&self.node);
        // On a worker, as connections are.
        let serving = tokio::spawn(async move {
            guard.turn().await;
            status(&node)
        });
        let (serving, pairing) = tokio::join!(serving, self.pairing.spawn(async {}));
        match (serving, pairing) {
            (Ok(status), Ok(())) => status,
            // One of them has ended, and the node with it; or it never will.
            _ => std::future::pending().await,
        }
    }
}

/// How the node is, on one line.
fn status(node: &Node) -> String {
    let sessions = node.registry.len();
    match node.readiness.obstacle() {
        Some(obstacle) => format!("not ready, {sessions} session(s): {obstacle}"),
        None => format!("ready, {sessions} session(s)"),
    }
}
