//! Runs of many servers, by turns, and their medians.

use std::collections::BTreeMap;
use std::time::Duration;

use super::peers::Peer;
use super::stage::Run;
use crate::sample::{median, millis, ratio};

/// Of one measurement.
#[derive(Debug, Default)]
pub struct Table {
    runs: BTreeMap<Peer, Vec<Run>>,
}

impl Table {
    /// Adds a run.
    pub fn add(&mut self, peer: Peer, run: Run) {
        self.runs.entry(peer).or_default().push(run);
    }

    /// The median of each number, on its own.
    #[must_use]
    pub fn of(&self, peer: Peer) -> Option<Run> {
        let runs = self.runs.get(&peer)?;
        let of = |number: fn(&Run) -> f64| median(runs.iter().map(number).collect());
        let time = |number| Duration::from_secs_f64(of(number));
        Some(Run {
            per_second: of(|run| run.per_second),
            server: time(|run| run.server.as_secs_f64()),
            loader: time(|run| run.loader.as_secs_f64()),
            p50: time(|run| run.p50.as_secs_f64()),
            p99: time(|run| run.p99.as_secs_f64()),
        })
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{:<20} {:>12} {:>10} {:>7} {:>10} {:>10} {:>10}",
            "", "deliveries/s", "server us", "x ours", "loader us", "p50", "p99"
        )?;
        let ours = self.of(Peer::Sealwire);
        for peer in self.runs.keys() {
            let Some(run) = self.of(*peer) else { continue };
            let times = ours.map_or("-".to_owned(), |ours| format!("{:.2}", ratio(run.server, ours.server)));
            writeln!(
                f,
                "{:<20} {:>12.0} {:>10.2} {times:>7} {:>10.2} {:>10} {:>10}",
                peer.name(),
                run.per_second,
                run.server.as_secs_f64() * 1e6,
                run.loader.as_secs_f64() * 1e6,
                millis(run.p50),
                millis(run.p99)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn run(server: u64) -> Run {
        let time = Duration::from_micros(server);
        Run { per_second: 1e6 / server as f64, server: time, loader: time, p50: time, p99: time }
    }

    #[test]
    fn medians_and_ratios() {
        let mut table = Table::default();
        for server in [2, 9, 4] {
            table.add(Peer::Sealwire, run(server));
        }
        table.add(Peer::Ws, run(10));
        assert_eq!(table.of(Peer::Sealwire).unwrap().server, Duration::from_micros(4));
        assert!(table.of(Peer::Nats).is_none());
        let text = table.to_string();
        let ws = text.lines().find(|line| line.starts_with("ws")).unwrap();
        assert_eq!(ws.split_whitespace().nth(3), Some("2.50"), "{text}");
    }
}
