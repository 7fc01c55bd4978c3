//! `sealwire run`

use std::time::{Duration, Instant};

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Failure, Global, Outcome};
use crate::agent::{self, Outside, StartError};
use crate::config::Config;
use crate::store::StoreError;
use sealwire_proto::socket::ListenError;

/// At least this many threads, so that a disk that takes its time with an fsync holds up no delivery.
const MIN_THREADS: usize = 4;

/// How often an agent that waits looks whether the other one has ended.
const LOOK: Duration = Duration::from_millis(200);

/// The kernel gives back the lock, the sockets and the port of a dead agent one after the other.
const LETTING_GO: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(super) struct Run {
    /// If another agent has the state directory, wait until it ends and take over.
    #[arg(long)]
    wait: bool,
}

pub(super) fn run(command: &Run, global: &Global) -> Outcome {
    let config = global.load()?;
    // While this is the only thread.
    let outside = Outside::from_env();
    config.log.start();
    let outside = outside.map_err(|error| Failure::Failed(error.to_string()))?;
    let failed = |error: std::io::Error| Failure::Failed(format!("cannot start: {error}"));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).max(MIN_THREADS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        stop_on_signals(shutdown.clone()).map_err(failed)?;
        let ended = if command.wait {
            Box::pin(wait_and_run(config, shutdown, &outside)).await
        } else {
            agent::run(config, shutdown, &outside).await
        };
        ended.map_err(|error| Failure::Failed(error.to_string()))
    })
}

/// Runs as soon as no other agent has the state directory.
async fn wait_and_run(
    config: Config,
    shutdown: CancellationToken,
    outside: &Outside,
) -> Result<(), StartError> {
    let mut waited_until: Option<Instant> = None;
    loop {
        let error = match agent::run(config.clone(), shutdown.clone(), outside).await {
            Err(error) => error,
            Ok(()) => return Ok(()),
        };
        match &error {
            StartError::Store(StoreError::InUse { .. }) => {
                if waited_until.is_none() {
                    tracing::info!(%error, "waiting for the other agent to end");
                }
                waited_until = Some(Instant::now());
            }
            StartError::Socket { source: ListenError::InUse { .. }, .. } | StartError::Listen { .. }
                if waited_until.is_some_and(|last| last.elapsed() < LETTING_GO) => {}
            _ => return Err(error),
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn stop_on_signals(shutdown: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        // First, for a log that nobody reads any more must not keep us here.
        shutdown.cancel();
        tracing::info!("{name}: stopping");
    });
    Ok(())
}
