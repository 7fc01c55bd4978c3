//! Handshakes by what they agreed upon.

use std::sync::atomic::AtomicU64;

use super::{Counters, Kind, Metric};
use crate::client::TlsFacts;

/// As `tls.rs` offers them, and a place for what it may offer one day.
const SUITES: [&str; 3] = ["TLS13_AES_256_GCM_SHA384", "TLS13_CHACHA20_POLY1305_SHA256", "other"];
const GROUPS: [&str; 4] = ["X25519MLKEM768", "X25519", "secp256r1", "other"];

/// A count for each combination.
#[derive(Debug, Default)]
pub(crate) struct Handshakes([[[AtomicU64; 2]; GROUPS.len()]; SUITES.len()]);

impl Handshakes {
    pub(crate) fn add(&self, facts: &TlsFacts) {
        let suite = position(&SUITES, facts.cipher_suite);
        let group = position(&GROUPS, facts.group);
        Counters::add(&self.0[suite][group][usize::from(facts.resumed)]);
    }

    pub(super) fn visit(&self, see: &mut dyn FnMut(&Metric<'_>)) {
        for (suite, groups) in SUITES.into_iter().zip(&self.0) {
            for (group, counts) in GROUPS.into_iter().zip(groups) {
                for (resumed, count) in ["false", "true"].into_iter().zip(counts) {
                    let value = Counters::get(count);
                    // What is offered is told before it occurs.
                    if value == 0 && (suite == "other" || group == "other") {
                        continue;
                    }
                    see(&Metric {
                        name: "tls.server.handshakes",
                        unit: "{handshake}",
                        kind: Kind::Counter,
                        help: "Handshakes that succeeded, by what they agreed upon",
                        labels: &[("tls.cipher", suite), ("tls.curve", group), ("tls.resumed", resumed)],
                        value,
                    });
                }
            }
        }
    }
}

/// The last place is that of all others.
fn position(names: &[&str], name: &str) -> usize {
    names.iter().position(|known| known.eq_ignore_ascii_case(name)).unwrap_or(names.len() - 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn facts(cipher_suite: &'static str, group: &'static str) -> TlsFacts {
        let (took, client_certificate) = (Duration::ZERO, None);
        TlsFacts { server_name: None, cipher_suite, group, resumed: true, took, client_certificate }
    }

    #[test]
    fn each_combination_is_counted_apart() {
        let handshakes = Handshakes::default();
        handshakes.add(&facts("TLS13_CHACHA20_POLY1305_SHA256", "X25519"));
        handshakes.add(&facts("TLS13_NEW", "x25519"));
        let mut found = Vec::new();
        handshakes.visit(&mut |metric| {
            if metric.value > 0 {
                found
                    .push(format!("{:?}", metric.labels.iter().map(|(_, value)| *value).collect::<Vec<_>>()));
            }
        });
        let expected =
            [r#"["TLS13_CHACHA20_POLY1305_SHA256", "X25519", "true"]"#, r#"["other", "X25519", "true"]"#];
        assert_eq!(found, expected);
    }
}
