//! What the loop does about other replicas: it takes over what the leader has stored, and what there was when it comes
//! to lead itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::Agent;
use crate::incident::Kind;
use crate::issuer::acme::Gate;
use crate::lifecycle::Memory;
use crate::replicas::contents::{self, Contents};
use crate::replicas::{Copies, News};

/// What the loop has of the replicas.
pub(super) struct Replicas {
    pub(super) copies: Arc<Copies>,
    pub(super) news: mpsc::Receiver<News>,
    /// Who leads, as in the Lease; empty: nobody, or this one.
    pub(super) leader: String,
}

/// Signed requests wait for the word of the replicas.
pub(super) struct Leading(pub(super) Arc<Copies>);

#[async_trait]
impl Gate for Leading {
    async fn pass(&self, issuer: &str) -> Result<(), String> {
        self.0.pass(issuer).await.map_err(|error| error.to_string())
    }
}

/// The next word of the replicas; never, without replicas.
pub(super) async fn next(replicas: &mut Option<Replicas>) -> Option<News> {
    match replicas {
        Some(replicas) => replicas.news.recv().await,
        None => std::future::pending().await,
    }
}

impl Agent {
    /// Whether this agent orders: it is alone, or leads.
    pub(super) fn leads(&self) -> bool {
        self.replicas.as_ref().is_none_or(|replicas| replicas.copies.leads())
    }

    /// Why an operator's order is not taken here.
    pub(super) fn must_lead(&self) -> Result<(), String> {
        match &self.replicas {
            Some(replicas) if !replicas.copies.leads() => Err(match replicas.leader.as_str() {
                "" => "no replica leads now: try again in some seconds".to_owned(),
                leader => format!("this replica follows {leader}, which orders for all: run it there"),
            }),
            _ => Ok(()),
        }
    }

    /// For people; empty without replicas.
    pub(super) fn role(&self) -> String {
        match &self.replicas {
            None => String::new(),
            Some(replicas) if replicas.copies.leads() => "leads".to_owned(),
            Some(replicas) if replicas.leader.is_empty() => "follows nobody yet".to_owned(),
            Some(replicas) => format!("follows {}", replicas.leader),
        }
    }

    pub(super) fn replica_news(&mut self, news: News) {
        let now = self.clock.now();
        match news {
            News::Found { certificate, contents } => {
                if !self.leads() {
                    self.adopt(&certificate, &contents);
                    self.look_at(&certificate);
                }
            }
            News::Leads { term, certificates } => self.take_over(term, &certificates),
            News::Follows { leader } => {
                if let Some(replicas) = &mut self.replicas {
                    replicas.leader = leader;
                }
            }
            News::Trouble { about, text } => self.incidents.raise(Kind::Replicas, &about, now, text),
            News::Mended { about } => self.incidents.clear(Kind::Replicas, &about, now),
        }
    }

    /// What the former leader knew is ours; then we order.
    fn take_over(&mut self, term: u64, certificates: &BTreeMap<String, Contents>) {
        for (name, contents) in certificates {
            let Some(managed) = self.certificates.get_mut(name) else { continue };
            if managed.obtaining {
                // Our own attempt from before is still under way, and newer than what it has copied.
                continue;
            }
            if let Some(theirs) = contents.file(contents::MEMORY) {
                match serde_json::from_slice::<Memory>(theirs) {
                    Ok(theirs) => managed.memory.take_over(theirs),
                    Err(error) => {
                        tracing::warn!(certificate = name, %error, "the Secret's memory is not used")
                    }
                }
            }
            if let Err(error) = managed.store.install_order(contents) {
                tracing::error!(certificate = name, %error, "the order under way is not taken over; another is placed");
            }
            managed.order_pending = managed.pending();
            self.save_memory(name);
            self.adopt(name, contents);
        }
        let Some(replicas) = &mut self.replicas else { return };
        replicas.leader.clear();
        replicas.copies.settled(term);
        for source in self.sources.values() {
            let issuer = Arc::clone(&source.issuer);
            tokio::spawn(async move { issuer.account_changed().await });
        }
        for name in self.certificates.keys().cloned().collect::<Vec<_>>() {
            self.look_at(&name);
        }
    }

    /// The leader's generation becomes ours, if it is another.
    fn adopt(&mut self, name: &str, contents: &Contents) {
        let now = self.clock.now();
        let Some(managed) = self.certificates.get(name) else { return };
        let Some(number) = contents.generation() else { return };
        let chain = contents.file(contents::CHAIN).unwrap_or_default();
        let leaf = crate::store::chain_from_pem(chain).ok().and_then(|chain| chain.into_iter().next());
        if let Some(current) = &managed.current
            && current.number == number
            && leaf.as_ref() == Some(current.chain.leaf())
        {
            return;
        }
        match managed.store.install(number, contents) {
            Ok(generation) => {
                tracing::info!(certificate = name, generation = number, "taken over from the leader");
                self.incidents.clear(Kind::Replicas, name, now);
                self.obtained(name, "", Ok(generation));
            }
            Err(error) => {
                let text = format!(
                    "what the Secret of {name} holds cannot be used, and what is here stays: {error}"
                );
                tracing::warn!(certificate = name, "{text}");
                self.incidents.raise(Kind::Replicas, name, now, text);
            }
        }
    }
}
