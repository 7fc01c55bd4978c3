//! DNS-01 (RFC 8555 section 8.4): a TXT record at `_acme-challenge.NAME`, or where an alias there leads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::rr::Name;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::dns::{Action, AliasError, Provider, Record, Resolver, plain, provider, wait};
use super::{ChallengeError, Facts, MAX_PENDING, Prepared, Solver};
use crate::config::{ChallengeKind, DnsConfig, Propagation};

/// Changes under way at one provider: APIs have rate limits, and 100 programs at once are a burden.
const MAX_CHANGES: usize = 8;

/// A provider `[dns.NAME]` with what is set there now. Clones share it.
#[derive(Clone)]
pub(super) struct Dns01(Arc<Inner>);

struct Inner {
    name: String,
    provider: Box<dyn Provider>,
    resolver: Resolver,
    timeout: Duration,
    follow_cname: bool,
    propagation: Propagation,
    propagation_timeout: Duration,
    /// By name. One change at a time per name: hooks that read, edit and write a set of records would lose
    /// one of two values otherwise.
    slots: Mutex<HashMap<Name, Slot>>,
    changes: Semaphore,
}

type Slot = Arc<tokio::sync::Mutex<HashMap<String, Value>>>;

/// How many orders want a value (a CA may hand one pending authorization to two), and whether it is set.
#[derive(Default)]
struct Value {
    orders: usize,
    present: bool,
}

impl Dns01 {
    /// Sets up `[dns.NAME]` without asking the network.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub(super) fn new(name: &str, config: &DnsConfig, resolver: Resolver) -> Result<Self, ChallengeError> {
        let provider = provider(name, config, &resolver)?;
        Ok(Self::with_provider(name, config, resolver, provider))
    }

    fn with_provider(
        name: &str,
        config: &DnsConfig,
        resolver: Resolver,
        provider: Box<dyn Provider>,
    ) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            provider,
            resolver,
            timeout: config.timeout,
            follow_cname: config.follow_cname,
            propagation: config.propagation,
            propagation_timeout: config.propagation_timeout,
            slots: Mutex::default(),
            changes: Semaphore::new(MAX_CHANGES),
        }))
    }

    /// Where the record for a name goes.
    async fn place(&self, name: &str, deadline: Instant) -> Result<Name, ChallengeError> {
        let mut fqdn = Name::from_ascii(format!("_acme-challenge.{name}"))
            .map_err(|error| ChallengeError::ours(error.to_string()))?;
        fqdn.set_fqdn(true);
        if !self.0.follow_cname {
            return Ok(fqdn);
        }
        match timeout_at(deadline, self.0.resolver.target(&fqdn)).await {
            Ok(Ok(target)) => Ok(target),
            Ok(Err(error @ AliasError::Endless(_))) => Err(ChallengeError::ours(error.to_string())),
            // Going on could set the record in a zone that the CA does not look at.
            Ok(Err(AliasError::Dns(error))) => Err(ChallengeError::transient(format!(
                "cannot see whether {} is an alias: {error}; if it is none, follow_cname = false in [dns.{}] spares \
                 the question",
                plain(&fqdn),
                self.0.name
            ))),
            Err(_) => Err(ChallengeError::transient(format!(
                "no DNS server said in time whether {} is an alias",
                plain(&fqdn)
            ))),
        }
    }

    /// Sets the record. What it gives, dropped at any time, removes it.
    async fn present(&self, record: &Record, deadline: Instant) -> Result<SetRecord, ChallengeError> {
        let Some(slot) = self.slot(&record.fqdn) else {
            return Err(ChallengeError::transient(format!(
                "{MAX_PENDING} records are set already; it is tried again later"
            )));
        };
        let mut values = slot.lock().await;
        let value = values.entry(record.value.clone()).or_default();
        value.orders += 1;
        // Before the change: half a change is cleaned up as well.
        let guard = SetRecord { dns01: self.clone(), record: Some(record.clone()) };
        if !value.present {
            self.change(Action::Present, record, deadline).await?;
            if let Some(value) = values.get_mut(&record.value) {
                value.present = true;
            }
        }
        Ok(guard)
    }

    async fn remove(&self, record: &Record) {
        let Some(slot) = self.slot(&record.fqdn) else { return };
        let mut values = slot.lock().await;
        let Some(value) = values.get_mut(&record.value) else { return };
        value.orders -= 1;
        if value.orders > 0 {
            return;
        }
        values.remove(&record.value);
        // The order is over; its deadline does not bind what is left to do.
        let deadline = Instant::now() + self.0.timeout;
        if let Err(error) = self.change(Action::Cleanup, record, deadline).await {
            tracing::warn!(
                dns = self.0.name, fqdn = plain(&record.fqdn), %error,
                "a record of a challenge that is over could not be removed; it does no harm"
            );
        }
        if values.is_empty() {
            let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
            // Another order may have come for the name meanwhile: the map's, ours, and its.
            if Arc::strong_count(&slot) == 2 {
                slots.remove(&record.fqdn);
            }
        }
    }

    fn slot(&self, name: &Name) -> Option<Slot> {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_PENDING && !slots.contains_key(name) {
            // Those of orders that were given up while they waited for their turn.
            slots.retain(|_, slot| slot.try_lock().map_or(true, |values| !values.is_empty()));
            if slots.len() >= MAX_PENDING {
                return None;
            }
        }
        Some(Arc::clone(slots.entry(name.clone()).or_default()))
    }

    async fn change(&self, action: Action, record: &Record, deadline: Instant) -> Result<(), ChallengeError> {
        let change = async {
            // Never closed.
            let _permit = self.0.changes.acquire().await;
            let until = deadline.min(Instant::now() + self.0.timeout);
            timeout_at(until, self.0.provider.change(action, record)).await
        };
        let result = timeout_at(deadline, change).await.unwrap_or_else(Err);
        result
            .unwrap_or_else(|_| {
                let seconds = self.0.timeout.as_secs();
                Err(ChallengeError::transient(format!(
                    "it took longer than {seconds} s (`timeout`) and was stopped"
                )))
            })
            .map_err(|error| ChallengeError { message: format!("dns.{}: {error}", self.0.name), ..error })
    }

    /// Waits until the record can be seen, as configured.
    async fn wait(&self, record: &Record, deadline: Instant) -> Result<(), ChallengeError> {
        if self.0.propagation == Propagation::Off {
            return Ok(());
        }
        let until = deadline.min(Instant::now() + self.0.propagation_timeout);
        let wanted = |text: &str| text == record.value;
        let Err(why) = wait(&self.0.resolver, &record.fqdn, &wanted, until).await else { return Ok(()) };
        let fqdn = plain(&record.fqdn);
        if self.0.propagation == Propagation::Required {
            return Err(ChallengeError::transient(format!(
                "dns.{}: the TXT record at {fqdn} cannot be seen: {why}",
                self.0.name
            )));
        }
        tracing::warn!(
            dns = self.0.name,
            fqdn,
            why,
            "the TXT record cannot be seen from here; going on, for the CA may see it"
        );
        Ok(())
    }
}

#[async_trait]
impl Solver for Dns01 {
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::Dns01
    }

    async fn prepare(&self, facts: &Facts, deadline: Instant) -> Result<Box<dyn Prepared>, ChallengeError> {
        let fqdn = self.place(facts.name(), deadline).await?;
        let record = Record { fqdn, value: facts.dns_value(), identifier: facts.identifier.clone() };
        let guard = self.present(&record, deadline).await?;
        self.wait(&record, deadline).await?;
        Ok(Box::new(guard))
    }
}

/// A record that is removed when this goes.
struct SetRecord {
    dns01: Dns01,
    record: Option<Record>,
}

#[async_trait]
impl Prepared for SetRecord {
    async fn clean_up(mut self: Box<Self>) {
        if let Some(removal) = self.removal() {
            // A task of its own, so that it is not stopped half way if nobody waits any more.
            let _ = removal.await;
        }
    }
}

impl SetRecord {
    fn removal(&mut self) -> Option<tokio::task::JoinHandle<()>> {
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let record = self.record.take()?;
        let dns01 = self.dns01.clone();
        Some(runtime.spawn(async move { dns01.remove(&record).await }))
    }
}

impl Drop for SetRecord {
    fn drop(&mut self) {
        let _ = self.removal();
    }
}

#[cfg(test)]
#[path = "dns01_tests.rs"]
mod tests;
