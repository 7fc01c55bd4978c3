//! Commands of the Centrifuge protocol, one at a time, and their replies.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::client::{Client, Target};

/// For a reply.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client that has said `connect`.
#[derive(Debug)]
pub(super) struct Asker {
    client: Client,
    last_id: u64,
    /// What came with an earlier reply.
    waiting: Vec<Value>,
}

impl Asker {
    /// Connects.
    ///
    /// # Errors
    /// It is not let in.
    pub(super) async fn open(target: &Target) -> Result<Self> {
        let client = Client::upgraded(target, None).await?;
        let mut asker = Self { client, last_id: 0, waiting: Vec::new() };
        asker.ask("connect", json!({})).await?;
        Ok(asker)
    }

    /// Sends a command and waits for the reply to it.
    ///
    /// # Errors
    /// It was refused, or the connection is over.
    pub(super) async fn ask(&mut self, method: &str, request: Value) -> Result<Value> {
        let id = self.say(method, request).await?;
        self.reply(id).await.with_context(|| method.to_owned())
    }

    /// Sends a command; tells its id.
    ///
    /// # Errors
    /// The connection is over.
    pub(super) async fn say(&mut self, method: &str, request: Value) -> Result<u64> {
        self.last_id += 1;
        let command = json!({ "id": self.last_id, method: request });
        self.client.send(command.to_string().as_bytes()).await?;
        Ok(self.last_id)
    }

    /// Waits for the reply to a command; what comes before it is passed over.
    ///
    /// # Errors
    /// It was refused, or the connection is over.
    pub(super) async fn reply(&mut self, id: u64) -> Result<Value> {
        let reply = async {
            loop {
                while let Some(mut reply) = self.waiting.pop() {
                    if reply["id"] == id {
                        if let Some(error) = reply.get("error") {
                            bail!("refused: {error}");
                        }
                        let answers = reply.as_object_mut().context("no object")?;
                        answers.remove("id");
                        return Ok(answers.values_mut().next().map(Value::take).unwrap_or_default());
                    }
                }
                let mut came = Vec::new();
                self.client.read(|message| came.extend_from_slice(&[message, b"\n"].concat())).await?;
                let lines = came.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                self.waiting = lines.map(serde_json::from_slice).collect::<Result<_, _>>()?;
                self.waiting.reverse();
            }
        };
        tokio::time::timeout(PATIENCE, reply).await.context("no reply in time")?
    }
}
