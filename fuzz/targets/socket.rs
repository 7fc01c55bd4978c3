//! Messages of the delivery socket, in both directions: decoded, checked as the other side checks them, and the same
//! after another round.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use prost::Message;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sealwire_agent::alert::rates::Rates;
use sealwire_agent::config::RatesConfig;
use sealwire_agent::delivery::hello;
use sealwire_fuzz::{NAME, ROOT, certificate, now};
use sealwire_proto::anchors::Anchors;
use sealwire_proto::v1::{AgentMessage, Bundle, NodeMessage, agent_message, node_message};
use sealwire_proto::validate::{Names, validate};

fn same_again<M: Message + Default>(message: &M) {
    let bytes = message.encode_to_vec();
    let again = M::decode(&*bytes).expect("what we wrote can be read");
    assert_eq!(again.encode_to_vec(), bytes);
}

fn from_node(message: NodeMessage) {
    if let Some(node_message::Body::Report(report)) = &message.body {
        let mut rates = Rates::new(RatesConfig::default());
        let start = Instant::now();
        let texts = [rates.report("n", report, start), rates.report("n", report, start)].concat();
        assert!(texts.is_empty(), "what was counted before the first report is no storm: {texts:?}");
    }
    if let Ok(hello) = hello::check(message) {
        assert!(!hello.node_id.is_empty() && hello.node_id.len() <= 253);
        let texts =
            [&hello.node_id, &hello.version].into_iter().chain(&hello.server_names).chain(&hello.listeners);
        assert!(texts.into_iter().all(|text| !text.contains(char::is_control)));
    }
}

fn from_agent(message: AgentMessage) {
    let bundle: Option<Bundle> = match message.body {
        Some(agent_message::Body::Bundle(bundle)) => Some(bundle),
        Some(agent_message::Body::Rollback(rollback)) => rollback.bundle,
        _ => None,
    };
    let Some(bundle) = bundle else { return };
    let chain: Vec<_> = bundle.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let own = bundle.trust_anchors.iter().map(|der| CertificateDer::from(der.clone()));
    let names = [NAME.to_owned()];
    let key = PrivatePkcs8KeyDer::from(bundle.key.as_slice());
    for anchors in [Anchors::from_der([certificate(ROOT)]), Anchors::from_der(own)].into_iter().flatten() {
        let _ = validate(&chain, &key, Names::Any(&names), &anchors, now());
    }
}

fuzz_target!(|data: &[u8]| {
    if let Ok(message) = NodeMessage::decode(data) {
        same_again(&message);
        from_node(message);
    }
    if let Ok(message) = AgentMessage::decode(data) {
        same_again(&message);
        from_agent(message);
    }
});
