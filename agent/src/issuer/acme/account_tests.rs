#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex as StdMutex};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use sealwire_proto::anchors::Anchors;
use serde_json::json;

use super::*;

/// A CA that knows one account and refuses the first nonces.
#[derive(Clone)]
struct FakeCa {
    base: String,
    account_dir: PathBuf,
    bad_nonces: Arc<StdMutex<usize>>,
    /// What was asked, and what was on disk then.
    seen: Arc<StdMutex<Vec<String>>>,
}

const NONCE: (&str, &str) = ("Replay-Nonce", "bm9uY2U");

async fn fake_ca(account_dir: &Path, bad_nonces: usize) -> FakeCa {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ca = FakeCa {
        base: format!("http://{}", listener.local_addr().unwrap()),
        account_dir: account_dir.to_owned(),
        bad_nonces: Arc::new(StdMutex::new(bad_nonces)),
        seen: Arc::default(),
    };
    let router = Router::new()
        .route("/dir", get(directory))
        .route("/nonce", get(|| async { [NONCE] }))
        .route("/new-account", post(new_account))
        .route("/account/1", post(update))
        .with_state(ca.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    ca
}

async fn directory(State(ca): State<FakeCa>) -> Json<Value> {
    let url = |path: &str| format!("{}/{path}", ca.base);
    Json(json!({"newNonce": url("nonce"), "newAccount": url("new-account"), "newOrder": url("new-order")}))
}

async fn new_account(State(ca): State<FakeCa>) -> Response {
    let mut left = ca.bad_nonces.lock().unwrap();
    if *left > 0 {
        *left -= 1;
        let problem = json!({"type": "urn:ietf:params:acme:error:badNonce", "detail": "again"});
        return (StatusCode::BAD_REQUEST, [NONCE], Json(problem)).into_response();
    }
    ca.note("new-account");
    // Known from the second time on.
    let known = ca.seen.lock().unwrap().len() > 1;
    (
        if known { StatusCode::OK } else { StatusCode::CREATED },
        [NONCE, ("Location", &format!("{}/account/1", ca.base))],
        Json(json!({"status": "valid"})),
    )
        .into_response()
}

async fn update(State(ca): State<FakeCa>) -> Response {
    ca.note("contacts");
    ([NONCE], Json(json!({"status": "valid"}))).into_response()
}

impl FakeCa {
    fn note(&self, what: &str) {
        let mut files: Vec<_> = std::fs::read_dir(&self.account_dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        self.seen.lock().unwrap().push(format!("{what}: {}", files.join(" ")));
    }

    fn ca(&self) -> Ca {
        Ca {
            issuer: "fake".into(),
            directory: format!("{}/dir", self.base),
            account_dir: self.account_dir.clone(),
        }
    }

    fn accounts(&self) -> Accounts {
        accounts(&self.account_dir)
    }
}

fn accounts(dir: &Path) -> Accounts {
    let http = AcmeHttp::new(&Anchors::default()).unwrap();
    Accounts::new(dir.to_owned(), vec!["mailto:a@a.example".into()], None, http)
}

#[tokio::test]
async fn the_key_is_on_disk_before_the_ca_hears_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("accounts/fake");
    let fake = fake_ca(&state, 5).await;
    let accounts = fake.accounts();
    let account = accounts.session(&fake.ca()).await.unwrap();
    assert!(account.url.ends_with("/account/1"));
    assert_eq!(*fake.seen.lock().unwrap(), ["new-account: account.key.pem"]);
    assert_eq!(account.key.thumbprint(), account.account.key_thumbprint());
    for file in [KEY_FILE, CREDENTIALS_FILE, CONTACTS_FILE] {
        assert_eq!(std::fs::metadata(state.join(file)).unwrap().mode() & 0o777, 0o600, "{file}");
    }
    assert_eq!(std::fs::metadata(&state).unwrap().mode() & 0o777, 0o700);

    // Kept in memory, and after a restart taken from the files.
    accounts.session(&fake.ca()).await.unwrap();
    let again = fake.accounts().session(&fake.ca()).await.unwrap();
    assert_eq!(again.account.key_thumbprint(), account.account.key_thumbprint());
    assert_eq!(fake.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_crash_after_the_key_was_written_finds_the_same_account() {
    let dir = tempfile::tempdir().unwrap();
    let fake = fake_ca(dir.path(), 0).await;
    let before = fake.accounts().session(&fake.ca()).await.unwrap();
    std::fs::remove_file(dir.path().join(CREDENTIALS_FILE)).unwrap();
    let after = fake.accounts().session(&fake.ca()).await.unwrap();
    assert_eq!(before.account.key_thumbprint(), after.account.key_thumbprint());
    // What the account that was there before was told is not known any more.
    let seen = fake.seen.lock().unwrap();
    assert!(seen.last().unwrap().starts_with("contacts"), "{seen:?}");
}

#[tokio::test]
async fn nonces_are_refused_for_good_only_after_many_rounds() {
    let dir = tempfile::tempdir().unwrap();
    let fake = fake_ca(dir.path(), usize::MAX).await;
    let error = fake.accounts().session(&fake.ca()).await.err().unwrap();
    assert_eq!(error.class, ErrorClass::Transient);
    let used = usize::MAX - *fake.bad_nonces.lock().unwrap();
    assert_eq!(used, crate::issuer::acme::wire::NONCE_TRIES);
}

#[tokio::test]
async fn an_unreachable_directory_keeps_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let ca =
        Ca { issuer: "x".into(), directory: "http://127.0.0.1:1/dir".into(), account_dir: dir.path().into() };
    let error = accounts(dir.path()).session(&ca).await.err().unwrap();
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(
        error.message.starts_with(
            "issuer x: cannot reach the ACME directory http://127.0.0.1:1/dir: Connection refused"
        ),
        "{error}"
    );
    let key = std::fs::read(dir.path().join(KEY_FILE)).unwrap();
    accounts(dir.path()).session(&ca).await.err().unwrap();
    assert_eq!(std::fs::read(dir.path().join(KEY_FILE)).unwrap(), key);
}

#[tokio::test]
async fn files_of_another_ca_or_open_to_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let fake = fake_ca(dir.path(), 0).await;
    fake.accounts().session(&fake.ca()).await.unwrap();
    let other = Ca { directory: "http://127.0.0.1:1/dir".into(), ..fake.ca() };
    let error = fake.accounts().session(&other).await.err().unwrap();
    assert_eq!(error.class, ErrorClass::Ours);
    assert!(error.message.contains("is an account at http://127.0.0.1:"), "{error}");

    let path = dir.path().join(CREDENTIALS_FILE);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = fake.accounts().session(&fake.ca()).await.err().unwrap();
    assert!(error.message.ends_with(&format!("chmod 0600 {}", path.display())), "{error}");

    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "{").unwrap();
    let error = fake.accounts().session(&fake.ca()).await.err().unwrap();
    assert!(error.message.contains("account.json is damaged"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"{");
}

#[tokio::test]
async fn a_contact_that_the_ca_will_not_have_keeps_nobody_from_ordering() {
    use crate::issuer::acme::script_ca::{ScriptCa, problem};
    let ca = ScriptCa::start(|_, asked| {
        asked.payload["contact"].is_array().then(|| problem(400, "invalidContact"))?
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let names = Ca { issuer: "x".into(), directory: ca.url("/dir"), account_dir: dir.path().into() };
    accounts(dir.path()).session(&names).await.unwrap();
    let contacts: Vec<_> =
        ca.asked("/new-account").iter().map(|asked| asked.payload["contact"].clone()).collect();
    assert_eq!(contacts, [json!(["mailto:a@a.example"]), Value::Null]);
    assert!(dir.path().join(CREDENTIALS_FILE).exists());
    // Told in vain, and told again at the next start.
    assert!(!dir.path().join(CONTACTS_FILE).exists());
    accounts(dir.path()).session(&names).await.unwrap();
    assert_eq!(ca.asked("/account").len(), 2);
}
