//! Where handshakes find their certificate: one atomic load, no lock. Writer and reader are made together and
//! share one slot; a swap is one atomic store, so open connections go on and the next handshake sees the new
//! leaf.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::UnixTime;
use sealwire_proto::probe::DRILL_ALPN;
use sealwire_proto::v1::Held;

use super::served::{Served, seconds};
use super::shadow::Shadows;
use crate::config::UnknownSni;

/// All that is served at one instant, with the index that handshakes use.
#[derive(Debug, Default)]
struct ServedSet {
    by_certificate: BTreeMap<String, Arc<Served>>,
    /// Lower-case names, wildcards among them as `*.parent`.
    by_name: HashMap<String, Arc<Served>>,
    /// For clients that name no server: those that connect to an address.
    default: Option<Arc<Served>>,
}

/// Makes the two ends. `server_names` decides which certificate is the default: the one for the first address
/// among them, because those who connect to an address name no server (RFC 6066 section 3); else the one for the
/// first name.
pub(crate) fn live(server_names: Vec<String>) -> (CertWriter, CertReader) {
    let set = Arc::new(ArcSwap::from_pointee(ServedSet::default()));
    let shadows = Shadows::default();
    let reader = CertReader { set: Arc::clone(&set), shadows, unknown_sni: UnknownSni::Refuse };
    (CertWriter { set, server_names }, reader)
}

/// The end that changes what is served. There is one, so that no swap is lost.
#[derive(Debug)]
pub(crate) struct CertWriter {
    set: Arc<ArcSwap<ServedSet>>,
    server_names: Vec<String>,
}

/// The end that handshakes (and reports) read.
#[derive(Clone, Debug)]
pub(crate) struct CertReader {
    set: Arc<ArcSwap<ServedSet>>,
    shadows: Shadows,
    unknown_sni: UnknownSni,
}

impl CertWriter {
    /// Serves this generation, in this form, from the next handshake on.
    pub(crate) fn swap_in(&mut self, served: Served) -> Arc<Served> {
        let served = Arc::new(served);
        let mut by_certificate = self.set.load().by_certificate.clone();
        by_certificate.insert(served.certificate.clone(), Arc::clone(&served));
        self.set.store(Arc::new(ServedSet::new(by_certificate, &self.server_names)));
        served
    }
}

impl ServedSet {
    fn new(by_certificate: BTreeMap<String, Arc<Served>>, server_names: &[String]) -> Self {
        let mut by_name = HashMap::new();
        for served in by_certificate.values() {
            for name in &served.leaf.names {
                // The first in the order of names wins, so that the choice does not depend on what came last.
                by_name.entry(name.to_ascii_lowercase()).or_insert_with(|| Arc::clone(served));
            }
        }
        let mut set = Self { by_certificate, by_name, default: None };
        let (addresses, others): (Vec<_>, Vec<_>) =
            server_names.iter().partition(|name| name.parse::<IpAddr>().is_ok());
        let in_order = addresses.into_iter().chain(others);
        let preferred = in_order.filter_map(|name| set.find_as_written(name)).next().cloned();
        set.default = preferred.or_else(|| set.by_certificate.values().next().cloned());
        set
    }

    /// An address may be written in several ways; leaves have it in the usual one.
    fn find_as_written(&self, name: &str) -> Option<&Arc<Served>> {
        match name.parse::<IpAddr>() {
            Ok(address) => self.find(&address.to_string()),
            Err(_) => self.find(name),
        }
    }

    fn find(&self, name: &str) -> Option<&Arc<Served>> {
        // rustls hands server names over in lower case as the client sent them, mostly; be sure.
        let lower;
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = name.to_ascii_lowercase();
            &lower
        } else {
            name
        };
        self.by_name.get(name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        })
    }
}

impl ServedSet {
    /// What a client gets that asks for this name, or for none.
    fn answer(&self, name: Option<&str>, unknown: UnknownSni) -> Option<&Arc<Served>> {
        let Some(name) = name else { return self.default.as_ref() };
        self.find(name).or_else(|| self.default.as_ref().filter(|_| unknown == UnknownSni::Default))
    }
}

impl CertReader {
    /// As this, with another answer to names that nobody here has a certificate for.
    pub(crate) fn for_unknown(self, unknown_sni: UnknownSni) -> Self {
        Self { unknown_sni, ..self }
    }

    /// The name that a client asks for in vain.
    pub(crate) fn lacks(&self, hello: &ClientHello<'_>) -> Option<String> {
        let name = hello.server_name()?;
        let found = is_drill(hello) || self.set.load().answer(Some(name), self.unknown_sni).is_some();
        (!found).then(|| name.to_owned())
    }

    /// What a Hello says is held.
    pub(crate) fn holds(&self, now: i64) -> Vec<Held> {
        self.set.load().by_certificate.values().map(|served| served.held(now)).collect()
    }

    /// What is served of a certificate.
    pub(crate) fn served(&self, certificate: &str) -> Option<Arc<Served>> {
        self.set.load().by_certificate.get(certificate).cloned()
    }

    /// What handshakes for these names present, each once, with the names.
    pub(crate) fn presented(&self, names: &[String]) -> Vec<(Arc<Served>, Vec<String>)> {
        let set = self.set.load();
        let mut presented: Vec<(Arc<Served>, Vec<String>)> = Vec::new();
        for name in names {
            let Some(served) = set.find_as_written(name) else { continue };
            match presented.iter_mut().find(|(other, _)| Arc::ptr_eq(other, served)) {
                Some((_, names)) => names.push(name.clone()),
                None => presented.push((Arc::clone(served), vec![name.clone()])),
            }
        }
        presented
    }

    /// What only drills see.
    pub(crate) fn shadows(&self) -> &Shadows {
        &self.shadows
    }

    /// What is served with this leaf.
    pub(crate) fn with_leaf(&self, sha256: [u8; 32]) -> Option<Arc<Served>> {
        self.set.load().by_certificate.values().find(|served| served.leaf.sha256 == sha256).cloned()
    }

    /// All that is served.
    pub(crate) fn all(&self) -> Vec<Arc<Served>> {
        self.set.load().by_certificate.values().cloned().collect()
    }
}

impl ResolvesServerCert for CertReader {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let now = seconds(UnixTime::now());
        if is_drill(&hello) {
            let shadow = self.shadows.find(hello.server_name(), Instant::now())?;
            return Some(Arc::clone(shadow.key(now)));
        }
        let set = self.set.load();
        set.answer(hello.server_name(), self.unknown_sni).map(|served| Arc::clone(served.key(now)))
    }
}

fn is_drill(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == DRILL_ALPN))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::certs::validate::tests::{bundle_for, checked};

    fn served(certificate: &str, generation: u64, names: &[&str]) -> Served {
        checked(&bundle_for(certificate, generation, names))
    }

    #[test]
    fn names_are_found_exactly_by_wildcard_and_by_default() {
        let (mut writer, reader) = live(vec!["b.example".into()]);
        assert!(reader.set.load().find("a.example").is_none());
        writer.swap_in(served("one", 1, &["a.example", "*.w.example"]));
        writer.swap_in(served("two", 1, &["b.example", "x.w.example"]));
        let set = reader.set.load();
        let found = |name: &str| set.find(name).map(|served| served.certificate.as_str());
        assert_eq!(found("A.Example"), Some("one"));
        assert_eq!(found("y.w.example"), Some("one"));
        assert_eq!(found("x.w.example"), Some("two"), "exact before wildcard");
        assert_eq!(found("w.example"), None);
        assert_eq!(found("z.y.w.example"), None);
        assert_eq!(set.default.as_ref().unwrap().certificate, "two");
    }

    #[test]
    fn an_unknown_name_gets_what_the_operator_says() {
        let (mut writer, reader) = live(vec!["a.example".into()]);
        writer.swap_in(served("one", 1, &["a.example"]));
        let set = reader.set.load();
        let found = |unknown| set.answer(Some("b.example"), unknown).map(|served| served.generation);
        assert_eq!((found(UnknownSni::Refuse), found(UnknownSni::Default)), (None, Some(1)));
        assert!(set.answer(None, UnknownSni::Refuse).is_some());
    }

    #[test]
    fn who_names_no_server_connects_to_an_address() {
        let (mut writer, reader) = live(vec!["a.example".into(), "0:0::1".into()]);
        writer.swap_in(served("name", 1, &["a.example"]));
        assert_eq!(reader.set.load().default.as_ref().unwrap().certificate, "name");
        writer.swap_in(served("address", 1, &["::1"]));
        assert_eq!(reader.set.load().default.as_ref().unwrap().certificate, "address");
    }

    #[test]
    fn a_swap_replaces_one_certificate_only() {
        let (mut writer, reader) = live(vec!["a.example".into()]);
        writer.swap_in(served("one", 1, &["a.example"]));
        writer.swap_in(served("two", 7, &["b.example"]));
        writer.swap_in(served("one", 2, &["a.example"]));
        let held: Vec<_> =
            reader.holds(0).iter().map(|held| (held.certificate.clone(), held.generation)).collect();
        assert_eq!(held, [("one".to_owned(), 2), ("two".to_owned(), 7)]);
        assert_eq!(reader.set.load().find("a.example").unwrap().generation, 2);
        let names = ["a.example", "b.example", "c.example"].map(String::from);
        let presented = reader.presented(&names).into_iter();
        let presented: Vec<_> = presented.map(|(served, names)| (served.generation, names)).collect();
        assert_eq!(presented, [(2, vec!["a.example".to_owned()]), (7, vec!["b.example".to_owned()])]);
    }
}
