//! Publishes to channels on disk as fast as it can, and writes down each acknowledgement, until it is killed. The test of
//! channels on disk starts it.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use sealwire_tests::channels::{Acknowledged, open, publication, rules};
use wss_node::broker::Broker;
use wss_node::broker::answer::Append;
use wss_node::broker::rules::Kind;

const PUBLISHERS: usize = 12;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().context("which directory?")?);
    let run = arguments.next().context("which run?")?;
    let broker = Arc::new(open(&directory)?);
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let broker = Arc::clone(&broker);
        let name = format!("{run}-{publisher}");
        let (channel, kind) = match publisher % 3 {
            0 => ("stream", Kind::Stream),
            1 => ("map", Kind::Map),
            _ => ("other", Kind::Stream),
        };
        tokio::spawn(async move {
            let rules = rules(kind);
            for n in 0.. {
                match broker.append(channel, &rules, publication(kind, &name, n)).await {
                    Append::Appended(position) => {
                        let told = Acknowledged {
                            channel: channel.to_owned(),
                            epoch: position.epoch.as_str().to_owned(),
                            offset: position.offset,
                            payload: format!("{name}.{n}"),
                        };
                        writeln!(std::io::stdout().lock(), "{told}")?;
                    }
                    other => bail!("{other:?}"),
                }
            }
            Ok(())
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await??;
    }
    Ok(())
}
