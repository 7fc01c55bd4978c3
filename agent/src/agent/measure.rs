//! The agent's metrics, read when somebody asks: at rest they cost nothing, however many certificates there are.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;
#[cfg(test)]
use sealwire_metrics::Description;
use sealwire_metrics::{Kind, Metric, PROCESS, ProcessTime, Text};
use sealwire_proto::v1::{BreakerState, Severity};

use super::managed::Managed;
use super::{Agent, Connected};
use crate::delivery::Takes;

/// Takes the labels' values, in the order of the family, and the number.
type See<'a> = dyn FnMut(&[&str], f64) + 'a;

/// Numbers of one name, and how to read them.
struct Family {
    name: &'static str,
    unit: &'static str,
    kind: Kind,
    help: &'static str,
    labels: &'static [&'static str],
    read: fn(&Scrape<'_>, &mut See<'_>),
}

/// What is looked at.
struct Scrape<'a> {
    agent: &'a Agent,
    now: Timestamp,
    /// Certificates told by name: those that end first, those without any before them.
    shown: Vec<&'a Managed>,
}

impl Scrape<'_> {
    fn each(&self, see: &mut See<'_>, of: impl Fn(&Managed) -> Option<f64>) {
        for managed in &self.shown {
            if let Some(value) = of(managed) {
                see(&[&managed.name], value);
            }
        }
    }

    /// Negative: it has ended.
    fn left(&self, managed: &Managed) -> Option<f64> {
        managed
            .current
            .as_ref()
            .map(|current| current.not_after().duration_since(self.now).as_secs_f64().round())
    }
}

/// Counts up to 2^53 are exact.
#[allow(clippy::cast_precision_loss)]
fn number(count: u64) -> f64 {
    count as f64
}

/// Nodes that tell of themselves.
fn ours<'a>(scrape: &Scrape<'a>) -> impl Iterator<Item = (&'a String, &'a Connected)> {
    scrape.agent.nodes.iter().filter(|(_, node)| node.info.is_ours())
}

/// Targets and clients of the discovery service.
fn foreign<'a>(scrape: &Scrape<'a>) -> impl Iterator<Item = (&'a String, &'a Connected)> {
    scrape.agent.nodes.iter().filter(|(_, node)| !node.info.is_ours())
}

fn size(count: usize) -> f64 {
    number(u64::try_from(count).unwrap_or(u64::MAX))
}

const FAMILIES: &[Family] = &[
    Family {
        name: "sealwire.info",
        unit: "",
        kind: Kind::Gauge,
        help: "1; its label tells the version",
        labels: &["version"],
        read: |_, see| see(&[env!("CARGO_PKG_VERSION")], 1.0),
    },
    Family {
        name: "sealwire.certificates",
        unit: "{certificate}",
        kind: Kind::Gauge,
        help: "Certificates by state, as `sealwire status` names it",
        labels: &["state"],
        read: |scrape, see| {
            let mut states = BTreeMap::<_, usize>::new();
            for managed in scrape.agent.certificates.values() {
                *states.entry(scrape.agent.state(managed, scrape.now)).or_default() += 1;
            }
            states.into_iter().for_each(|(state, count)| see(&[state], size(count)));
        },
    },
    Family {
        name: "sealwire.certificates.unnamed",
        unit: "{certificate}",
        kind: Kind::Gauge,
        help: "Certificates that are not told by name: beyond `admin.metrics_certificates`",
        labels: &[],
        read: |scrape, see| see(&[], size(scrape.agent.certificates.len() - scrape.shown.len())),
    },
    Family {
        name: "sealwire.certificates.first_expiry",
        unit: "s",
        kind: Kind::Gauge,
        help: "Seconds until the first of all certificates ends; negative: it has",
        labels: &[],
        read: |scrape, see| {
            let all = scrape.agent.certificates.values().filter_map(|managed| scrape.left(managed));
            all.min_by(f64::total_cmp).into_iter().for_each(|left| see(&[], left));
        },
    },
    Family {
        name: "sealwire.certificate.expiry",
        unit: "s",
        kind: Kind::Gauge,
        help: "Seconds until the current generation ends; negative: it has; no value without one",
        labels: &["certificate"],
        read: |scrape, see| scrape.each(see, |managed| scrape.left(managed)),
    },
    Family {
        name: "sealwire.certificate.generation",
        unit: "",
        kind: Kind::Gauge,
        help: "The current generation; 0: none",
        labels: &["certificate"],
        read: |scrape, see| {
            scrape.each(see, |managed| {
                Some(managed.current.as_ref().map_or(0.0, |current| number(current.number)))
            });
        },
    },
    Family {
        name: "sealwire.certificate.failures",
        unit: "{attempt}",
        kind: Kind::Gauge,
        help: "Attempts that failed in a row",
        labels: &["certificate"],
        read: |scrape, see| scrape.each(see, |managed| Some(f64::from(managed.memory.failures))),
    },
    Family {
        name: "sealwire.attempts",
        unit: "{attempt}",
        kind: Kind::Counter,
        help: "What issuers were asked for, by how it ended: `ok`, or the class of the error",
        labels: &["issuer", "work", "outcome"],
        read: |scrape, see| {
            scrape.agent.tally.attempts().for_each(|(labels, count)| see(&labels, number(count)));
        },
    },
    Family {
        name: "sealwire.attempts.underway",
        unit: "{attempt}",
        kind: Kind::Gauge,
        help: "Orders, rehearsals and questions for renewal information that are under way",
        labels: &[],
        read: |scrape, see| see(&[], size(scrape.agent.attempts.len())),
    },
    Family {
        name: "sealwire.issuer.blocked",
        unit: "",
        kind: Kind::Gauge,
        help: "1 while a CA has asked everybody to stay away, else 0",
        labels: &["issuer"],
        read: |scrape, see| {
            for (name, state) in &scrape.agent.issuers {
                let blocked = state.blocked.as_ref().is_some_and(|block| block.until > scrape.now);
                see(&[name], f64::from(u8::from(blocked)));
            }
        },
    },
    Family {
        name: "sealwire.steps",
        unit: "{step}",
        kind: Kind::Counter,
        help: "Steps of certificates from order to proof, by kind, as `sealwire watch` names them: deliveries are \
               `pushed`, `prepared`, `acked`, `nacked`, `proven`, `stapled`",
        labels: &["step"],
        read: |scrape, see| {
            for (kind, count) in scrape.agent.steps.counts() {
                see(&[&kind.as_str_name().to_lowercase()], number(count));
            }
        },
    },
    Family {
        name: "sealwire.revocation.checks",
        unit: "{question}",
        kind: Kind::Counter,
        help: "Questions about revocation by what was asked for and how it ended: a `crl` was `ok` or `error`, a responder \
               (`ocsp`) said `good`, `revoked` or `unknown`, or nothing to go by (`error`)",
        labels: &["source", "outcome"],
        read: |scrape, see| {
            scrape.agent.tally.checks().for_each(|(labels, count)| see(&labels, number(count)));
        },
    },
    Family {
        name: "sealwire.nodes",
        unit: "{node}",
        kind: Kind::Gauge,
        help: "Nodes that are paired",
        labels: &[],
        read: |scrape, see| see(&[], size(ours(scrape).count())),
    },
    Family {
        name: "sealwire.node.ready",
        unit: "",
        kind: Kind::Gauge,
        help: "1 if a paired node says that it is ready, else 0",
        labels: &["node"],
        read: |scrape, see| {
            for (id, node) in ours(scrape) {
                see(&[id], f64::from(u8::from(node.report.ready)));
            }
        },
    },
    Family {
        name: "sealwire.node.breaker_open",
        unit: "",
        kind: Kind::Gauge,
        help: "1 if the breaker of a paired node is open or half open, else 0",
        labels: &["node"],
        read: |scrape, see| {
            for (id, node) in ours(scrape) {
                let state = node
                    .report
                    .breaker
                    .as_ref()
                    .map_or(BreakerState::Closed, sealwire_proto::v1::Breaker::state);
                let open = matches!(state, BreakerState::Open | BreakerState::HalfOpen);
                see(&[id], f64::from(u8::from(open)));
            }
        },
    },
    Family {
        name: "sealwire.target.proven",
        unit: "",
        kind: Kind::Gauge,
        help: "1 if a deploy target or a client of the discovery service was seen serving what it should, else 0",
        labels: &["target", "certificate"],
        read: |scrape, see| {
            for (id, node) in foreign(scrape) {
                let mut tell = |name: &String| {
                    see(&[id, name], f64::from(u8::from(scrape.agent.is_proven_on(id, name))));
                };
                match &node.info.takes {
                    Takes::Served => {}
                    Takes::Deployed(name) => tell(name),
                    // What there is no certificate for is a name of somebody's choice.
                    Takes::Asked(names) => {
                        names
                            .iter()
                            .filter(|name| scrape.agent.certificates.contains_key(*name))
                            .for_each(tell);
                    }
                }
            }
        },
    },
    Family {
        name: "sealwire.target.attempts",
        unit: "{attempt}",
        kind: Kind::Counter,
        help: "What became of certificates on deploy targets and clients of the discovery service: taken, proven, refused, \
               unproven, unanswered",
        labels: &["target", "certificate", "outcome"],
        read: |scrape, see| {
            scrape.agent.tally.targets().for_each(|(labels, count)| see(&labels, number(count)));
        },
    },
    Family {
        name: "sealwire.peers.refused",
        unit: "{connection}",
        kind: Kind::Counter,
        help: "Connections to the delivery socket by users that may not",
        labels: &[],
        read: |scrape, see| see(&[], number(scrape.agent.refused_peers)),
    },
    Family {
        name: "sealwire.incidents",
        unit: "{incident}",
        kind: Kind::Gauge,
        help: "Open incidents by kind; 0 for those that are not",
        labels: &["kind", "severity"],
        read: |scrape, see| {
            for kind in crate::incident::Kind::ALL {
                let count = scrape.agent.incidents.open().filter(|incident| incident.kind == kind).count();
                let severity = match kind.severity() {
                    Severity::Critical => "critical",
                    Severity::Warning => "warning",
                    Severity::Info | Severity::Unspecified => "info",
                };
                see(&[kind.as_str(), severity], size(count));
            }
        },
    },
    Family {
        name: "sealwire.alerts",
        unit: "{request}",
        kind: Kind::Counter,
        help: "Requests to receivers of alerts: `taken`, `refused` (and tried again), or messages `dropped` for good",
        labels: &["receiver", "outcome"],
        read: |scrape, see| {
            for counts in scrape.agent.incidents.sendings() {
                see(&[counts.receiver, "taken"], number(counts.taken));
                see(&[counts.receiver, "refused"], number(counts.refused));
                see(&[counts.receiver, "dropped"], number(counts.dropped));
            }
        },
    },
    Family {
        name: "sealwire.alerts.waiting",
        unit: "{message}",
        kind: Kind::Gauge,
        help: "Messages in the spool of a receiver",
        labels: &["receiver"],
        read: |scrape, see| {
            scrape
                .agent
                .incidents
                .sendings()
                .for_each(|counts| see(&[counts.receiver], size(counts.waiting)));
        },
    },
    Family {
        name: "sealwire.disk.unwritten",
        unit: "{document}",
        kind: Kind::Gauge,
        help: "Documents that could not be written and are in memory only",
        labels: &[],
        read: |scrape, see| see(&[], size(scrape.agent.disk.failing())),
    },
    Family {
        name: "sealwire.clock.skew",
        unit: "s",
        kind: Kind::Gauge,
        help: "Seconds by which the machine's clock is ahead of that of a CA; no value before the CA was asked",
        labels: &["issuer"],
        read: |scrape, see| {
            for (name, source) in &scrape.agent.sources {
                if let Some(skew) = source.issuer.clock_skew() {
                    see(&[name], skew.ahead.as_secs_f64().round());
                }
            }
        },
    },
    Family {
        name: "sealwire.panics",
        unit: "{panic}",
        kind: Kind::Counter,
        help: "Tasks that broke off: each is a bug",
        labels: &[],
        read: |scrape, see| see(&[], number(scrape.agent.panics)),
    },
];

impl Agent {
    /// All metrics in the text format of Prometheus.
    pub(super) fn measure(&self) -> String {
        let began = Instant::now();
        let named = self.config.admin.metrics_certificates;
        let mut shown: Vec<_> = self.certificates.values().map(|managed| &**managed).collect();
        let ends = |managed: &&Managed| managed.current.as_ref().map(|current| current.not_after());
        if shown.len() > named {
            shown.sort_by_cached_key(|managed| (ends(managed), std::sync::Arc::clone(&managed.name)));
            shown.truncate(named);
        }
        let scrape = Scrape { agent: self, now: self.clock.now(), shown };
        let mut text = Text::default();
        for Family { name, unit, kind, help, labels, read } in FAMILIES {
            read(&scrape, &mut |values, value| {
                let pairs: Vec<_> = labels.iter().copied().zip(values.iter().copied()).collect();
                text.add(&Metric { name, unit, kind: *kind, help, labels: &pairs, value });
            });
        }
        for gauge in &PROCESS {
            if let Some(value) = (gauge.read)() {
                let (name, unit, help, kind) = (gauge.name, gauge.unit, gauge.help, Kind::Gauge);
                text.add(&Metric { name, unit, kind, help, labels: &[], value });
            }
        }
        for (mode, value) in ProcessTime::read().into_iter().flatten() {
            text.add(&Metric {
                name: ProcessTime::NAME,
                unit: ProcessTime::UNIT,
                kind: Kind::Counter,
                help: ProcessTime::HELP,
                labels: &[(ProcessTime::LABEL, mode)],
                value,
            });
        }
        tracing::trace!(took = ?began.elapsed(), "measured");
        text.finish()
    }
}

/// Everything that the agent tells, in the order of the names.
#[cfg(test)]
fn descriptions() -> Vec<Description> {
    let described = |family: &Family| {
        let Family { name, unit, kind, help, labels, .. } = *family;
        Description { name, unit, kind, help, labels: labels.to_vec() }
    };
    let mut all: Vec<_> = FAMILIES.iter().map(described).collect();
    all.extend(PROCESS.iter().map(|gauge| {
        let (name, unit, help) = (gauge.name, gauge.unit, gauge.help);
        Description { name, unit, kind: Kind::Gauge, help, labels: Vec::new() }
    }));
    all.push(Description {
        name: ProcessTime::NAME,
        unit: ProcessTime::UNIT,
        kind: Kind::Counter,
        help: ProcessTime::HELP,
        labels: vec![ProcessTime::LABEL],
    });
    all.sort_by_key(|description| description.name);
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn metrics_page() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        sealwire_metrics::check_page(page.as_ref(), "The agent", &descriptions()).unwrap();
    }

    #[test]
    fn names_are_unique() {
        let all = descriptions();
        assert_eq!(all.iter().map(|one| one.name).collect::<BTreeSet<_>>().len(), all.len());
    }
}
