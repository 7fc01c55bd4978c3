//! `sealwire run`

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Failure, Global, Outcome};
use crate::agent;

/// At least this many threads, so that a disk that takes its time with an fsync holds up no delivery.
const MIN_THREADS: usize = 4;

pub(super) fn run(global: &Global) -> Outcome {
    let config = global.load()?;
    config.log.start();
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
        agent::run(config, shutdown).await.map_err(|error| Failure::Failed(error.to_string()))
    })
}

fn stop_on_signals(shutdown: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
        shutdown.cancel();
    });
    Ok(())
}
