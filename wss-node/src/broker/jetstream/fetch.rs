//! Reads many messages of a stream with few requests (batched Direct Get, ADR-31).

use std::time::Duration;

use async_nats::{Client, HeaderMap, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use jiff::Timestamp;

/// Messages in one answer, at most.
const BATCH: usize = 500;
/// How long the next message of an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// A message as the stream has it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
    pub(super) sequence: u64,
    pub(super) at: Timestamp,
}

/// All messages of some subjects, in their order, from any server that has them: the last ones may be missing.
pub(super) async fn all(client: &Client, stream: &str, filter: &str) -> Result<Vec<Stored>, String> {
    let mut all: Vec<Stored> = Vec::new();
    loop {
        let from = all.last().map_or(1, |last| last.sequence + 1);
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await.map_err(|error| error.to_string())?;
        let ask = serde_json::json!({ "seq": from, "batch": BATCH, "next_by_subj": filter });
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        let asked = client.publish_with_reply(subject, inbox, ask.to_string().into()).await;
        asked.map_err(|error| error.to_string())?;
        let before = all.len();
        take(answers, &mut all).await?;
        if all.len() - before < BATCH {
            return Ok(all);
        }
    }
}

/// The messages of one answer.
async fn take(mut answers: Subscriber, all: &mut Vec<Stored>) -> Result<(), String> {
    loop {
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await;
        let answer = answer.map_err(|_| "no answer to a request for messages")?;
        let answer = answer.ok_or("the connection has ended")?;
        match answer.status.map(|status| status.as_u16()) {
            None => {}
            // The end of the batch; there is none.
            Some(204 | 404) => return Ok(()),
            Some(code) => return Err(format!("{code} {}", answer.description.unwrap_or_default())),
        }
        let headers = answer.headers.unwrap_or_default();
        let text = |name: &str| headers.get(name).map(async_nats::HeaderValue::as_str);
        let sequence = text("Nats-Sequence").and_then(|it| it.parse().ok());
        let at = text("Nats-Time-Stamp").and_then(|it| it.parse().ok());
        let (Some(sequence), Some(at), Some(subject)) = (sequence, at, text("Nats-Subject")) else {
            return Err("a message without sequence, time or subject".to_owned());
        };
        all.push(Stored { subject: subject.to_owned(), payload: answer.payload, sequence, at, headers });
    }
}
