//! The embedded CAs as the loop sees them: their roots go to nodes and to the gate as they are published, and
//! a change of a root waits for the nodes that the loop knows.

use std::collections::BTreeSet;
use std::sync::Arc;

use sealwire_proto::anchors::Anchors;

use super::Agent;
use super::issuers::Source;
use crate::incident::Kind;
use crate::issuer::Issuer;

impl Agent {
    /// Follows what embedded CAs publish. Costs nothing when nothing has changed.
    pub(super) fn follow_authorities(&mut self) {
        let (now, doubted) = (self.clock.now(), self.clock_is_doubted());
        for (name, source) in &mut self.sources {
            let Source { issuer, anchors, trust, roots_version, .. } = source;
            let Some(internal) = issuer.as_internal() else { continue };
            internal.doubt_clock(doubted);
            let version = internal.roots_version();
            if *roots_version != version {
                let roots = internal.trust_anchors();
                match Anchors::from_der(roots.clone()) {
                    Ok(usable) => {
                        (*anchors, *trust) = (Arc::new(usable), roots.into());
                        *roots_version = version;
                        self.unpublished = true;
                        tracing::info!(
                            issuer = name,
                            roots = trust.len(),
                            "the published roots have changed"
                        );
                    }
                    Err(error) => {
                        tracing::error!(issuer = name, %error, "the published roots cannot be used")
                    }
                }
            }
            match internal.waiting_for() {
                Some(text) => self.incidents.raise(Kind::CaRotation, name, now, text),
                None => self.incidents.clear(Kind::CaRotation, name, now),
            }
            let about = format!("ca {name}");
            match internal.fault() {
                Some(text) => self.incidents.raise(Kind::Disk, &about, now, text),
                None => self.incidents.clear(Kind::Disk, &about, now),
            }
        }
    }

    /// Tells embedded CAs which nodes are paired: those that are connected, and those that were and are not
    /// forgotten yet.
    pub(super) fn tell_paired(&self) {
        // Servers that are not ours present chains, and check nobody's.
        let records = self.records.nodes().filter(|(_, node)| !node.foreign).map(|(id, _)| id.to_owned());
        let paired = self.nodes.iter().filter(|(_, node)| node.info.is_ours()).map(|(id, _)| id.clone());
        let nodes: BTreeSet<_> = records.chain(paired).collect();
        for internal in self.sources.values().filter_map(|source| source.issuer.as_internal()) {
            internal.paired(nodes.clone());
        }
    }

    /// A node uses the roots of an issuer that have this digest.
    pub(super) fn trusted(&self, node_id: &str, issuer: &str, roots_sha256: &[u8]) {
        let source = self.sources.get(issuer);
        let Some(internal) = source.and_then(|source| source.issuer.as_internal()) else {
            tracing::debug!(node = node_id, issuer, "confirms roots of an issuer that is none of ours");
            return;
        };
        if let Err(error) = internal.trusted(node_id, roots_sha256) {
            tracing::error!(node = node_id, %error, "cannot remember that the node has the new root");
        }
    }

    /// The embedded CA of that name, or the only one.
    pub(super) fn internal(&self, wanted: &str) -> Result<Arc<dyn Issuer>, String> {
        let all: Vec<_> = self
            .sources
            .values()
            .map(|source| &source.issuer)
            .filter(|issuer| issuer.as_internal().is_some())
            .collect();
        let names = || all.iter().map(|issuer| issuer.name()).collect::<Vec<_>>().join(", ");
        match (wanted, &all[..]) {
            (_, []) => Err("no internal issuer is configured: there is no CA of ours".to_owned()),
            ("", [only]) => Ok(Arc::clone(only)),
            ("", _) => Err(format!("several internal issuers are configured, name one: {}", names())),
            (wanted, _) => {
                all.iter().find(|issuer| issuer.name() == wanted).map(|issuer| Arc::clone(issuer)).ok_or_else(
                    || format!("no internal issuer is named \"{wanted}\"; configured: {}", names()),
                )
            }
        }
    }

    /// Orders anew what is served with a revoked intermediate above it; gives the names.
    pub(super) fn replace_below(&mut self, issuer: &str, intermediate: &[u8]) -> Vec<String> {
        let is_below = |managed: &super::managed::Managed| {
            managed.current.as_ref().is_some_and(|current| {
                current.metadata.issuer == issuer
                    && current.chain.above().first().is_some_and(|above| above.as_ref() == intermediate)
            })
        };
        let below = self.certificates.iter().filter(|(_, managed)| is_below(managed));
        let names: Vec<_> = below.map(|(name, _)| name.clone()).collect();
        for name in &names {
            self.request(name, true);
        }
        names
    }
}
