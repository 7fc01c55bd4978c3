//! Everybody at once: so many connections are begun in the same instant, and each is held until the last one has shaken
//! hands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::Target;
use crate::loader_tls;
use crate::sample::Sample;
use crate::server::NAME;

/// What is not done by then has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// What became of a burst.
#[derive(Clone, Debug)]
pub struct Burst {
    /// From the start of all to the end of each handshake.
    pub took: Sample,
    /// Those without one, by what went wrong.
    pub failed: Vec<String>,
}

/// Begins `count` connections at once.
///
/// # Errors
/// The server does not serve afterwards.
pub async fn burst(target: &Target, count: usize) -> Result<Burst> {
    let tls = TlsConnector::from(Arc::new(loader_tls::config(target.leaf, false)?));
    let (address, name) = (target.address, ServerName::try_from(NAME)?);
    let began = Instant::now();
    let mut all = JoinSet::new();
    for _ in 0..count {
        let (tls, name) = (tls.clone(), name.clone());
        all.spawn(async move {
            let one = async {
                let tcp = TcpStream::connect(address).await.context("connect")?;
                tcp.set_nodelay(true)?;
                let stream = tls.connect(name, tcp).await.context("TLS")?;
                anyhow::Ok((stream, began.elapsed()))
            };
            tokio::time::timeout(LIMIT, one).await.context("not done in time")?
        });
    }
    let (mut held, mut took, mut failed) = (Vec::with_capacity(count), Vec::with_capacity(count), Vec::new());
    while let Some(one) = all.join_next().await {
        match one? {
            Ok((stream, elapsed)) => {
                held.push(stream);
                took.push(elapsed);
            }
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    ensure!(held.len() + failed.len() == count, "connections got lost");
    Ok(Burst { took: took.into_iter().collect(), failed })
}
