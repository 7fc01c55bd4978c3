//! What is counted, for the report to the agent and for the log. Atomics: no lock on any path.

mod api;
mod closes;
mod handshakes;

use std::sync::atomic::{AtomicU64, Ordering};

use api::Api;
pub(crate) use closes::{Closes, Side};
use handshakes::Handshakes;
pub(crate) use sealwire_metrics::{Kind, Metric};

use crate::auth::TokenFault;
use crate::limits::LimitFault;
use crate::proxy::HeaderFault;
use crate::tls::Reason;
use crate::upgrade::Outcome;

/// Counters of the whole node.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Open connections.
    pub(crate) connections: AtomicU64,
    /// Open sessions.
    pub(crate) sessions: AtomicU64,
    /// Handshakes that succeeded.
    pub(crate) handshakes: AtomicU64,
    /// The same by what they agreed upon.
    pub(crate) agreed: Handshakes,
    /// Handshakes that failed, in the order of [`Reason::ALL`].
    handshake_failures: [AtomicU64; Reason::ALL.len()],
    /// Connections closed before TLS because a limit was reached.
    pub(crate) turned_away: AtomicU64,
    /// Times a limit was reached, in the order of [`LimitFault::ALL`].
    limits_reached: [AtomicU64; LimitFault::ALL.len()],
    /// PROXY headers that were not taken, in the order of [`HeaderFault::ALL`].
    proxy_headers_refused: [AtomicU64; HeaderFault::ALL.len()],
    /// Connections to the plain listener from peers that are no trusted proxies.
    pub(crate) plain_refused: AtomicU64,
    /// Requests refused because their connection came without the client's certificate.
    pub(crate) client_certificates_missing: AtomicU64,
    /// Times the breaker has opened.
    pub(crate) breaker_opened: AtomicU64,
    /// Times it has closed again.
    pub(crate) breaker_closed: AtomicU64,
    /// Publications refused because it was open.
    pub(crate) publications_refused: AtomicU64,
    /// Upgrades refused because it was open.
    pub(crate) upgrades_refused: AtomicU64,
    /// What became of requests for a session, in the order of [`Outcome::ALL`].
    upgrades: [AtomicU64; Outcome::ALL.len()],
    /// Decisions that were not told because of `audit.lines_per_second`.
    pub(crate) audit_left_out: AtomicU64,
    /// Lines that the audit file could not take.
    pub(crate) audit_lost: AtomicU64,
    /// Publications accepted.
    pub(crate) publications: AtomicU64,
    /// Publications put into the queue of a subscriber.
    pub(crate) deliveries: AtomicU64,
    /// Times that a broker could not say that nothing is missing: subscribers read the log again.
    pub(crate) gaps: AtomicU64,
    /// Subscriptions that asked for what they had missed and got it.
    pub(crate) recovered: AtomicU64,
    /// Those that could not get it.
    pub(crate) unrecovered: AtomicU64,
    /// Publications that a broker could not take.
    pub(crate) publications_failed: AtomicU64,
    /// Tokens that let somebody in, at the upgrade, with `connect` or with `refresh`.
    pub(crate) tokens_accepted: AtomicU64,
    /// Tokens that did not, in the order of [`TokenFault::NAMES`].
    tokens_refused: [AtomicU64; TokenFault::NAMES.len()],
    /// Fetches of key sets that brought keys.
    pub(crate) jwks_fetched: AtomicU64,
    /// Those that did not.
    pub(crate) jwks_failed: AtomicU64,
    /// Keys in them that are of no use, counted when a set changes.
    pub(crate) jwks_keys_skipped: AtomicU64,
    /// Sessions ended by a fault of this node.
    pub(crate) sessions_panicked: AtomicU64,
    /// WebSocket messages of clients.
    pub(crate) messages_received: AtomicU64,
    /// WebSocket messages to clients.
    pub(crate) messages_sent: AtomicU64,
    /// Bytes in messages of clients.
    pub(crate) bytes_received: AtomicU64,
    /// Bytes in messages to clients.
    pub(crate) bytes_sent: AtomicU64,
    /// Ended sessions by close code.
    pub(crate) closes: Closes,
    /// The server API.
    pub(crate) api: Api,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_many(counter: &AtomicU64, count: usize) {
        counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A handshake failed.
    pub(crate) fn handshake_failed(&self, reason: Reason) {
        Self::add(&self.handshake_failures[reason as usize]);
    }

    /// Somebody was over a limit.
    pub(crate) fn limit_reached(&self, fault: LimitFault) {
        Self::add(&self.limits_reached[fault as usize]);
    }

    /// A PROXY header was not taken.
    pub(crate) fn proxy_header_refused(&self, fault: HeaderFault) {
        Self::add(&self.proxy_headers_refused[fault as usize]);
    }

    /// How often somebody was over this limit.
    #[cfg(test)]
    pub(crate) fn limits_reached(&self, fault: LimitFault) -> u64 {
        Self::get(&self.limits_reached[fault as usize])
    }

    /// A request for a session came to this.
    pub(crate) fn upgrade(&self, outcome: Outcome) {
        Self::add(&self.upgrades[outcome as usize]);
    }

    /// Failed handshakes by reason, without the reasons that did not occur.
    pub(crate) fn handshake_failures(&self) -> impl Iterator<Item = (Reason, u64)> {
        let counts = Reason::ALL.into_iter().zip(self.handshake_failures.iter().map(Self::get));
        counts.filter(|(_, count)| *count > 0)
    }

    /// A token was refused.
    pub(crate) fn token_refused(&self, fault: TokenFault) {
        Self::add(&self.tokens_refused[fault.index()]);
    }

    /// All of them, each with what it means: the one list from which `/status`, Prometheus, OTLP and docs/metrics.md
    /// are made.
    pub(crate) fn visit(&self, see: &mut dyn FnMut(&Metric<'_>)) {
        let plain = [
            (
                "wss_node.connections",
                "{connection}",
                Kind::Gauge,
                "Open connections, sessions or not",
                &self.connections,
            ),
            ("wss_node.sessions", "{session}", Kind::Gauge, "Open sessions", &self.sessions),
            (
                "wss_node.sessions.panicked",
                "{session}",
                Kind::Counter,
                "Sessions ended by a fault of this node; the log has what it was",
                &self.sessions_panicked,
            ),
            (
                "wss_node.connections.turned_away",
                "{connection}",
                Kind::Counter,
                "Connections closed before TLS because a limit was reached",
                &self.turned_away,
            ),
            (
                "wss_node.plain.refused",
                "{connection}",
                Kind::Counter,
                "Connections to the plain listener from peers that are not in `proxy.trusted`",
                &self.plain_refused,
            ),
            (
                "wss_node.client_certificates.missing",
                "{request}",
                Kind::Counter,
                "Requests refused because `listen.client_auth = \"required\"` and none was presented",
                &self.client_certificates_missing,
            ),
            (
                "wss_node.breaker.opened",
                "{time}",
                Kind::Counter,
                "Times the breaker has opened",
                &self.breaker_opened,
            ),
            (
                "wss_node.breaker.closed",
                "{time}",
                Kind::Counter,
                "Times it has closed again",
                &self.breaker_closed,
            ),
            (
                "wss_node.publications.refused",
                "{publication}",
                Kind::Counter,
                "Publications refused because the breaker was open",
                &self.publications_refused,
            ),
            (
                "wss_node.upgrades.halted",
                "{request}",
                Kind::Counter,
                "Upgrades refused because the breaker was open",
                &self.upgrades_refused,
            ),
            (
                "wss_node.publications",
                "{publication}",
                Kind::Counter,
                "Publications accepted",
                &self.publications,
            ),
            (
                "wss_node.deliveries",
                "{publication}",
                Kind::Counter,
                "Publications put into the queue of a subscriber",
                &self.deliveries,
            ),
            (
                "wss_node.publications.failed",
                "{publication}",
                Kind::Counter,
                "Publications that a broker could not take",
                &self.publications_failed,
            ),
            (
                "wss_node.gaps",
                "{gap}",
                Kind::Counter,
                "Times that a broker could not say that nothing is missing, so that subscribers read the log again",
                &self.gaps,
            ),
            (
                "wss_node.subscriptions.recovered",
                "{subscription}",
                Kind::Counter,
                "Subscriptions that asked for what they had missed and got it",
                &self.recovered,
            ),
            (
                "wss_node.subscriptions.unrecovered",
                "{subscription}",
                Kind::Counter,
                "Subscriptions that asked for what they had missed and could not get it",
                &self.unrecovered,
            ),
            (
                "wss_node.audit.left_out",
                "{decision}",
                Kind::Counter,
                "Decisions not told because of `audit.lines_per_second`",
                &self.audit_left_out,
            ),
            (
                "wss_node.audit.lost",
                "{line}",
                Kind::Counter,
                "Lines that `audit.file` could not take",
                &self.audit_lost,
            ),
            ("wss_node.tokens.accepted", "{token}", Kind::Counter, "Tokens accepted", &self.tokens_accepted),
            (
                "wss_node.jwks.fetched",
                "{fetch}",
                Kind::Counter,
                "Fetches of token keys that brought keys",
                &self.jwks_fetched,
            ),
            (
                "wss_node.jwks.failed",
                "{fetch}",
                Kind::Counter,
                "Fetches of token keys that brought none; the last keys stay in use",
                &self.jwks_failed,
            ),
            (
                "wss_node.jwks.keys_skipped",
                "{key}",
                Kind::Counter,
                "Keys of no use in fetched sets, counted when a set changes",
                &self.jwks_keys_skipped,
            ),
        ];
        for (name, unit, kind, help, counter) in plain {
            see(&Metric { name, unit, kind, help, labels: &[], value: Self::get(counter) });
        }
        let directed = [
            (
                "wss_node.messages",
                "{message}",
                "WebSocket messages",
                &self.messages_received,
                &self.messages_sent,
            ),
            ("wss_node.io", "By", "Bytes in WebSocket messages", &self.bytes_received, &self.bytes_sent),
        ];
        for (name, unit, help, received, sent) in directed {
            for (direction, counter) in [("receive", received), ("transmit", sent)] {
                see(&Metric {
                    name,
                    unit,
                    kind: Kind::Counter,
                    help,
                    labels: &[("network.io.direction", direction)],
                    value: Self::get(counter),
                });
            }
        }
        self.agreed.visit(see);
        self.closes.visit(see);
        self.api.visit(see);
        for (reason, counter) in Reason::ALL.into_iter().zip(&self.handshake_failures) {
            see(&Metric {
                name: "tls.server.handshake.failures",
                unit: "{handshake}",
                kind: Kind::Counter,
                help: "Handshakes that failed, by reason",
                labels: &[("error.type", reason.as_str())],
                value: Self::get(counter),
            });
        }
        for (fault, counter) in HeaderFault::ALL.into_iter().zip(&self.proxy_headers_refused) {
            see(&Metric {
                name: "wss_node.proxy_headers.refused",
                unit: "{connection}",
                kind: Kind::Counter,
                help: "Connections closed because of their PROXY header, by reason",
                labels: &[("error.type", fault.as_str())],
                value: Self::get(counter),
            });
        }
        for (fault, counter) in LimitFault::ALL.into_iter().zip(&self.limits_reached) {
            see(&Metric {
                name: "wss_node.limits.reached",
                unit: "{time}",
                kind: Kind::Counter,
                help: "Connections and sessions refused, by the limit that was reached",
                labels: &[("wss_node.limit", fault.as_str())],
                value: Self::get(counter),
            });
        }
        for (outcome, counter) in Outcome::ALL.into_iter().zip(&self.upgrades) {
            see(&Metric {
                name: "wss_node.upgrades",
                unit: "{request}",
                kind: Kind::Counter,
                help: "Requests for a session, by what became of them",
                labels: &[("outcome", outcome.as_str())],
                value: Self::get(counter),
            });
        }
        for (reason, counter) in TokenFault::NAMES.into_iter().zip(&self.tokens_refused) {
            see(&Metric {
                name: "wss_node.tokens.refused",
                unit: "{token}",
                kind: Kind::Counter,
                help: "Tokens refused, by reason",
                labels: &[("reason", reason)],
                value: Self::get(counter),
            });
        }
    }

    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}

/// Counts something as long as it is held.
#[derive(Debug)]
pub(crate) struct Gauge<'a>(&'a AtomicU64);

impl<'a> Gauge<'a> {
    pub(crate) fn up(counter: &'a AtomicU64) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_reason() {
        let counters = Counters::default();
        for reason in Reason::ALL {
            counters.handshake_failed(reason);
        }
        counters.handshake_failed(Reason::PlainHttp);
        assert_eq!(counters.handshake_failures().map(|(_, count)| count).sum::<u64>(), 18);
        assert!(counters.handshake_failures().any(|found| found == (Reason::PlainHttp, 2)));
    }
}
