#![allow(clippy::unwrap_used)]

use sealwire_proto::v1::StepKind;

use super::*;
use crate::issuer::Placed;
use crate::store::StoreError;

struct Nobody;

#[async_trait]
impl Progress for Nobody {
    fn step(&self, _: StepKind, _: String) {}

    async fn order_placed(&self, _: &Placed) -> Result<(), StoreError> {
        Ok(())
    }
}

fn config() -> AcmeConfig {
    AcmeConfig::agreed("http://127.0.0.1:1/dir")
}

fn open(config: AcmeConfig) -> Result<AcmeIssuer, IssueError> {
    AcmeIssuer::open("x".into(), "/nonexistent/account".into(), config, Http01::new())
}

#[test]
fn opening_names_the_key_to_correct() {
    let error = open(AcmeConfig { terms_of_service_agreed: false, ..config() }).err().unwrap();
    assert_eq!(error.class, ErrorClass::Ours);
    assert!(error.message.ends_with("set `terms_of_service_agreed = true` in [acme.x]"), "{error}");

    let error = open(AcmeConfig { ca_file: Some("/nonexistent.pem".into()), ..config() }).err().unwrap();
    assert!(error.message.contains("/nonexistent.pem"), "{error}");
    let error = open(AcmeConfig { trust_roots: Some("/nonexistent.pem".into()), ..config() }).err().unwrap();
    assert!(error.message.contains("/nonexistent.pem"), "{error}");
}

#[test]
fn an_account_that_others_may_read_is_refused_at_once() {
    use std::os::unix::fs::PermissionsExt;
    for file in ["account.key.pem", "account.json", "account.key.next.pem"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file);
        std::fs::write(&path, "secret").unwrap();
        let open = || AcmeIssuer::open("x".into(), dir.path().into(), config(), Http01::new());
        for (mode, good) in [(0o640, false), (0o604, false), (0o600, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let message = open().err().map(|error| error.to_string());
            assert_eq!(message.is_none(), good, "{file} {mode:o}: {message:?}");
            let fix = format!("chmod 0600 {}", path.display());
            assert!(message.is_none_or(|message| message.ends_with(&fix)), "{file} {mode:o}");
        }
    }
}

#[tokio::test]
async fn wildcards_are_refused_before_anything_is_asked() {
    let issuer = open(config()).unwrap();
    assert!(issuer.trust_anchors().is_empty());
    let request = OrderRequest {
        certificate: "web".into(),
        identifiers: vec!["a.example".into(), "*.b.example".into()],
        csr_der: Vec::new(),
        ..OrderRequest::default()
    };
    let error = issuer.obtain(&request, &Nobody).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Ours);
    assert!(error.message.contains("*.b.example needs dns-01 or dns-persist-01"), "{error}");
}
