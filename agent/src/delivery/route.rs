//! Which certificate goes to which node.

use super::{NodeInfo, Takes};
use crate::config::CertificateConfig;

/// Whether a configured identifier covers a name: the same name, the same wildcard, or a wildcard one label
/// above it (RFC 6125 section 6.4.3).
#[must_use]
pub fn covers(identifier: &str, name: &str) -> bool {
    if identifier.eq_ignore_ascii_case(name) {
        return true;
    }
    let (Some(parent), Some((label, rest))) = (identifier.strip_prefix("*."), name.split_once('.')) else {
        return false;
    };
    label != "*" && !label.is_empty() && rest.eq_ignore_ascii_case(parent)
}

/// Whether a certificate goes to a node: by the list if there is one, else by the names it must serve. Who asks for
/// it by its own name gets it unless there is a list without that node.
#[must_use]
pub fn goes_to(certificate: &CertificateConfig, node: &NodeInfo) -> bool {
    let wanted = |name: &String| certificate.identifiers.iter().any(|identifier| covers(identifier, name));
    match (&node.takes, &certificate.nodes) {
        (Takes::Deployed(name), _) => *name == certificate.name,
        (Takes::Asked(names), nodes) => {
            let listed = nodes.as_ref().is_none_or(|nodes| nodes.contains(&node.id));
            names.contains(&certificate.name) && (listed || certificate.sds(&node.id).is_some())
        }
        (Takes::Served, Some(nodes)) => nodes.contains(&node.id),
        (Takes::Served, None) => node.server_names.iter().any(wanted),
    }
}

/// The names under which a certificate is proven on a node: those the node must serve and it covers; with
/// an explicit list of nodes and no such name, what the certificate is for.
#[must_use]
pub fn names_to_prove(identifiers: &[String], node: &NodeInfo) -> Vec<String> {
    let served: Vec<_> = node
        .server_names
        .iter()
        .filter(|name| identifiers.iter().any(|identifier| covers(identifier, name)))
        .cloned()
        .collect();
    if served.is_empty() { identifiers.to_vec() } else { served }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(names: &[&str]) -> NodeInfo {
        NodeInfo {
            id: "n1".into(),
            version: String::new(),
            server_names: names.iter().map(|name| (*name).to_owned()).collect(),
            listeners: vec![],
            proxied: vec![],
            takes: Takes::Served,
        }
    }

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn wildcards_cover_one_label() {
        assert!(covers("*.a.example", "x.a.example"));
        assert!(covers("*.a.example", "*.A.example"));
        assert!(!covers("*.a.example", "a.example"));
        assert!(!covers("*.a.example", "y.x.a.example"));
        assert!(covers("A.example", "a.example"));
        assert!(!covers("a.example", "*.a.example"));
    }

    #[test]
    fn a_list_of_nodes_wins_over_names() {
        let certificate = |nodes: Option<Vec<String>>| CertificateConfig {
            nodes,
            ..CertificateConfig::new("web", &["a.example"])
        };
        assert!(goes_to(&certificate(None), &node(&["b.example", "a.example"])));
        assert!(!goes_to(&certificate(None), &node(&["b.example"])));
        assert!(goes_to(&certificate(Some(list(&["n1"]))), &node(&["b.example"])));
        assert!(!goes_to(&certificate(Some(vec![])), &node(&["a.example"])));
    }

    #[test]
    fn who_asks_by_name_gets_it_unless_the_list_says_no() {
        let asks = |name: &str| NodeInfo { takes: Takes::Asked([name.to_owned()].into()), ..node(&[]) };
        let mut certificate = CertificateConfig::new("web", &["a.example"]);
        assert!(goes_to(&certificate, &asks("web")));
        assert!(!goes_to(&certificate, &asks("api")));
        certificate.nodes = Some(list(&["n2"]));
        assert!(!goes_to(&certificate, &asks("web")));
        certificate.nodes = Some(list(&["n1"]));
        assert!(goes_to(&certificate, &asks("web")));
    }

    #[test]
    fn a_target_gets_its_certificate_and_no_other() {
        let target = NodeInfo { takes: Takes::Deployed("web".to_owned()), ..node(&["a.example"]) };
        let mut certificate = CertificateConfig::new("web", &["a.example"]);
        certificate.nodes = Some(vec![]);
        assert!(goes_to(&certificate, &target));
        assert!(!goes_to(&CertificateConfig::new("other", &["a.example"]), &target));
    }

    #[test]
    fn what_is_proven_is_what_the_node_must_serve() {
        let identifiers = list(&["*.a.example", "b.example"]);
        assert_eq!(names_to_prove(&identifiers, &node(&["x.a.example", "c.example"])), ["x.a.example"]);
        assert_eq!(names_to_prove(&identifiers, &node(&["c.example"])), identifiers);
    }
}
