//! Which solvers a certificate's names may use, and in which order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dns::Resolver;
use super::dns_persist01::{self, DnsPersist01};
use super::dns01::Dns01;
use super::stateless::Stateless;
use super::{ChallengeError, Http01, Solver, TlsAlpn01};
use crate::config::{AcmeConfig, CertificateConfig, ChallengeKind, Config, Propagation};
use crate::issuer::{ErrorClass, IssueError};

/// Solvers, the first choice first.
type Plan = Vec<Arc<dyn Solver>>;

/// By issuer and identifier.
type Failures = HashMap<(String, String), BTreeSet<ChallengeKind>>;

/// How the names of every certificate are validated. Clones share it.
#[derive(Clone)]
pub struct Challenges(Arc<Inner>);

struct Inner {
    http01: Http01,
    tls_alpn01: TlsAlpn01,
    kinds: BTreeSet<ChallengeKind>,
    /// By issuer and certificate.
    plans: BTreeMap<(String, String), Plan>,
    /// For certificates that are not in the configuration.
    otherwise: Plan,
    /// What the CA, or our own part of it, did not get done last time. As many as there are identifiers.
    failed: Mutex<Failures>,
}

impl Challenges {
    /// Sets up everything that `config` names, without asking the network. `accounts` holds the directories of
    /// the accounts by issuer.
    ///
    /// # Errors
    /// Class `Ours`: a file that cannot be used.
    pub fn new(config: &Config, accounts: &Path) -> Result<Self, IssueError> {
        let set_up =
            SetUp { config, accounts, http01: http01(config, accounts), tls_alpn01: TlsAlpn01::new() };
        let mut providers = HashMap::new();
        let mut plans = BTreeMap::new();
        let mut kinds = BTreeSet::new();
        for certificate in &config.certificates {
            for issuer in &certificate.issuers {
                let Some(acme) = config.acme.get(issuer) else { continue };
                let plan = set_up
                    .plan(certificate, acme, &mut providers)
                    .map_err(|error| IssueError::new(error.class, error.message))?;
                kinds.extend(plan.iter().map(|solver| solver.kind()));
                if plan.iter().any(|solver| solver.kind() == ChallengeKind::DnsPersist01) {
                    set_up.tell_standing_records(issuer, certificate);
                }
                plans.insert((issuer.clone(), certificate.name.clone()), plan);
            }
        }
        let SetUp { http01, tls_alpn01, .. } = set_up;
        let failed = Mutex::default();
        Ok(Self(Arc::new(Inner { http01, tls_alpn01, kinds, plans, otherwise: Vec::new(), failed })))
    }

    /// The listener's side of HTTP-01, if some certificate uses it.
    #[must_use]
    pub fn http01(&self) -> Option<&Http01> {
        self.0.kinds.contains(&ChallengeKind::Http01).then_some(&self.0.http01)
    }

    /// The listener's side of TLS-ALPN-01, if some certificate uses it.
    #[must_use]
    pub fn tls_alpn01(&self) -> Option<&TlsAlpn01> {
        self.0.kinds.contains(&ChallengeKind::TlsAlpn01).then_some(&self.0.tls_alpn01)
    }

    fn plan(&self, issuer: &str, certificate: &str) -> &Plan {
        self.0.plans.get(&(issuer.to_owned(), certificate.to_owned())).unwrap_or(&self.0.otherwise)
    }

    /// What may be tried for an identifier: those that failed last time come after the others.
    pub(in super::super) fn candidates(
        &self,
        issuer: &str,
        certificate: &str,
        identifier: &str,
    ) -> Vec<Arc<dyn Solver>> {
        let plan = self.plan(issuer, certificate);
        let mut fitting: Plan =
            plan.iter().filter(|solver| solver.kind().fits(identifier)).map(Arc::clone).collect();
        let key = (issuer.to_owned(), identifier.to_owned());
        let mut failed = self.failed();
        if let Some(kinds) = failed.get(&key) {
            if fitting.iter().all(|solver| kinds.contains(&solver.kind())) {
                // Each had its turn: from the start again.
                failed.remove(&key);
            } else {
                // Stable: the order of preference stays within both parts.
                fitting.sort_by_key(|solver| kinds.contains(&solver.kind()));
            }
        }
        fitting
    }

    /// Whether every identifier can be validated; asked before an order counts against the CA's limits.
    ///
    /// # Errors
    /// Class `Ours`, for identifiers that the configuration was not checked with.
    pub(in super::super) fn check(
        &self,
        issuer: &str,
        certificate: &str,
        identifiers: &[String],
    ) -> Result<(), IssueError> {
        let plan = self.plan(issuer, certificate);
        let stuck =
            identifiers.iter().find(|identifier| !plan.iter().any(|solver| solver.kind().fits(identifier)));
        let Some(identifier) = stuck else { return Ok(()) };
        let needs =
            if identifier.starts_with("*.") { "dns-01 or dns-persist-01" } else { "http-01 or tls-alpn-01" };
        let message = format!("issuer {issuer}: {identifier} needs {needs}: add it to `challenges`");
        Err(IssueError::new(ErrorClass::Ours, message))
    }

    /// The next attempt for the identifier tries the others first.
    pub(in super::super) fn failed_with(&self, issuer: &str, identifier: &str, kind: ChallengeKind) {
        self.failed().entry((issuer.to_owned(), identifier.to_owned())).or_default().insert(kind);
    }

    /// The first choice is the first choice again.
    pub(in super::super) fn succeeded(&self, issuer: &str, identifiers: &[String]) {
        let mut failed = self.failed();
        for identifier in identifiers {
            failed.remove(&(issuer.to_owned(), identifier.clone()));
        }
    }

    fn failed(&self) -> MutexGuard<'_, Failures> {
        self.0.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Http01> for Challenges {
    /// HTTP-01 for every certificate.
    fn from(http01: Http01) -> Self {
        let otherwise: Plan = vec![Arc::new(http01.clone())];
        Self(Arc::new(Inner {
            http01,
            tls_alpn01: TlsAlpn01::new(),
            kinds: BTreeSet::from([ChallengeKind::Http01]),
            plans: BTreeMap::new(),
            otherwise,
            failed: Mutex::default(),
        }))
    }
}

/// What the plans are made from.
struct SetUp<'a> {
    config: &'a Config,
    accounts: &'a Path,
    http01: Http01,
    tls_alpn01: TlsAlpn01,
}

impl SetUp<'_> {
    /// `providers`: by name and resolvers of the issuer, shared by all certificates that use them.
    fn plan<'c>(
        &'c self,
        certificate: &'c CertificateConfig,
        acme: &'c AcmeConfig,
        providers: &mut HashMap<(&'c str, &'c [std::net::SocketAddr]), Dns01>,
    ) -> Result<Plan, ChallengeError> {
        let dns = certificate.dns.as_deref().or(acme.dns.as_deref());
        let dns = dns.and_then(|name| Some((name, self.config.dns.get(name)?)));
        let own: &[_] = dns.map_or(&[], |(_, config)| &config.resolvers);
        let resolver = Resolver::new(&[own, &acme.resolvers]);
        let mut plan: Plan = Vec::new();
        for kind in certificate.challenges.as_ref().unwrap_or(&acme.challenges) {
            plan.push(match kind {
                ChallengeKind::Http01 => Arc::new(self.http01.clone()),
                ChallengeKind::TlsAlpn01 => Arc::new(self.tls_alpn01.clone()),
                ChallengeKind::DnsPersist01 => Arc::new(DnsPersist01 {
                    resolver: resolver.clone(),
                    look: dns.is_none_or(|(_, config)| config.propagation != Propagation::Off),
                }),
                ChallengeKind::Dns01 => {
                    let Some((name, config)) = dns else {
                        return Err(ChallengeError::ours("\"dns-01\" needs a provider: set `dns`"));
                    };
                    let key = (name, acme.resolvers.as_slice());
                    let dns01 = match providers.get(&key) {
                        Some(dns01) => dns01,
                        None => {
                            let dns01 = Dns01::new(name, config, resolver.clone())?;
                            providers.entry(key).or_insert(dns01)
                        }
                    };
                    Arc::new(dns01.clone())
                }
            });
        }
        Ok(plan)
    }

    /// What must stand in the DNS, as the CA said at an earlier order; the first order says it for the first time.
    fn tell_standing_records(&self, issuer: &str, certificate: &CertificateConfig) {
        let Some(ca) = dns_persist01::remembered(&self.accounts.join(issuer)) else { return };
        for identifier in &certificate.identifiers {
            if ChallengeKind::DnsPersist01.fits(identifier) {
                tracing::info!(
                    issuer,
                    certificate = certificate.name,
                    "dns-persist-01 needs this record: {}",
                    ca.record(identifier)
                );
            }
        }
    }
}

fn http01(config: &Config, accounts: &Path) -> Http01 {
    if !config.http01.stateless {
        return Http01::new();
    }
    let mut dirs = BTreeMap::new();
    let mut hosts = BTreeMap::new();
    for certificate in &config.certificates {
        for issuer in &certificate.issuers {
            let Some(acme) = config.acme.get(issuer) else { continue };
            if certificate.challenges.as_ref().unwrap_or(&acme.challenges).contains(&ChallengeKind::Http01) {
                dirs.insert(issuer.clone(), accounts.join(issuer));
                hosts.extend(certificate.identifiers.iter().map(|name| (name.clone(), issuer.clone())));
            }
        }
    }
    Http01::stateless(Stateless::new(dirs, hosts))
}

#[cfg(test)]
#[path = "choose_tests.rs"]
mod tests;
