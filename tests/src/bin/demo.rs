//! `make demo`: an agent and a node as two processes, 200 WebSocket sessions that exchange publications, and
//! a renewal every few seconds, told as a timeline that a person understands.

// A demo is what it prints.
#![allow(clippy::print_stdout)]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use sealwire_proto::v1::{Step, StepKind};
use sealwire_tests::board;
use sealwire_tests::load::Load;
use sealwire_tests::session;
use sealwire_tests::steps::Renewal;
use sealwire_tests::world::{AgentSettings, World};
use tokio::signal::unix::{SignalKind, signal};

/// Renews a certificate every few seconds under live WebSocket sessions, and shows that nothing is lost.
#[derive(Debug, Parser)]
struct Demo {
    /// How many WebSocket sessions stay open.
    #[arg(long, default_value_t = 200)]
    sessions: u64,
    /// For how many seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seconds between renewals.
    #[arg(long, default_value_t = 4)]
    every: u64,
    /// Leave agent and node running until Ctrl-C, and tell how to look for oneself.
    #[arg(long)]
    keep: bool,
}

/// Where `--keep` serves examples/board.
const PAGE: u16 = 7001;
/// How often a publication is sent to all sessions.
const PUBLISH_EVERY: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    let demo = Demo::parse();
    let runtime = tokio::runtime::Runtime::new();
    match runtime.context("cannot start").and_then(|runtime| runtime.block_on(demo.run())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    renewals: u32,
    proven: u32,
    push_to_proof: Vec<Duration>,
}

impl Demo {
    async fn run(self) -> Result<bool> {
        let mut interrupted = signal(SignalKind::interrupt())?;
        let world = World::new();
        world.configure_agent(&AgentSettings {
            issuers: "[internal.pki]\norganization = \"Sealwire demo\"\nleaf_lifetime = \"5m\"\n".to_owned(),
            ..AgentSettings::default()
        });
        let page = SocketAddr::from((world.address, PAGE));
        let extra =
            format!("[gate]\norigins = [\"http://{page}\"]\n[namespaces.default]\n{}", board::NAMESPACES);
        world.configure_node("node-1", 0, &world.delivery_socket(), &extra);
        println!(
            "starting an agent (internal CA, certificates of 5 minutes) and a node, paired over a Unix socket"
        );
        let (mut agent, mut node) = (world.start_agent(), world.start_node("node-1"));
        let first = world.proven().await.current.context("no generation")?;
        println!("generation {} is served: serial {}", first.generation, first.serial);

        let (anchors, root) = world.roots().await;
        let load =
            Load::start(world.node_address(), &session::tls(&anchors)?, self.sessions, PUBLISH_EVERY).await?;
        println!(
            "{} WebSocket sessions are open; one publication every {PUBLISH_EVERY:?} goes to all of them\n\n{}",
            self.sessions,
            head()
        );

        let mut admin = world.admin().await;
        let mut tally = Tally::default();
        let end = Instant::now() + Duration::from_secs(self.seconds);
        let mut ticks = tokio::time::interval(Duration::from_secs(self.every.max(1)));
        while Instant::now() < end {
            tokio::select! {
                _ = interrupted.recv() => break,
                () = tokio::time::sleep_until(end.into()) => break,
                _ = ticks.tick() => {}
            }
            let renewal = Renewal::follow(&mut admin, false).await?;
            tally.add(&renewal);
            println!("{}", timeline(&renewal, &load));
            if !agent.is_running() || !node.is_running() {
                bail!("a process ended:\n{}\n{}", agent.log(), node.log());
            }
        }
        let sessions = self.sessions;
        let summary = load.stop().await;
        println!(
            "\nrenewals             {:>8}   each one proven by a handshake: {}",
            tally.renewals, tally.proven
        );
        println!("push to proof        {:>8}   median, {} at most", tally.median(), tally.most());
        println!("sessions kept        {:>8}   of {sessions}", summary.kept);
        println!("publications         {:>8}   to {sessions} sessions each", summary.published);
        println!("publications lost    {:>8}   out of order: {}", summary.lost, summary.disordered);
        let good = tally.proven == tally.renewals
            && tally.renewals > 0
            && summary.kept == sessions
            && summary.lost == 0
            && summary.disordered == 0;
        println!("\n{}", if good { "Nothing was lost." } else { "SOMETHING WAS LOST: see above." });
        if self.keep {
            let address = world.node_address();
            println!(
                "\nAgent (pid {}) and node (pid {}) keep running; look for yourself:\n",
                agent.pid(),
                node.pid()
            );
            println!("  {}", world.url());
            println!("  curl --cacert {} https://{address}/", root.display());
            println!(
                "  openssl s_client -connect {address} -servername node.test -CAfile {} </dev/null",
                root.display()
            );
            let config = world.path("agent.toml");
            for command in ["status", "renew", "watch"] {
                println!("  target/debug/sealwire --config {} {command}", config.display());
            }
            match board::serve(page).await {
                Ok(()) => println!(
                    "\nA board that everybody shares (examples/board); open it twice, in a browser that trusts {} or has accepted\n\
                     the certificate of https://{address}/:\n\n  http://{page}/?node={}",
                    root.display(),
                    world.url()
                ),
                Err(error) => println!("\nexamples/board is not served: {error:#}"),
            }
            println!("\nCtrl-C ends it.");
            interrupted.recv().await;
        }
        node.terminate();
        agent.terminate();
        let stopped = [node.ended(Duration::from_secs(20)), agent.ended(Duration::from_secs(20))];
        Ok(good && stopped.iter().all(std::process::ExitStatus::success))
    }
}

impl Tally {
    fn add(&mut self, renewal: &Renewal) {
        self.renewals += 1;
        self.proven += u32::from(renewal.is_done());
        self.push_to_proof.extend(renewal.push_to_proof());
        self.push_to_proof.sort_unstable();
    }

    fn median(&self) -> String {
        self.push_to_proof.get(self.push_to_proof.len() / 2).map_or("-".to_owned(), |took| millis(*took))
    }

    fn most(&self) -> String {
        self.push_to_proof.last().map_or("-".to_owned(), |took| millis(*took))
    }
}

fn millis(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}

fn head() -> String {
    format!(
        "{:<4} {:>10} -> {:>10} -> {:>10} -> {:>10} -> {:>10}   {}",
        "gen", "issued", "pushed", "validated", "swapped", "proven", "meanwhile"
    )
}

/// One renewal in one line: milliseconds since it began.
fn timeline(renewal: &Renewal, load: &Load) -> String {
    let at = |kind| renewal.step(kind).map_or("-".to_owned(), since);
    if !renewal.is_done() {
        let failed = renewal.step(StepKind::Failed).map_or("", |step| &step.detail);
        return format!("FAILED: {failed}");
    }
    // The node tells how long the swap took; the ack says when it was over.
    let (validated, swapped) = renewal.step(StepKind::Acked).map_or_else(Default::default, |acked| {
        (millis(Duration::from_micros(acked.elapsed_micros.saturating_sub(acked.swap_micros))), since(acked))
    });
    let counts = &load.counts;
    format!(
        "{:<4} {:>10} -> {:>10} -> {validated:>10} -> {swapped:>10} -> {:>10}   {} sessions open, {} publications, {} lost sessions",
        format!("#{}", renewal.generation()),
        at(StepKind::Issued),
        at(StepKind::Pushed),
        at(StepKind::Proven),
        counts.open.load(Ordering::Relaxed),
        counts.published.load(Ordering::Relaxed),
        counts.lost_sessions.load(Ordering::Relaxed),
    )
}

fn since(step: &Step) -> String {
    millis(Duration::from_micros(step.elapsed_micros))
}
