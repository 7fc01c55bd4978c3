//! The command line of the node.

// This is the one place that talks to a terminal.
#![allow(clippy::print_stdout)]

mod admin;
mod sessions;
mod table;
mod why;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};
use sealwire_proto::pages::Pages;
use sealwire_proto::sessions::args::{Disconnect, Sessions};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ConfigError, DEFAULT_PATH, EXAMPLE};
use crate::service;
use crate::telemetry::Telemetry;
use why::Why;

/// A secure WebSocket node whose certificates are swapped live and proven to be served.
#[derive(Debug, Parser)]
#[command(name = "wss-node", version, about, arg_required_else_help = true)]
pub struct Cli {
    /// The configuration file.
    #[arg(long, global = true, env = "WSS_NODE_CONFIG", default_value = DEFAULT_PATH, value_name = "FILE")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the node.
    Run,
    /// The configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Tell what was decided about a client lately: refusals and closed sessions, and why.
    Why(Why),
    /// Show the open sessions: whose they are, and how they are.
    Sessions(Sessions),
    /// Close sessions.
    Disconnect(Disconnect),
    /// Write man pages and shell completions; for packages.
    #[command(hide = true)]
    Pages(Pages),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Tell whether the configuration is sound.
    Check,
    /// Print a commented configuration to start from.
    Example,
}

impl Cli {
    /// Does what was asked. Exit code 2: the command or the configuration is wrong; 1: anything else.
    #[must_use]
    pub fn execute(self) -> ExitCode {
        if matches!(self.command, Command::Config(ConfigCommand::Example)) {
            print!("{EXAMPLE}");
            return ExitCode::SUCCESS;
        }
        if let Command::Pages(pages) = &self.command {
            let written = pages.write(&Self::command());
            return written.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS);
        }
        let reads_all = matches!(self.command, Command::Run | Command::Config(_));
        let config = match self.load(reads_all) {
            Ok(config) => config,
            Err(error) => {
                eprintln!("wss-node: {error}");
                return ExitCode::from(2);
            }
        };
        let done = match self.command {
            Command::Run => start(config),
            Command::Config(_) => {
                println!("{}: sound; serves {}", self.config.display(), config.server_names.join(", "));
                Ok(())
            }
            Command::Pages(_) => Ok(()),
            Command::Why(why) => ask(&config, &self.config, |client| why.run(client)),
            Command::Sessions(which) => ask(&config, &self.config, |client| sessions::show(which, client)),
            Command::Disconnect(which) => ask(&config, &self.config, |client| sessions::close(which, client)),
        };
        done.map_or_else(|message| failed(&message), |()| ExitCode::SUCCESS)
    }
}

impl Cli {
    /// The configuration; `reads_all`: with a look at the files that it names.
    fn load(&self, reads_all: bool) -> Result<Config, ConfigError> {
        let config = Config::load(&self.config)?;
        if reads_all {
            config.check_files(&self.config)?;
        }
        Ok(config)
    }
}

fn failed(message: &str) -> ExitCode {
    eprintln!("wss-node: {message}");
    ExitCode::FAILURE
}

/// Asks the running node, and prints what there is to say.
fn ask<F>(config: &Config, file: &Path, question: impl FnOnce(admin::Client) -> F) -> Result<(), String>
where
    F: Future<Output = Result<String, String>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let said = runtime
        .map_err(|error| format!("cannot start: {error}"))?
        .block_on(async { question(admin::connect(config, file).await?).await })?;
    print!("{said}");
    Ok(())
}

fn start(config: Config) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot start: {error}");
    // While this is the only thread.
    let outside = service::Outside::from_env().map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(failed)?;
    let telemetry = {
        let _within = runtime.enter();
        Arc::new(Telemetry::start(&config).map_err(|error| error.to_string())?)
    };
    config.log.start_with(telemetry.log_layer());
    let result = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        stop_on_signals(shutdown.clone()).map_err(failed)?;
        // A task: block_on() stays on this thread, which every accepted connection would have to wake.
        let ran =
            tokio::spawn(Box::pin(service::run(config, Arc::clone(&telemetry), shutdown, outside))).await;
        let result = ran.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        if let Err(error) = &result
            && telemetry.log_layer().is_some()
        {
            // For the collector; the terminal gets it anyway.
            tracing::error!(%error, "node not running");
        }
        telemetry.stop().await;
        result.map_err(|error| error.to_string())
    });
    // A collector that does not answer must not keep us here.
    runtime.shutdown_background();
    result
}

/// The first signal stops in good order, the second at once.
fn stop_on_signals(shutdown: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if shutdown.is_cancelled() {
                tracing::warn!("second signal: ending now");
                std::process::exit(1);
            }
            // First, for a log that nobody reads any more must not keep us here.
            shutdown.cancel();
            tracing::info!("{name}: stopping");
        }
    });
    Ok(())
}
