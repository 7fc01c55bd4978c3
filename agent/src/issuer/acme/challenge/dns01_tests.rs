#![allow(clippy::unwrap_used)]

use std::sync::Mutex as StdMutex;

use super::super::dns::test_server::TestServer;
use super::*;
use crate::issuer::ErrorClass;

/// Sets records in a test server, or fails, and writes down what it was asked.
struct Scripted {
    server: TestServer,
    fails: bool,
    hangs: bool,
    changes: Arc<StdMutex<Vec<(Action, String)>>>,
}

#[async_trait]
impl Provider for Scripted {
    async fn change(&self, action: Action, record: &Record) -> Result<(), ChallengeError> {
        self.changes.lock().unwrap().push((action, record.value.clone()));
        if self.hangs && action == Action::Present {
            std::future::pending::<()>().await;
        }
        if self.fails && action == Action::Present {
            return Err(ChallengeError::transient("no luck"));
        }
        if action == Action::Present {
            self.server.txt(&record.fqdn.to_ascii(), &record.value);
        }
        Ok(())
    }
}

type Changes = Arc<StdMutex<Vec<(Action, String)>>>;

async fn set_up(more: &str, fails: bool, hangs: bool) -> (Dns01, TestServer, Changes) {
    use figment::providers::{Format, Toml};
    let text = format!("type = \"exec\"\nprogram = \"/bin/true\"\n{more}");
    let config: DnsConfig = figment::Figment::from(Toml::string(&text)).extract().unwrap();
    let server = TestServer::start("example.", None).await;
    server.name_server("ns1.example.");
    let resolver = Resolver::new(&[&[server.address()]]).with_authority_port(server.address().port());
    let changes = Changes::default();
    let scripted = Scripted { server: server.clone(), fails, hangs, changes: Arc::clone(&changes) };
    (Dns01::with_provider("p", &config, resolver, Box::new(scripted)), server, changes)
}

fn facts(identifier: &str, token: &str) -> Facts {
    Facts {
        identifier: identifier.into(),
        token: token.into(),
        key_authorization: format!("{token}.thumb"),
        account_uri: String::new(),
        issuer_domains: Vec::new(),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = soon();
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn wildcard_and_base_have_a_value_each_where_the_alias_leads() {
    let (dns01, server, changes) = set_up("", false, false).await;
    server.cname("_acme-challenge.a.example.", "elsewhere.example.");
    let (base, wildcard) = (facts("a.example", "t1"), facts("*.a.example", "t2"));
    let (one, two) = tokio::join!(dns01.prepare(&base, soon()), dns01.prepare(&wildcard, soon()));
    let mut expected = vec![base.dns_value(), wildcard.dns_value()];
    expected.sort();
    assert_eq!(server.values("elsewhere.example."), expected);
    one.unwrap().clean_up().await;
    assert_eq!(changes.lock().unwrap().last().unwrap(), &(Action::Cleanup, base.dns_value()));
    drop(two.unwrap());
    until("removed by drop", || changes.lock().unwrap().len() == 4).await;
    until("nothing is kept", || dns01.0.slots.lock().unwrap().is_empty()).await;
}

#[tokio::test]
async fn a_value_that_two_orders_want_is_set_and_removed_once() {
    let (dns01, _server, changes) = set_up("", false, false).await;
    let facts = facts("a.example", "t");
    let first = dns01.prepare(&facts, soon()).await.unwrap();
    let second = dns01.prepare(&facts, soon()).await.unwrap();
    first.clean_up().await;
    assert_eq!(changes.lock().unwrap().len(), 1, "still wanted");
    second.clean_up().await;
    assert_eq!(changes.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn what_failed_or_was_given_up_is_cleaned_up() {
    let (dns01, _server, changes) = set_up("", true, false).await;
    let error = dns01.prepare(&facts("a.example", "t"), soon()).await.err().unwrap();
    assert_eq!(error.message, "dns.p: no luck");
    until("cleaned up", || changes.lock().unwrap().len() == 2).await;

    let (dns01, _server, changes) = set_up("timeout = \"100ms\"", false, true).await;
    let error = dns01.prepare(&facts("a.example", "t"), soon()).await.err().unwrap();
    assert!(error.message.contains("(`timeout`)"), "{error}");
    until("cleaned up", || changes.lock().unwrap().len() == 2).await;

    let (dns01, _server, changes) = set_up("", false, true).await;
    let facts = facts("a.example", "t");
    let abandoned = tokio::time::timeout(Duration::from_millis(300), dns01.prepare(&facts, soon())).await;
    assert!(abandoned.is_err());
    until("cleaned up", || changes.lock().unwrap().len() == 2).await;
}

#[tokio::test]
async fn propagation_is_waited_for_at_every_server_of_the_zone() {
    let (dns01, server, _) = set_up("propagation = \"required\"", false, false).await;
    server.lag(2);
    let _set = dns01.prepare(&facts("a.example", "t"), soon()).await.unwrap();
    assert_eq!(server.txt_questions(), 3);
}

#[tokio::test]
async fn required_fails_where_advisory_goes_on_and_off_does_not_look() {
    for (mode, good) in [("required", false), ("advisory", true), ("off", true)] {
        let more = format!("propagation = \"{mode}\"\npropagation_timeout = \"600ms\"");
        let (dns01, server, _) = set_up(&more, false, false).await;
        server.lag(1000);
        let result = dns01.prepare(&facts("a.example", "t"), soon()).await;
        assert_eq!(result.is_ok(), good, "{mode}");
        assert_eq!(server.txt_questions() > 0, mode != "off", "{mode}");
        if let Err(error) = result {
            assert_eq!(error.class, ErrorClass::Transient);
            assert!(error.message.contains("cannot be seen: not on ns1.example."), "{error}");
        }
    }
}

#[tokio::test]
async fn one_server_of_the_zone_that_does_not_answer_is_named() {
    let more = "propagation = \"required\"\npropagation_timeout = \"600ms\"";
    let (dns01, server, _) = set_up(more, false, false).await;
    let dead = hickory_proto::rr::rdata::NS(Name::from_ascii("ns2.example.").unwrap());
    server.add("example.", hickory_proto::rr::RData::NS(dead));
    let error = dns01.prepare(&facts("a.example", "t"), soon()).await.err().unwrap();
    assert!(error.message.contains("not on ns2.example. ("), "{error}");
}

#[tokio::test]
async fn without_servers_of_the_zone_a_recursive_one_must_do() {
    // Its zone has no NS records at all.
    let other = TestServer::start("bare.", None).await;
    let value = facts("a.bare", "t").dns_value();
    other.txt("_acme-challenge.a.bare.", &value);
    let resolver = Resolver::new(&[&[other.address()]]);
    let name = Name::from_ascii("_acme-challenge.a.bare.").unwrap();
    wait(&resolver, &name, &|text| text == value, soon()).await.unwrap();
    let why =
        wait(&resolver, &name, &|_| false, Instant::now() + Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(why, "the recursive DNS servers do not have it");
}

#[tokio::test]
async fn an_alias_that_cannot_be_looked_up_stops_before_anything_is_set() {
    let (dns01, server, changes) = set_up("", false, false).await;
    server.cname("_acme-challenge.a.example.", "_acme-challenge.a.example.");
    let error = dns01.prepare(&facts("a.example", "t"), soon()).await.err().unwrap();
    assert!(error.message.contains("in a circle"), "{error}");
    // Refused by the server: it is not its zone.
    let error = dns01.prepare(&facts("a.other", "t"), soon()).await.err().unwrap();
    assert!(error.message.contains("follow_cname = false in [dns.p]"), "{error}");
    assert!(changes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_number_of_records_is_bounded() {
    let (dns01, _server, _) = set_up("propagation = \"off\"\nfollow_cname = false", false, false).await;
    let name = |number: usize| Name::from_ascii(format!("n{number}.example.")).unwrap();
    for number in 0..MAX_PENDING {
        let slot = dns01.slot(&name(number)).unwrap();
        slot.lock().await.insert("v".into(), Value { orders: 1, present: true });
    }
    let facts = facts("a.example", "t");
    let error = dns01.prepare(&facts, soon()).await.err().unwrap();
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(error.message.contains("4096 records are set already"), "{error}");
    // One that nobody wants any more makes room.
    dns01.slot(&name(7)).unwrap().lock().await.clear();
    dns01.prepare(&facts, soon()).await.unwrap().clean_up().await;
}
