#![allow(clippy::unwrap_used)]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::task::Waker;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::auth::testing::sign_hs256;
use crate::outbound::Outbound;
use crate::outbound::tests::texts;
use crate::service::tests::{admission, node};
use crate::session::commands::tests::hear;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// A session that has not connected yet, by these rules for tokens.
struct Fixture {
    commands: Commands,
    outbound: Arc<Outbound>,
    _dir: TempDir,
}

fn token(user: &str, seconds: i64, more: &Value) -> String {
    let mut claims = json!({"sub": user, "exp": Timestamp::now().as_second() + seconds});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    sign_hs256(SECRET, &json!({"alg": "HS256"}), &claims)
}

impl Fixture {
    fn new(rules: &str, granted: Option<Grant>) -> Self {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, SECRET).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let node = node(&format!("[token]\nhs256_secret = {path:?}\n{rules}\n"));
        let outbound = Arc::new(Outbound::new(100_000));
        let mut admission = admission(&node);
        admission.grant = granted;
        let registered = node.registry.open(&admission, &outbound, Timestamp::now());
        let entry = Arc::clone(registered.entry());
        Self { commands: Commands::new(node, Arc::clone(&outbound), admission, entry), outbound, _dir: dir }
    }

    /// Takes a frame, and lets a token in it be checked.
    fn say(&mut self, text: &str) -> Result<(), Disconnect> {
        hear(&mut self.commands, text)?;
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(checked) = self.commands.poll_checked(&mut context) {
            self.commands.checked(checked)?;
            while let Poll::Ready(outcome) = self.commands.poll_done(&mut context) {
                self.commands.done(outcome);
            }
        }
        Ok(())
    }

    fn told(&self) -> Vec<Value> {
        texts(&self.outbound).iter().map(|text| serde_json::from_slice(text).unwrap()).collect()
    }

    /// The only answer to a frame.
    fn answer(&mut self, text: &str) -> Value {
        self.say(text).unwrap();
        let mut told = self.told();
        assert_eq!(told.len(), 1, "{told:?}");
        told.remove(0)
    }

    fn connect(&mut self, token: &str) -> Result<(), Disconnect> {
        self.say(&json!({"id": 1, "connect": {"token": token}}).to_string())
    }

    fn refresh(&mut self, token: &str) -> Result<(), Disconnect> {
        self.say(&json!({"id": 9, "refresh": {"token": token}}).to_string())
    }
}

#[test]
fn connect_with_a_token_tells_how_long_it_lasts_and_who_it_is() {
    let mut session = Fixture::new("", None);
    session.connect(&token("ann", 60, &json!({}))).unwrap();
    let reply = session.told().remove(0);
    assert_eq!(reply["connect"]["expires"], true);
    assert!((58..=60).contains(&reply["connect"]["ttl"].as_u64().unwrap()), "{reply}");
    assert!(session.commands.is_connected());
    assert_eq!(session.commands.entry.identity().user, "ann");
    assert!(session.commands.entry.identity().expires.is_some());
}

#[test]
fn what_follows_connect_waits_for_its_turn() {
    let mut session = Fixture::new("", None);
    let connect = json!({"id": 1, "connect": {"token": token("ann", 60, &json!({}))}});
    let frame = format!("{connect}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"c\"}}}}");
    hear(&mut session.commands, &frame).unwrap();
    assert!(session.commands.is_deciding() && session.outbound.queued_bytes() == 0);
    session.say(r#"{"id":3,"publish":{"channel":"c","data":1}}"#).unwrap();
    let told = session.told();
    assert_eq!(
        (&told[0]["id"], &told[1]["id"], &told[3]["id"]),
        (&json!(1), &json!(2), &json!(3)),
        "{told:?}"
    );
    assert_eq!(told[2]["push"]["pub"]["data"], 1);
}

#[test]
fn without_a_token_somebody_is_anonymous_or_nobody() {
    let mut session = Fixture::new("", None);
    let reply = session.answer(r#"{"id":1,"connect":{}}"#);
    assert_eq!(reply["error"]["code"], 101);
    assert!(!session.commands.is_connected());
    // It may still say who it is.
    session.connect(&token("ann", 60, &json!({}))).unwrap();
    assert!(session.commands.is_connected());

    let mut session = Fixture::new("anonymous = true", None);
    let reply = session.answer(r#"{"id":1,"connect":{}}"#);
    assert!(reply["connect"].get("expires").is_none(), "{reply}");
    let refused = session.answer(r#"{"id":2,"refresh":{"token":"x"}}"#);
    assert_eq!(refused["error"]["code"], 107);
}

#[test]
fn a_bad_token_ends_the_session_and_an_old_one_asks_for_another() {
    let mut session = Fixture::new("anonymous = true", None);
    assert_eq!(session.connect("rubbish"), Err(Disconnect::INVALID_TOKEN));
    let mut session = Fixture::new("", None);
    session.connect(&token("ann", -60, &json!({}))).unwrap();
    assert_eq!(session.told()[0]["error"]["code"], 109);
    assert!(!session.commands.is_connected());
    session.connect(&token("ann", 60, &json!({}))).unwrap();
    assert!(session.commands.is_connected());
}

#[test]
fn the_upgrade_counts_for_more_than_connect_where_both_may_bring_a_token() {
    let granted = || Some(Grant { user: "ann".into(), ..Grant::anonymous() });
    let mut session = Fixture::new("", granted());
    session.connect("rubbish").unwrap();
    assert_eq!(session.commands.entry.identity().user, "ann");
    let mut session = Fixture::new("at = \"upgrade\"\nanonymous = true", None);
    session.connect("rubbish").unwrap();
    assert!(session.commands.is_connected());
}

#[test]
fn a_refresh_extends_and_one_for_somebody_else_ends() {
    let mut session = Fixture::new("", None);
    session.connect(&token("ann", 60, &json!({}))).unwrap();
    session.told();
    session.refresh(&token("ann", 600, &json!({}))).unwrap();
    let reply = session.told().remove(0);
    assert_eq!((&reply["id"], &reply["refresh"]["expires"]), (&json!(9), &json!(true)));
    assert!((598..=600).contains(&reply["refresh"]["ttl"].as_u64().unwrap()), "{reply}");

    assert_eq!(session.refresh(&token("ann", -60, &json!({}))), Err(Disconnect::EXPIRED));
    assert_eq!(session.refresh(&token("bob", 600, &json!({}))), Err(Disconnect::INVALID_TOKEN));
    assert_eq!(session.refresh("rubbish"), Err(Disconnect::INVALID_TOKEN));
}

#[test]
fn two_refreshes_at_once_are_one_too_many() {
    let mut session = Fixture::new("", None);
    session.connect(&token("ann", 60, &json!({}))).unwrap();
    session.told();
    let refresh = |id| json!({"id": id, "refresh": {"token": token("ann", 600, &json!({}))}}).to_string();
    session.say(&format!("{}\n{}", refresh(2), refresh(3))).unwrap();
    let told = session.told();
    assert_eq!((&told[0]["id"], &told[0]["error"]["temporary"]), (&json!(3), &json!(true)));
    assert_eq!((&told[1]["id"], &told[1]["refresh"]["expires"]), (&json!(2), &json!(true)));
}

#[test]
fn capabilities_bound_what_is_done_and_a_refresh_that_takes_them_away_ends_subscriptions() {
    let mut session = Fixture::new("", None);
    let caps = json!({"caps": [
        {"channels": ["news", "mine"], "allow": ["sub"]},
        {"channels": ["mine"], "allow": ["pub"]},
    ]});
    session.connect(&token("ann", 60, &caps)).unwrap();
    session.told();
    for (command, code) in [
        (r#""subscribe":{"channel":"news"}"#, None),
        (r#""subscribe":{"channel":"other"}"#, Some(103)),
        (r#""publish":{"channel":"news","data":1}"#, Some(103)),
        (r#""publish":{"channel":"mine","data":1}"#, None),
        (r#""subscribe":{"channel":"mine"}"#, None),
    ] {
        let reply = session.answer(&format!("{{\"id\":5,{command}}}"));
        assert_eq!(reply["error"]["code"].as_u64(), code, "{command}");
    }
    let less = json!({"caps": [{"channels": ["mine"], "allow": ["sub"]}]});
    session.refresh(&token("ann", 600, &less)).unwrap();
    let told = session.told();
    assert_eq!(
        told[0],
        json!({"push": {"channel": "news",
        "unsubscribe": {"code": 2000, "reason": "permission denied"}}})
    );
    assert!(told[1]["refresh"].is_object(), "{told:?}");
    assert_eq!(session.answer(r#"{"id":6,"publish":{"channel":"mine","data":1}}"#)["error"]["code"], 103);
    assert_eq!(session.answer(r#"{"id":7,"subscribe":{"channel":"news"}}"#)["error"]["code"], 103);
}

#[test]
fn the_end_is_looked_for_often_and_comes_after_the_grace() {
    let granted = |expires| Some(Grant { expires, ..Grant::anonymous() });
    let end = Timestamp::from_second(1000).unwrap();
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut session = Fixture::new("refresh_grace = \"25s\"", granted(Some(end)));
    assert_eq!(session.commands.look(at(0)), Ok(Some(LOOK_EVERY)));
    assert_eq!(session.commands.look(at(1020)), Ok(Some(Duration::from_secs(5))));
    assert_eq!(session.commands.look(at(1025)), Err(Disconnect::EXPIRED));
    let mut session = Fixture::new("", granted(None));
    assert_eq!(session.commands.look(Timestamp::MAX), Ok(None));
}
