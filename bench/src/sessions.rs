//! Open sessions in a process of their own (`sealwire-bench-sessions`), so that what they cost is neither the
//! prober's nor the node's: groups that share a channel each, with a publisher in each group.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use sealwire_proto::anchors::Anchors;
use sealwire_tests::load::{Load, Summary};
use sealwire_tests::process::{Process, own};
use sealwire_tests::session;

/// Sessions that share a channel.
pub const GROUP: u64 = 100;
/// Between two publications of a group.
pub const PUBLISH_EVERY: Duration = Duration::from_secs(2);
/// Groups that are opened at the same time.
const OPENING: usize = 8;
/// For all sessions to open, and for all to close.
const PATIENCE: Duration = Duration::from_secs(90);
/// What the other process says when all are open.
const OPEN: &str = "all sessions are open";
/// What comes before the sum.
const SUM: &str = "sum:";

/// Sessions that another process holds open.
#[derive(Debug)]
pub struct Sessions {
    process: Process,
}

impl Sessions {
    /// Opens them and returns when all are open.
    ///
    /// # Panics
    /// When they are not open in time, with what the other process said.
    #[must_use]
    pub fn open(address: SocketAddr, roots: &Path, count: u64) -> Self {
        let arguments = [address.to_string(), roots.display().to_string(), count.to_string()];
        let process = Process::start("sessions", &mut own("sealwire-bench-sessions", arguments));
        let _ = process.line(OPEN, PATIENCE);
        Self { process }
    }

    /// Closes them and sums up.
    ///
    /// # Errors
    /// The other process failed.
    pub fn close(mut self) -> Result<Summary> {
        self.process.close_input();
        let status = self.process.ended(PATIENCE);
        ensure!(status.success(), "the sessions ended with {status}: {}", self.process.log());
        read_sum(&self.process.line(SUM, PATIENCE))
    }
}

/// The other process: holds the sessions until its standard input ends.
///
/// # Errors
/// A session cannot be opened.
pub async fn hold(address: SocketAddr, roots: &Path, count: u64, say: impl Fn(&str)) -> Result<()> {
    ensure!(count > 0 && count.is_multiple_of(GROUP), "sessions come in groups of {GROUP}, not {count}");
    let tls = session::tls(&Anchors::from_pem_file(roots)?)?;
    let groups = stream::iter(0..count / GROUP).map(|group| {
        let tls = &tls;
        async move { Load::start_on(format!("load-{group}"), address, tls, GROUP, PUBLISH_EVERY).await }
    });
    let groups: Vec<Load> = groups.buffer_unordered(OPENING).try_collect().await?;
    say(OPEN);
    let input = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    input.await?.context("standard input")?;
    let sums = join_all(groups.into_iter().map(Load::stop)).await;
    say(&write_sum(sums.into_iter()));
    Ok(())
}

fn write_sum(groups: impl Iterator<Item = Summary>) -> String {
    let all = groups.fold([0; 4], |sum, group| {
        let Summary { kept, published, lost, disordered } = group;
        [sum[0] + kept, sum[1] + published, sum[2] + lost, sum[3] + disordered]
    });
    format!("{SUM} {} {} {} {}", all[0], all[1], all[2], all[3])
}

fn read_sum(line: &str) -> Result<Summary> {
    let numbers = line.strip_prefix(SUM).unwrap_or_default().split_whitespace().map(str::parse);
    let numbers: Vec<u64> =
        numbers.collect::<Result<_, _>>().with_context(|| format!("not a sum: {line}"))?;
    let [kept, published, lost, disordered] = numbers[..] else { anyhow::bail!("not a sum: {line}") };
    Ok(Summary { kept, published, lost, disordered })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_one_process_writes_the_other_reads() {
        let group = Summary { kept: 100, published: 3, lost: 2, disordered: 1 };
        let sum = read_sum(&write_sum([group, group].into_iter())).unwrap();
        assert_eq!(sum, Summary { kept: 200, published: 6, lost: 4, disordered: 2 });
        assert!(read_sum("sum: 1 2").is_err() && read_sum("sum: 1 2 3 x").is_err());
    }
}
