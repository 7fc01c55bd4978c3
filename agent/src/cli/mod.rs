//! The command line, one file per command. Results go to standard output, everything else to standard
//! error; the exit code is 0 when all that was asked is done, 2 when the command or the configuration is
//! wrong, and 1 for the rest.

// This is the one place that talks to a terminal.
#![allow(clippy::print_stdout)]

mod account;
mod ca;
mod client;
mod config;
mod doctor;
mod drill;
mod history;
mod import;
mod incidents;
mod inspect;
mod node;
mod plan;
mod ready;
mod renew;
mod run;
mod status;
mod text;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use sealwire_proto::pages::Pages;

use crate::config::{Config, ConfigError, DEFAULT_PATH};

/// Keeps TLS certificates alive and proven to be served.
#[derive(Debug, Parser)]
#[command(name = "sealwire", version, about, arg_required_else_help = true, infer_subcommands = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// The configuration file.
    #[arg(long, global = true, env = "SEALWIRE_CONFIG", default_value = DEFAULT_PATH, value_name = "FILE")]
    config: PathBuf,
    /// The admin socket of the running agent, instead of the one in the configuration.
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent.
    Run(run::Run),
    /// Order now, and follow each step until the new certificate is proven to be served.
    Renew(renew::Renew),
    /// Tell whether certificates have a generation that can be served: exit code 0. Asks nobody, reads the state directory.
    Ready(ready::Ready),
    /// Show every certificate, what is served where, and what happens next.
    Status(status::Status),
    /// Show what is wrong and what to do about it, and what waits to be told to whom.
    Incidents(incidents::Incidents),
    /// Show the certificates in a file, at a server, or of a configured name.
    Inspect(inspect::Inspect),
    /// Show every order that is foreseen, by the rules that decide.
    Plan(plan::Plan),
    /// Tell why the next action of a certificate is what it is, with the numbers.
    Why(why::Why),
    /// Check before the first order, or at any time: DNS, CAA, challenges, CAs, files. Writes nothing.
    Doctor(doctor::Doctor),
    /// Show what happened to a certificate.
    History(history::History),
    /// Take over accounts and certificates of another ACME client, without new orders; the agent must not run.
    Import(import::Import),
    /// Follow every step of every certificate as it happens.
    Watch,
    /// Rehearse, with real certificates and nodes, without touching what is served.
    #[command(subcommand)]
    Drill(drill::Drill),
    /// Halt nodes by hand, or let them go on.
    #[command(subcommand)]
    Node(node::Node),
    /// The embedded CA.
    #[command(subcommand)]
    Ca(ca::Ca),
    /// The account at an ACME CA.
    #[command(subcommand)]
    Account(account::Account),
    /// Revoke a certificate at its CA, and order a new one if it is the current one.
    Revoke(account::Revoke),
    /// The configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Write man pages and shell completions; for packages.
    #[command(hide = true)]
    Pages(Pages),
}

/// How a command failed.
#[derive(Debug)]
enum Failure {
    /// The command or the configuration is wrong: exit code 2.
    Usage(String),
    /// Anything else: exit code 1.
    Failed(String),
    /// As [`Failure::Failed`], and all has been said already.
    Silent,
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

type Outcome = Result<(), Failure>;

impl Cli {
    /// Does what was asked, and turns the outcome into an exit code and at most one line of error.
    #[must_use]
    pub fn execute(self) -> ExitCode {
        let Self { global, command } = self;
        let outcome = match command {
            Command::Run(command) => run::run(&command, &global),
            Command::Config(command) => command.run(&global),
            Command::Import(command) => command.run(&global),
            Command::Ready(command) => command.run(&global),
            Command::Pages(pages) => pages.write(&Self::command()).map_err(Failure::Failed),
            Command::Renew(command) => block_on(command.run(&global)),
            Command::Status(command) => block_on(command.run(&global)),
            Command::Incidents(command) => block_on(command.run(&global)),
            Command::Inspect(command) => block_on(command.run(&global)),
            Command::Drill(command) => block_on(command.run(&global)),
            Command::Node(command) => block_on(command.run(&global)),
            Command::Plan(command) => block_on(command.run(&global)),
            Command::Why(command) => block_on(command.run(&global)),
            Command::Doctor(command) => block_on(command.run(&global)),
            Command::History(command) => block_on(command.run(&global)),
            Command::Watch => block_on(renew::watch(&global)),
            Command::Ca(command) => block_on(command.run(&global)),
            Command::Account(command) => block_on(command.run(&global)),
            Command::Revoke(command) => block_on(command.run(&global)),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(Failure::Silent) => ExitCode::FAILURE,
            Err(Failure::Failed(message)) => {
                eprintln!("sealwire: {message}");
                ExitCode::FAILURE
            }
            Err(Failure::Usage(message)) => {
                eprintln!("sealwire: {message}");
                ExitCode::from(2)
            }
        }
    }
}

impl Global {
    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.config)
    }

    /// The admin socket: as told, as configured, or the usual one if there is no configuration here.
    fn admin_socket(&self) -> Result<PathBuf, ConfigError> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        if !self.config.exists() && self.config.as_os_str() == DEFAULT_PATH {
            return Ok(crate::config::AdminConfig::default().socket);
        }
        Ok(self.load()?.admin.socket)
    }
}

/// Commands other than `run` wait for one thing at a time: one thread is enough.
fn block_on(future: impl Future<Output = Outcome>) -> Outcome {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?
        .block_on(future)
}
