//! `/metrics` for Prometheus: plain HTTP, so it belongs on loopback or a private network. Nothing is measured until
//! somebody asks, and not more than once a second however many do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use sealwire_metrics::Text;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::agent::Command;
use crate::issuer::listen::accept;

/// What was measured so lately is told again: measuring holds up the loop, by milliseconds with 10,000 certificates.
const FRESH: Duration = Duration::from_secs(1);
/// How long a client may take to send the head of its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// For the whole of a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// The head of a request.
const MAX_HEAD_BYTES: usize = 8 * 1024;

/// Answers Prometheus by asking the loop.
#[derive(Debug)]
pub struct Metrics {
    commands: mpsc::Sender<Command>,
    /// What was told last, and when.
    last: Mutex<Option<(Instant, Arc<str>)>>,
}

impl Metrics {
    /// Of the loop behind `commands`.
    #[must_use]
    pub fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands, last: Mutex::default() }
    }

    /// Answers on `listener` until `shutdown`.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let router = Router::new().route("/metrics", get(metrics)).with_state(Arc::new(self));
        accept(listener, shutdown, |stream| serve_connection(stream, router.clone())).await;
    }

    /// `None`: the agent is stopping.
    async fn text(&self) -> Option<Arc<str>> {
        // Held while asking, so that many who ask at once cost one question.
        let mut last = self.last.lock().await;
        if let Some((at, text)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return Some(Arc::clone(text));
        }
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Measure { reply }).await.ok()?;
        let text: Arc<str> = answer.await.ok()?.into();
        *last = Some((Instant::now(), Arc::clone(&text)));
        Some(text)
    }
}

async fn metrics(
    State(metrics): State<Arc<Metrics>>,
) -> Result<([(HeaderName, &'static str); 1], String), StatusCode> {
    let text = metrics.text().await.ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(([(CONTENT_TYPE, Text::CONTENT_TYPE)], text.to_string()))
}

async fn serve_connection(stream: TcpStream, router: Router) {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Err(error)) => tracing::debug!(error, "a connection for metrics failed"),
        Err(_) => tracing::debug!("a connection for metrics took too long"),
        Ok(Ok(())) => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_who_ask_at_once_cost_one_question() {
        let (commands, mut received) = mpsc::channel(1);
        let metrics = Arc::new(Metrics::new(commands));
        let asking: Vec<_> = (0..20)
            .map(|_| {
                let metrics = Arc::clone(&metrics);
                tokio::spawn(async move { metrics.text().await })
            })
            .collect();
        let Some(Command::Measure { reply }) = received.recv().await else { unreachable!("no question") };
        reply.send("text".to_owned()).unwrap();
        for asked in asking {
            assert_eq!(asked.await.unwrap().as_deref(), Some("text"));
        }
        assert!(received.try_recv().is_err());
        drop(received);
        *metrics.last.lock().await = None;
        assert_eq!(metrics.text().await, None, "the agent is stopping");
    }
}
