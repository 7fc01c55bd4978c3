//! The ACME issuer by itself, without an agent around it, against Pebble: renewal information and what an
//! order tells of the certificate it replaces.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::CertificateDer;
use sealwire_agent::config::AcmeConfig;
use sealwire_agent::issuer::acme::{AcmeIssuer, Http01};
use sealwire_agent::issuer::{
    ErrorClass, IssueError, Issuer, OrderRequest, Placed, Progress, RevocationReason,
};
use sealwire_agent::store::{StoreError, pem_of};
use sealwire_proto::v1::StepKind;
use sealwire_tests::pebble::{Pebble, manage};
use sealwire_tests::world::World;
use tokio_util::sync::CancellationToken;

/// Remembers what was placed.
#[derive(Default)]
struct Heard(Mutex<Vec<Placed>>);

#[async_trait]
impl Progress for Heard {
    fn step(&self, _: StepKind, _: String) {}

    async fn order_placed(&self, placed: &Placed) -> Result<(), StoreError> {
        self.0.lock().unwrap().push(placed.clone());
        Ok(())
    }
}

async fn issuer(world: &World) -> AcmeIssuer {
    let challenges = Http01::default();
    let listener = tokio::net::TcpListener::bind((world.address, 5002)).await.unwrap();
    tokio::spawn(challenges.clone().serve(listener, CancellationToken::new()));
    let config = AcmeConfig {
        ca_file: Some(world.path("pebble-ca.pem")),
        trust_roots: Some(world.path("pebble-root.pem")),
        timeout: Duration::from_secs(60),
        ..AcmeConfig::agreed(format!("https://{}:14000/dir", world.address))
    };
    AcmeIssuer::open("pebble".into(), world.path("account"), config, challenges).unwrap()
}

/// Orders; gives the leaf and whether the CA took it as a renewal.
async fn order(
    issuer: &AcmeIssuer,
    replaces: Option<&CertificateDer<'static>>,
) -> Result<(CertificateDer<'static>, bool), IssueError> {
    let identifiers = vec!["node.test".to_owned()];
    let mut params = CertificateParams::new(identifiers.clone()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let csr = params.serialize_request(&KeyPair::generate().unwrap()).unwrap();
    let request = OrderRequest {
        certificate: "web".into(),
        identifiers,
        csr_der: csr.der().to_vec(),
        replaces: replaces.cloned(),
        ..OrderRequest::default()
    };
    let heard = Heard::default();
    let chain = issuer.obtain(&request, &heard).await?;
    let placed = heard.0.into_inner().unwrap();
    Ok((chain[0].clone(), placed.last().unwrap().replaces))
}

/// Makes Pebble answer `text` for a leaf.
fn set_renewal_info(world: &World, leaf: &CertificateDer<'static>, text: &str) {
    let body = serde_json::json!({"Certificate": pem_of(std::slice::from_ref(leaf)), "ARIResponse": text});
    // Too long for a command line, once.
    let file = world.write("ari.json", &body.to_string());
    assert_eq!(manage(world, "set-renewal-info/", Some(&format!("@{}", file.display()))), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn renewal_information_is_what_the_ca_says() {
    let world = World::new();
    let Some(_pebble) = Pebble::start(&world, &[]).await else { return };
    let issuer = issuer(&world).await;
    let (leaf, _) = order(&issuer, None).await.unwrap();
    let info = issuer.renewal_info(&leaf).await.unwrap().unwrap();
    assert!(info.start < info.end);
    assert_eq!(info.retry_after, Some(Duration::from_hours(6)));

    let window = |start: &str, end: &str| {
        format!(
            r#"{{"suggestedWindow": {{"start": "{start}", "end": "{end}"}}, "explanationURL": "https://why.test/"}}"#
        )
    };
    set_renewal_info(&world, &leaf, &window("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z"));
    let info = issuer.renewal_info(&leaf).await.unwrap().unwrap();
    assert_eq!(
        (info.start, info.end),
        ("2020-01-01T00:00:00Z".parse().unwrap(), "2020-01-02T00:00:00Z".parse().unwrap())
    );
    assert_eq!(info.explanation_url.as_deref(), Some("https://why.test/"));

    // One byte more than is taken.
    let huge = "x".repeat((1 << 20) + 1);
    for (bad, words) in [
        (window("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z").as_str(), "not after its start"),
        ("{\"suggestedWindow\": 7}", "not readable"),
        (&huge, "has more than 1048576 bytes"),
    ] {
        set_renewal_info(&world, &leaf, bad);
        let error = issuer.renewal_info(&leaf).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Transient, "{error}");
        assert!(error.message.contains(words), "{error}");
    }
    set_renewal_info(&world, &leaf, "");
    issuer.revoke(&leaf, RevocationReason::Superseded).await.unwrap();
    let info = issuer.renewal_info(&leaf).await.unwrap().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert!(u64::try_from(info.start.as_second()).unwrap() <= now.as_secs(), "to be renewed now: {info:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_replaced_once() {
    let world = World::new();
    let Some(pebble) = Pebble::start(&world, &[]).await else { return };
    let issuer = issuer(&world).await;
    let (first, renewal) = order(&issuer, None).await.unwrap();
    assert!(!renewal);
    assert!(order(&issuer, Some(&first)).await.unwrap().1, "accepted as a renewal");
    assert!(!order(&issuer, Some(&first)).await.unwrap().1, "alreadyReplaced: ordered all the same");
    assert_eq!(pebble.orders(), 3);
}
