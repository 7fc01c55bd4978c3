//! Placing an order: once. What the CA may have accepted without our hearing of it is looked for first, and
//! what it will not have as a renewal is ordered as something new.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use http::StatusCode;
use instant_acme::{Error, Identifier, NewOrder, Order, OrderStatus};
use sealwire_proto::v1::StepKind;
use serde::Deserialize;

use super::ari::certificate_id;
use super::call::call;
use super::http::Answer;
use super::order::OrderRun;
use super::problem::{class_of, describe, kind};
use super::wire::Refused;
use crate::issuer::{ErrorClass, IssueError, Placed};

/// How much of an account's list of orders is read: the list of a large account has no end. Pebble has three
/// orders on a page.
const MAX_PAGES: usize = 50;
/// How many orders are looked at, at each end of the list: it has no particular order (RFC 8555 section
/// 7.1.2.1), but new ones are hardly put into its middle.
const MAX_ORDERS_AT_END: usize = 30;

/// A CA that stumbles this often in a row over a renewal may stumble over its being one.
const RENEWALS_TRIED: usize = 2;

/// A list of orders that cannot be read this often in a row is done without.
const SEARCHES_TRIED: usize = 2;

/// Identifiers of orders that the CA may have accepted although it did not say so.
#[derive(Debug, Default)]
pub(super) struct Unsure(Mutex<BTreeMap<Vec<String>, Doubt>>);

/// How often in a row it went wrong.
#[derive(Clone, Copy, Debug, Default)]
struct Doubt {
    orders: usize,
    searches: usize,
}

impl Unsure {
    fn note(&self, identifiers: &[String], change: impl FnOnce(&mut Doubt)) {
        change(self.lock().entry(sorted(identifiers)).or_default());
    }

    fn about(&self, identifiers: &[String]) -> Doubt {
        self.lock().get(&sorted(identifiers)).copied().unwrap_or_default()
    }

    fn forget(&self, identifiers: &[String]) {
        self.lock().remove(&sorted(identifiers));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Vec<String>, Doubt>> {
        // A map is whole between any two operations.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sorted(identifiers: &[String]) -> Vec<String> {
    let mut sorted = identifiers.to_vec();
    sorted.sort_unstable();
    sorted
}

impl OrderRun<'_> {
    /// Places the order, or takes up the one that an earlier attempt has placed unawares.
    pub(super) async fn place(&self, profile: Option<&str>) -> Result<Order, IssueError> {
        let identifiers = &self.request.identifiers;
        let (placed, order) = match self.find_placed(profile).await? {
            Some(placed) => (placed, None),
            None => self.new_order(profile).await?,
        };
        self.unsure.forget(identifiers);
        self.progress.order_placed(&placed).await?;
        let renewal = if placed.replaces { ", as a renewal" } else { "" };
        self.progress.step(StepKind::Ordered, format!("{}{renewal}", placed.url));
        match order {
            Some(order) => Ok(order),
            // Only now that its URL is safe.
            None => call!(self.ca, "read the order", self.account.order(placed.url.clone())),
        }
    }

    /// Orders; as a renewal first, if it is one. Without the order where it has to be read again.
    async fn new_order(&self, profile: Option<&str>) -> Result<(Placed, Option<Order>), IssueError> {
        let identifiers: Vec<Identifier> = self
            .request
            .identifiers
            .iter()
            .map(|name| match name.parse::<IpAddr>() {
                Ok(address) => Identifier::Ip(address),
                Err(_) => Identifier::Dns(name.clone()),
            })
            .collect();
        let doubt = self.unsure.about(&self.request.identifiers);
        let mut replaces = self.replaced().filter(|_| doubt.orders < RENEWALS_TRIED);
        loop {
            let new = || {
                let mut new = NewOrder::new(&identifiers);
                if let Some(profile) = profile {
                    new = new.profile(profile);
                }
                match &replaces {
                    Some(replaces) => new.replaces(replaces.clone()),
                    None => new,
                }
            };
            let (error, answer) = match call!(raw, async { self.account.new_order(&new()).await }) {
                Ok((order, _)) => {
                    let placed = Placed { url: order.url().to_owned(), replaces: replaces.is_some() };
                    return Ok((placed, Some(order)));
                }
                Err(failed) => failed,
            };
            if let Some(url) = accepted(answer.as_ref()) {
                // instant-acme does not like the answer and keeps its URL to itself: it echoes no `replaces`
                // or another one, which is no reason to lose an order.
                tracing::debug!(issuer = self.ca.issuer, url, %error, "the order is read again");
                return Ok((Placed { url: url.to_owned(), replaces: false }, None));
            }
            if replaces.is_some() && is_about_replaces(&error, answer.as_ref()) {
                let why = match &error {
                    Error::Api(problem) => describe(problem),
                    other => other.to_string(),
                };
                tracing::warn!(
                    issuer = self.ca.issuer,
                    certificate = self.request.certificate,
                    why,
                    "the CA does not take the order as a renewal; ordering without `replaces`"
                );
                replaces = None;
                if is_ambiguous(answer.as_ref()) {
                    self.unsure.note(&self.request.identifiers, |doubt| doubt.orders += 1);
                    if let Some(placed) = Box::pin(self.find_placed(profile)).await? {
                        return Ok((placed, None));
                    }
                }
                continue;
            }
            if is_ambiguous(answer.as_ref()) {
                self.unsure.note(&self.request.identifiers, |doubt| doubt.orders += 1);
            }
            return Err(self.ca.error("place the order", &error, answer.as_ref()));
        }
    }

    /// What the order replaces, at a CA that wants to know.
    fn replaced(&self) -> Option<instant_acme::CertificateIdentifier<'static>> {
        self.wire.directory.renewal_info.as_ref()?;
        let leaf = self.request.replaces.as_ref()?;
        let id = certificate_id(leaf);
        if let Err(why) = &id {
            tracing::debug!(issuer = self.ca.issuer, why, "ordering without `replaces`");
        }
        id.ok()
    }

    /// Looks for an order that an earlier attempt has placed without hearing of it. Let's Encrypt has no list of
    /// orders, but answers newOrder with the pending one by itself.
    async fn find_placed(&self, profile: Option<&str>) -> Result<Option<Placed>, IssueError> {
        let doubt = self.unsure.about(&self.request.identifiers);
        if !self.request.unsure && doubt.orders == 0 {
            return Ok(None);
        }
        let found = match self.search(profile).await {
            Ok(found) => found,
            Err((error, answer)) => {
                let error = self.wire.error("look for an order placed before", &(error, answer));
                self.unsure.note(&self.request.identifiers, |doubt| doubt.searches += 1);
                if error.class == ErrorClass::Transient && doubt.searches + 1 < SEARCHES_TRIED {
                    // A CA in trouble gets no second order before it can say what became of the first. But no
                    // certificate expires over a list that is out of order.
                    return Err(error);
                }
                tracing::warn!(issuer = self.ca.issuer, %error, "placing a new order");
                return Ok(None);
            }
        };
        let Some(ListedOrder { url, replaces, .. }) = found else { return Ok(None) };
        tracing::info!(issuer = self.ca.issuer, url, "taking up an order that was placed unawares");
        let asked = self.replaced().map(|id| id.to_string());
        Ok(Some(Placed { url, replaces: asked.is_some() && asked == replaces }))
    }

    async fn search(&self, profile: Option<&str>) -> Result<Option<ListedOrder>, Refused> {
        #[derive(Deserialize)]
        struct Account {
            orders: Option<String>,
        }
        #[derive(Deserialize)]
        struct Orders {
            orders: Vec<String>,
        }
        let account_url = self.signer.account.unwrap_or_default();
        let account: Account = self.wire.post(account_url, self.signer, None).await?.json()?;
        let mut next = account.orders.filter(|url| !url.is_empty());
        let (mut first, mut last) = (VecDeque::new(), VecDeque::new());
        let mut pages = 0;
        while let Some(url) = next.take() {
            let page = self.wire.post(&url, self.signer, None).await?;
            pages += 1;
            for url in page.json::<Orders>()?.orders {
                if first.len() < MAX_ORDERS_AT_END {
                    first.push_back(url);
                    continue;
                }
                last.push_back(url);
                if last.len() > MAX_ORDERS_AT_END {
                    last.pop_front();
                }
            }
            next = page.answer.link("next").filter(|_| pages < MAX_PAGES).map(str::to_owned);
        }
        // The newest last, in the lists that are known.
        while let Some(url) = last.pop_back().or_else(|| first.pop_back()) {
            let order = match self.wire.post(&url, self.signer, None).await {
                Ok(reply) => reply.json::<ListedOrder>()?,
                // Gone between list and look.
                Err((_, Some(answer))) if answer.status.is_client_error() => continue,
                Err(refused) => return Err(refused),
            };
            if order.is_for(&self.request.identifiers, profile) {
                return Ok(Some(ListedOrder { url, ..order }));
            }
        }
        Ok(None)
    }
}

/// An order in an account's list.
#[derive(Deserialize)]
struct ListedOrder {
    #[serde(skip)]
    url: String,
    status: OrderStatus,
    identifiers: Vec<ListedIdentifier>,
    profile: Option<String>,
    replaces: Option<String>,
}

#[derive(Deserialize)]
struct ListedIdentifier {
    value: String,
}

impl ListedOrder {
    /// Whether it can still become the certificate that is wanted.
    fn is_for(&self, identifiers: &[String], profile: Option<&str>) -> bool {
        let values: Vec<_> =
            self.identifiers.iter().map(|listed| listed.value.to_ascii_lowercase()).collect();
        matches!(self.status, OrderStatus::Pending | OrderStatus::Ready)
            && sorted(&values) == sorted(identifiers)
            && (profile.is_none() || self.profile.as_deref() == profile)
    }
}

/// The URL of an order that the CA accepted, whatever instant-acme thinks of the answer.
fn accepted(answer: Option<&Answer>) -> Option<&str> {
    let answer = answer.filter(|answer| answer.status.is_success())?;
    answer.location.as_deref()
}

/// Whether the refusal may be about `replaces`: any that is not plainly about something else. Peers that
/// waited for the one right problem type never renewed again. An internal error may be about it too, unless
/// it asks for patience: Pebble has one for a certificate that it does not find.
fn is_about_replaces(error: &Error, answer: Option<&Answer>) -> bool {
    let (Error::Api(problem), Some(answer)) = (error, answer) else { return false };
    if answer.status.is_client_error() {
        // "unauthorized": by another account than ours, perhaps one that we had before.
        return matches!(kind(problem), "alreadyReplaced" | "malformed" | "unauthorized")
            || class_of(problem, Some(answer.status)) == ErrorClass::Ours;
    }
    answer.status == StatusCode::INTERNAL_SERVER_ERROR && answer.retry_after.is_none()
}

/// Whether the CA may have accepted the order all the same: no answer, or one that tells of its own trouble.
fn is_ambiguous(answer: Option<&Answer>) -> bool {
    answer.is_none_or(|answer| answer.status.is_server_error() || answer.status.is_success())
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
