//! Which names a CA may certify (RFC 5280 section 4.2.1.10): written into the intermediate, so that a stolen
//! key of it is worth nothing elsewhere, and checked before signing, so that the message is clear.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rcgen::{CidrSubnet, GeneralSubtree, NameConstraints};
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The permitted names; none: any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Constraints {
    suffixes: BTreeSet<String>,
    /// Network and mask, in network byte order, of 4 or 16 bytes each.
    blocks: BTreeSet<(Vec<u8>, Vec<u8>)>,
}

impl Constraints {
    /// Reads DNS suffixes and CIDR blocks.
    ///
    /// # Errors
    /// The text that is neither.
    pub(super) fn parse(permitted: &[String]) -> Result<Self, String> {
        let mut constraints = Self::default();
        for text in permitted {
            if let Some(block) = parse_block(text) {
                constraints.blocks.insert(block);
            } else if text.contains('/') || rustls_pki_types::DnsName::try_from(text.as_str()).is_err() {
                return Err(text.clone());
            } else {
                constraints.suffixes.insert(text.to_ascii_lowercase());
            }
        }
        Ok(constraints)
    }

    fn is_empty(&self) -> bool {
        self.suffixes.is_empty() && self.blocks.is_empty()
    }

    /// Whether a DNS name, wildcard or address may be certified.
    pub(super) fn permit(&self, name: &str) -> bool {
        if self.is_empty() {
            return true;
        }
        if let Ok(address) = name.parse::<IpAddr>() {
            let octets = octets(address);
            return self.blocks.iter().any(|(network, mask)| {
                network.len() == octets.len()
                    && octets
                        .iter()
                        .zip(mask)
                        .zip(network)
                        .all(|((byte, mask), network)| byte & mask == *network)
            });
        }
        let name = name.to_ascii_lowercase();
        let base = name.strip_prefix("*.").unwrap_or(&name);
        self.suffixes.iter().any(|suffix| {
            base.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }

    /// As rcgen writes them (critical); `None` if anything is permitted. A kind of name of which nothing is
    /// permitted is excluded as a whole: RFC 5280 leaves kinds that are not named unrestricted.
    pub(super) fn to_rcgen(&self) -> Option<NameConstraints> {
        if self.is_empty() {
            return None;
        }
        let mut permitted_subtrees: Vec<_> =
            self.suffixes.iter().cloned().map(GeneralSubtree::DnsName).collect();
        let blocks = self.blocks.iter().filter_map(|(network, mask)| subnet(network, mask));
        permitted_subtrees.extend(blocks.map(GeneralSubtree::IpAddress));
        let mut excluded_subtrees = Vec::new();
        if self.suffixes.is_empty() {
            excluded_subtrees.push(GeneralSubtree::DnsName(String::new()));
        }
        if self.blocks.is_empty() {
            excluded_subtrees.push(GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])));
            excluded_subtrees.push(GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])));
        }
        Some(NameConstraints { permitted_subtrees, excluded_subtrees })
    }

    /// What a certificate of ours permits. Only what [`Constraints::to_rcgen`] writes is understood.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut constraints = Self::default();
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return constraints };
        for extension in parsed.extensions() {
            let ParsedExtension::NameConstraints(written) = extension.parsed_extension() else { continue };
            for subtree in written.permitted_subtrees.iter().flatten() {
                match &subtree.base {
                    GeneralName::DNSName(suffix) => {
                        constraints.suffixes.insert((*suffix).to_owned());
                    }
                    GeneralName::IPAddress(bytes) => {
                        let (network, mask) = bytes.split_at(bytes.len() / 2);
                        constraints.blocks.insert((network.to_vec(), mask.to_vec()));
                    }
                    _ => {}
                }
            }
        }
        constraints
    }
}

/// "10.0.0.0/8" as network and mask; bits beyond the mask are cleared.
fn parse_block(text: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (address, bits) = text.split_once('/')?;
    let address = octets(address.parse().ok()?);
    let bits: usize = bits.parse().ok().filter(|bits| *bits <= address.len() * 8)?;
    let mask: Vec<u8> = (0..address.len())
        .map(|index| match bits.saturating_sub(index * 8) {
            0 => 0,
            ones @ 1..=7 => !(0xff_u8 >> ones),
            _ => 0xff,
        })
        .collect();
    let network = address.iter().zip(&mask).map(|(byte, mask)| byte & mask).collect();
    Some((network, mask))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn subnet(network: &[u8], mask: &[u8]) -> Option<CidrSubnet> {
    if let (Ok(network), Ok(mask)) = (network.try_into(), mask.try_into()) {
        return Some(CidrSubnet::V4(network, mask));
    }
    Some(CidrSubnet::V6(network.try_into().ok()?, mask.try_into().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn constraints(permitted: &[&str]) -> Constraints {
        Constraints::parse(&permitted.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn suffixes_cover_themselves_and_what_is_below() {
        let constraints = constraints(&["svc.example", "10.1.0.0/16", "fd00::/9"]);
        for inside in
            ["svc.example", "a.svc.example", "*.svc.example", "A.SVC.EXAMPLE", "10.1.2.3", "fd7f::1"]
        {
            assert!(constraints.permit(inside), "{inside}");
        }
        for outside in
            ["xsvc.example", "example", "svc.example.org", "10.2.0.1", "fd80::1", "::1", "127.0.0.1"]
        {
            assert!(!constraints.permit(outside), "{outside}");
        }
    }

    #[test]
    fn a_kind_that_is_not_named_is_not_permitted() {
        assert!(!constraints(&["svc.example"]).permit("10.1.2.3"));
        assert!(!constraints(&["10.0.0.0/8"]).permit("svc.example"));
        assert!(constraints(&[]).permit("svc.example"));
        assert!(constraints(&["0.0.0.0/0"]).permit("10.1.2.3"));
        assert_eq!(constraints(&["10.9.9.9/8"]), constraints(&["10.0.0.0/8"]));
    }

    #[test]
    fn what_is_neither_suffix_nor_block_is_named() {
        for bad in ["10.0.0.0/33", "svc.example/8", "", "a b", "10.0.0.0/-1", "fd00::/129"] {
            assert_eq!(Constraints::parse(&[bad.to_owned()]), Err(bad.to_owned()));
        }
    }
}
