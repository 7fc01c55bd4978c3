#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::election::Terms;
use super::place::{Part, Place, Reach};
use super::script::Server;
use super::*;

const LEASE: &str = "edge";
const CERTIFICATE: &str = "edge-certificate-web";
const ACCOUNT: &str = "edge-account-ca";
const ALL: [&str; 3] = [LEASE, CERTIFICATE, ACCOUNT];
const PATIENCE: Duration = Duration::from_secs(30);

/// A replica without an agent: the test plays the loop.
struct Replica {
    dir: TempDir,
    copies: Arc<Copies>,
    news: mpsc::Receiver<News>,
    tasks: CancellationToken,
    keeper: JoinHandle<()>,
}

impl Replica {
    fn start(server: &Server, name: &str) -> Self {
        sealwire_proto::install_crypto_provider();
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, "token\n").unwrap();
        let place = Place {
            reach: Reach {
                server: format!("http://{}", server.address),
                ca_file: dir.path().join("none"),
                token_file: token,
                namespace: "ns".to_owned(),
                timeout: Duration::from_secs(1),
            },
            name: LEASE.to_owned(),
            identity: name.to_owned(),
            terms: Terms {
                lease: Duration::from_secs(3),
                renew: Duration::from_secs(2),
                retry: Duration::from_millis(50),
            },
            parts: vec![Part::Certificate("web".to_owned()), Part::Account("ca".to_owned())],
            state_dir: dir.path().join("state"),
        };
        std::fs::create_dir_all(place.state_dir.join("certificates/web")).unwrap();
        std::fs::create_dir_all(place.state_dir.join("accounts/ca")).unwrap();
        let tasks = CancellationToken::new();
        let Started { copies, news, keeper } = start(place, &tasks).unwrap();
        Self { dir, copies, news, tasks, keeper }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("state").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Waits for news that `wanted` takes.
    async fn hears<T>(&mut self, what: &str, wanted: impl Fn(&News) -> Option<T>) -> T {
        let hearing = async {
            loop {
                let news = self.news.recv().await.unwrap();
                if let Some(found) = wanted(&news) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, hearing).await.unwrap_or_else(|_| panic!("no news of {what}"))
    }

    /// Waits until it leads, and takes over as the agent does.
    async fn leads(&mut self) -> u64 {
        let term = self
            .hears("leading", |news| match news {
                News::Leads { term, .. } => Some(*term),
                _ => None,
            })
            .await;
        self.copies.settled(term);
        term
    }

    async fn follows_nobody(&mut self) {
        self.hears("not leading", |news| {
            matches!(news, News::Follows { leader } if leader.is_empty()).then_some(())
        })
        .await;
    }

    async fn trouble(&mut self, about: &str) -> String {
        self.hears(about, |news| match news {
            News::Trouble { about: on, text } if on == about => Some(text.clone()),
            _ => None,
        })
        .await
    }

    async fn mended(&mut self, about: &str) {
        self.hears(about, |news| matches!(news, News::Mended { about: on } if on == about).then_some(()))
            .await;
    }

    async fn stop(self) {
        self.tasks.cancel();
        self.keeper.await.unwrap();
    }
}

async fn eventually(what: &str, is: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !is() {
        assert!(tokio::time::Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn memory_of(server: &Server) -> String {
    use base64::Engine;
    let text = server.object(CERTIFICATE)["data"]["memory.json"].as_str().unwrap_or_default().to_owned();
    String::from_utf8(base64::prelude::BASE64_STANDARD.decode(text).unwrap()).unwrap()
}

fn file(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[tokio::test]
async fn one_leads_its_files_reach_the_others_and_the_next_takes_over() {
    let server = Server::start(&ALL);
    let mut one = Replica::start(&server, "one");
    assert_eq!(one.leads().await, 1);
    let mut two = Replica::start(&server, "two");
    let leader = two
        .hears("following", |news| match news {
            News::Follows { leader } if !leader.is_empty() => Some(leader.clone()),
            _ => None,
        })
        .await;
    assert_eq!(leader, "one");
    assert!(matches!(two.copies.pass("ca").await, Err(ShareError::NotLeading(who)) if who == "one"));

    one.write("accounts/ca/account.key.pem", "key");
    one.copies.pass("ca").await.unwrap();
    let theirs = two.path("accounts/ca/account.key.pem");
    eventually("the account reaches the follower", || file(&theirs) == "key").await;
    one.write("certificates/web/memory.json", "{\"orders\": 7}");
    one.copies.changed("web");
    let found = two.hears("the certificate", |news| match news {
        News::Found { contents, .. } => contents.file(contents::MEMORY).map(<[u8]>::to_vec),
        _ => None,
    });
    assert_eq!(found.await, b"{\"orders\": 7}");

    // Nothing is written again while nothing changes.
    let writes = server.writes();
    one.copies.pass("ca").await.unwrap();
    let lease_only = server.object(ACCOUNT);
    one.copies.copy("web").await.unwrap();
    assert_eq!(server.object(ACCOUNT), lease_only);
    assert!(server.writes() >= writes);

    one.stop().await;
    assert_eq!(server.object(LEASE)["spec"]["holderIdentity"], serde_json::Value::Null, "released");
    let (term, memory) = two
        .hears("leading", |news| match news {
            News::Leads { term, certificates } => {
                Some((*term, certificates["web"].file("memory.json")?.to_vec()))
            }
            _ => None,
        })
        .await;
    assert_eq!((term, memory.as_slice()), (2, b"{\"orders\": 7}".as_slice()));
    assert!(two.copies.copy("web").await.is_err(), "not before the agent has taken over");
    two.copies.settled(term);
    eventually("each Secret carries the new term", || {
        [CERTIFICATE, ACCOUNT]
            .iter()
            .all(|name| server.object(name)["metadata"]["annotations"]["sealwire.dev/term"] == "2")
    })
    .await;
    two.stop().await;
}

#[tokio::test]
async fn a_stolen_lease_stops_the_leader_before_its_next_request() {
    let server = Server::start(&ALL);
    let mut one = Replica::start(&server, "one");
    let term = one.leads().await;
    one.copies.pass("ca").await.unwrap();
    let spec = json!({"holderIdentity": "thief", "leaseDurationSeconds": 60, "leaseTransitions": term + 1,
        "renewTime": "2026-01-01T00:00:00.000000Z"});
    server.put(LEASE, json!({"metadata": {}, "spec": spec}));
    assert!(matches!(one.copies.pass("ca").await, Err(ShareError::NotLeading(who)) if who == "thief"));
    assert!(!one.copies.leads());
    one.write("certificates/web/memory.json", "{\"orders\": 9}");
    assert!(one.copies.copy("web").await.is_err());
    assert_eq!(memory_of(&server), "", "nothing was written");
    one.hears("the thief", |news| {
        matches!(news, News::Follows { leader } if leader == "thief").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_secret_of_a_later_term_is_never_written() {
    let server = Server::start(&ALL);
    let mut one = Replica::start(&server, "one");
    let term = one.leads().await;
    one.copies.copy("web").await.unwrap();
    // As a leader of a later term has written it, while our Lease looks good.
    let later =
        json!({"metadata": {"annotations": {"sealwire.dev/term": (term + 1).to_string()}}, "data": {}});
    server.put(CERTIFICATE, later);
    one.write("certificates/web/memory.json", "{\"orders\": 9}");
    assert!(matches!(one.copies.copy("web").await, Err(ShareError::NotLeading(_))));
    assert_eq!(memory_of(&server), "");
}

#[tokio::test]
async fn what_is_wrong_is_told_with_the_way_out_and_mended_by_itself() {
    let server = Server::start(&ALL);
    server.refuse("watch", ACCOUNT, 403);
    let mut one = Replica::start(&server, "one");
    one.write("certificates/web/memory.json", "{\"orders\": 7}");
    one.leads().await;
    let text = one.trouble(ACCOUNT).await;
    assert!(text.contains("allow `watch` on secrets with resourceNames [edge-account-ca]"), "{text}");
    server.allow_all();
    one.mended(ACCOUNT).await;
    eventually("the certificate is copied", || memory_of(&server).contains('7')).await;

    // Edited: written again.
    let mut edited = server.object(CERTIFICATE);
    edited["data"]["memory.json"] = "e30=".into();
    server.put(CERTIFICATE, edited);
    let text = one.trouble(CERTIFICATE).await;
    assert!(text.contains("was edited"), "{text}");
    eventually("the edit is undone", || memory_of(&server).contains('7')).await;
    one.mended(CERTIFICATE).await;

    // Deleted: told, and filled once it is there again.
    server.delete(CERTIFICATE);
    let text = one.trouble(CERTIFICATE).await;
    assert!(text.contains("kubectl -n ns create secret generic edge-certificate-web"), "{text}");
    server.put(CERTIFICATE, json!({"metadata": {}}));
    eventually("it is filled", || memory_of(&server).contains('7')).await;
    one.mended(CERTIFICATE).await;

    // No verb for the Lease: it leads no longer than it can be sure.
    server.refuse("update", LEASE, 403);
    let text = one.trouble(LEASE).await;
    assert!(text.contains("allow `update` on leases with resourceNames [edge]"), "{text}");
    one.follows_nobody().await;
    assert!(!one.copies.leads());
    server.allow_all();
    one.leads().await;
}

#[tokio::test]
async fn an_api_server_that_is_away_is_waited_for() {
    let server = Server::start(&ALL);
    let address = server.address;
    let mut one = Replica::start(&server, "one");
    one.write("certificates/web/memory.json", "{\"orders\": 7}");
    one.leads().await;
    one.copies.copy("web").await.unwrap();
    drop(server);
    let text = one.trouble(LEASE).await;
    assert!(text.contains("the API server is away") && text.contains("nodes go on"), "{text}");
    one.follows_nobody().await;
    assert!(!one.copies.leads());
    assert!(one.copies.pass("ca").await.is_err());
    let server = loop {
        // Its connections may hold the port for a moment.
        if tokio::net::TcpListener::bind(address).await.is_ok() {
            break Server::start_at(address, &ALL);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    one.mended(LEASE).await;
    one.leads().await;
    eventually("what it holds is there again", || memory_of(&server).contains('7')).await;
}
