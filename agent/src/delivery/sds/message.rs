//! A bundle as a secret, and what a client has against one. Pure.

use prost::Message;
use sealwire_proto::secret::{Any, DataSource, Node, SECRET_TYPE, Secret, TlsCertificate};
use sealwire_proto::v1::NackReason;

use crate::delivery::Bundle;
use crate::store::{key_pem_of, pem_of};

/// The secret of this name; wiped when it is dropped.
pub(super) fn secret(name: &str, bundle: &Bundle, with_staple: bool) -> Any {
    let source = |bytes: &[u8]| Some(DataSource { inline_bytes: bytes.to_vec() });
    let staple = bundle.staple.as_ref().filter(|_| with_staple);
    let secret = Secret {
        name: name.to_owned(),
        tls_certificate: Some(TlsCertificate {
            certificate_chain: source(pem_of(&bundle.generation.chain.to_vec()).as_bytes()),
            private_key: source(key_pem_of(&bundle.generation.key).as_bytes()),
            ocsp_staple: staple.and_then(|staple| source(&staple.response)),
        }),
    };
    // As large as it gets: nothing is left behind in a smaller buffer.
    Any { type_url: SECRET_TYPE.to_owned(), value: secret.encode_to_vec() }
}

/// Tells one content from another: generation, leaf and staple.
pub(super) fn version(bundle: &Bundle, with_staple: bool) -> String {
    let leaf = sealwire_proto::hex(&bundle.generation.leaf.sha256[..4]);
    let number = bundle.generation.number;
    match bundle.staple.as_ref().filter(|_| with_staple) {
        Some(staple) => format!("{number}-{leaf}-{}", sealwire_proto::hex(&staple.sha256[..4])),
        None => format!("{number}-{leaf}"),
    }
}

/// What a client's software calls itself.
pub(super) fn software(node: &Node) -> String {
    let build = node.user_agent_build_version.as_ref().and_then(|build| build.version.as_ref());
    let version = match build {
        Some(version) => format!("{}.{}.{}", version.major_number, version.minor_number, version.patch),
        None => node.user_agent_version.clone(),
    };
    format!("{} {version}", node.user_agent_name).trim().to_owned()
}

/// Clients refuse in words. What is about the staple can be sent without.
pub(super) fn reason(words: &str) -> NackReason {
    let words = words.to_ascii_lowercase();
    let says = |word: &str| words.contains(word);
    if says("ocsp") || says("must-staple") {
        NackReason::BadStaple
    } else if says("key values mismatch") || says("private key") {
        NackReason::KeyMismatch
    } else {
        NackReason::Malformed
    }
}

#[cfg(test)]
mod tests {
    use sealwire_proto::secret::{BuildVersion, SemanticVersion};

    use super::*;

    #[test]
    fn what_envoy_says_has_a_reason() {
        // As Envoy 1.40 says it.
        let key = "Failed to load private key from <inline>, Cause: error:0b000074:X.509 certificate \
                   routines:OPENSSL_internal:KEY_VALUES_MISMATCH";
        assert_eq!(reason(key), NackReason::KeyMismatch);
        assert_eq!(reason("OCSP response is required for must-staple certificate"), NackReason::BadStaple);
        assert_eq!(reason("Failed to load certificate chain from <inline>"), NackReason::Malformed);
    }

    #[test]
    fn software_is_named_with_its_version() {
        let mut node = Node { user_agent_name: "envoy".to_owned(), ..Node::default() };
        assert_eq!(software(&node), "envoy");
        let version = SemanticVersion { major_number: 1, minor_number: 40, patch: 0 };
        node.user_agent_build_version = Some(BuildVersion { version: Some(version) });
        assert_eq!(software(&node), "envoy 1.40.0");
    }
}
