#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::issuer::Issuer;
use crate::issuer::OrderRequest;
use crate::issuer::acme::script_ca::{Answered, Heard, ScriptCa, answer, known_leaf, problem, request};

fn renewal() -> OrderRequest {
    OrderRequest { replaces: Some(known_leaf()), ..request() }
}

/// Orders once; gives what was placed.
async fn order(ca: &ScriptCa, request: &OrderRequest) -> Result<Vec<Placed>, IssueError> {
    let dir = tempfile::tempdir().unwrap();
    let heard = Heard::default();
    ca.issuer(dir.path()).obtain(request, &heard).await?;
    Ok(heard.0.into_inner().unwrap())
}

fn replaces_of(ca: &ScriptCa) -> Vec<Value> {
    ca.asked("/new-order").into_iter().map(|asked| asked.payload["replaces"].clone()).collect()
}

#[tokio::test]
async fn a_renewal_says_what_it_replaces() {
    let ca = ScriptCa::start(|_, _| None).await;
    let placed = order(&ca, &renewal()).await.unwrap();
    assert_eq!(placed, [Placed { url: ca.url("/order"), replaces: true }]);
    assert_eq!(replaces_of(&ca), [json!("AQI.AIc")]);

    // Not to a CA without ARI.
    let ca = ScriptCa::start(|ca, asked| {
        let mut directory = ca.directory();
        directory.as_object_mut().unwrap().remove("renewalInfo");
        (asked.path == "/dir").then(|| answer(200, &directory))?
    })
    .await;
    assert!(!order(&ca, &renewal()).await.unwrap()[0].replaces);
    assert_eq!(replaces_of(&ca), [Value::Null]);
}

#[tokio::test]
async fn an_answer_with_another_replaces_or_none_loses_no_order() {
    for echoed in [Value::Null, json!("AQI.AQ")] {
        let ca = ScriptCa::start(move |ca, asked| {
            (asked.path == "/new-order").then(|| {
                let body = ca.order(&json!({"replaces": echoed})).to_string();
                (201, vec![("Location", ca.url("/order"))], body)
            })
        })
        .await;
        let placed = order(&ca, &renewal()).await.unwrap();
        assert_eq!(placed, [Placed { url: ca.url("/order"), replaces: false }]);
        assert_eq!(ca.asked("/new-order").len(), 1);
    }
}

#[tokio::test]
async fn a_refused_replaces_is_dropped_at_once() {
    for (status, kind, dropped) in [
        (409, "alreadyReplaced", true),
        (400, "malformed", true),
        (404, "malformed", true),
        (422, "brandNew", true),
        (500, "serverInternal", true),
        (429, "rateLimited", false),
        (403, "unauthorized", true),
        (400, "accountDoesNotExist", false),
        (400, "rejectedIdentifier", false),
        (503, "serverInternal", false),
    ] {
        let ca = ScriptCa::start(move |_, asked| {
            let renewal = asked.path == "/new-order" && asked.payload["replaces"].is_string();
            renewal.then(|| problem(status, kind))?
        })
        .await;
        let result = order(&ca, &renewal()).await;
        assert_eq!(result.is_ok(), dropped, "{kind}");
        if dropped {
            assert!(!result.unwrap()[0].replaces);
            assert_eq!(replaces_of(&ca), [json!("AQI.AIc"), Value::Null], "{kind}");
        } else {
            assert_eq!(replaces_of(&ca).len(), 1, "{kind}");
        }
    }
}

/// An account with a list of orders over two pages: another's, a failed one, and at last ours.
fn listed(ca: &ScriptCa, path: &str) -> Option<Answered> {
    let order = |more: Value| answer(200, &ca.order(&more));
    match path {
        "/account" => answer(200, &json!({"status": "valid", "orders": ca.url("/orders")})),
        "/orders" => Some((
            200,
            vec![("Link", format!("<{}>;rel=\"next\"", ca.url("/orders/2")))],
            json!({"orders": [ca.url("/o/other"), ca.url("/o/valid"), ca.url("/o/gone")]}).to_string(),
        )),
        "/orders/2" => answer(200, &json!({"orders": [ca.url("/o/more"), ca.url("/o/ours")]})),
        "/o/other" => order(json!({"identifiers": [{"type": "dns", "value": "b.example"}]})),
        "/o/more" => order(
            json!({"identifiers": [{"type": "dns", "value": "a.example"}, {"type": "dns", "value": "b.example"}]}),
        ),
        "/o/valid" => order(json!({"status": "valid"})),
        "/o/gone" => problem(404, "malformed"),
        "/o/ours" => order(json!({"profile": "short"})),
        _ => None,
    }
}

#[tokio::test]
async fn peer_defect_15_an_order_placed_unawares_is_taken_up() {
    // The first newOrder is accepted, but a proxy answers 502.
    let orders = AtomicUsize::new(0);
    let ca = ScriptCa::start(move |ca, asked| {
        if asked.path == "/new-order" && orders.fetch_add(1, Ordering::Relaxed) == 0 {
            return Some((502, Vec::new(), "<html>".to_owned()));
        }
        listed(ca, &asked.path)
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let (issuer, heard) = (ca.issuer(dir.path()), Heard::default());
    let request = request();
    let error = issuer.obtain(&request, &heard).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(ca.asked("/orders").is_empty(), "a first order looks for nothing");
    issuer.obtain(&request, &heard).await.unwrap();
    assert_eq!(heard.0.lock().unwrap()[0].url, ca.url("/o/ours"));
    assert_eq!(ca.asked("/new-order").len(), 1);
    // All is clear again.
    issuer.obtain(&request, &heard).await.unwrap();
    assert_eq!((ca.asked("/new-order").len(), ca.asked("/orders").len()), (2, 1));
}

#[tokio::test]
async fn after_a_restart_the_journal_is_what_makes_unsure() {
    let ca = ScriptCa::start(|ca, asked| listed(ca, &asked.path)).await;
    let placed = order(&ca, &OrderRequest { unsure: true, ..request() }).await.unwrap();
    assert_eq!(placed[0].url, ca.url("/o/ours"));
    // As Let's Encrypt: no list.
    let ca = ScriptCa::start(|_, _| None).await;
    let placed = order(&ca, &OrderRequest { unsure: true, ..request() }).await.unwrap();
    assert_eq!(placed[0].url, ca.url("/order"));
}

#[tokio::test]
async fn the_newest_order_is_found_at_either_end_of_a_long_list() {
    /// As at Pebble: three on a page; another's but for one.
    const PAGES: usize = 40;
    for (page_of_ours, found) in [(1, true), (PAGES, true), (PAGES / 2, false)] {
        let ca = ScriptCa::start(move |ca, asked| {
            let Some(page) = asked.path.strip_prefix("/page/").and_then(|page| page.parse::<usize>().ok())
            else {
                return match asked.path.as_str() {
                    "/account" => answer(200, &json!({"status": "valid", "orders": ca.url("/page/1")})),
                    path => listed(ca, path),
                };
            };
            let third = if page == page_of_ours { "/o/ours" } else { "/o/other" };
            let orders = json!({"orders": [ca.url("/o/other"), ca.url("/o/valid"), ca.url(third)]});
            let next = format!("<{}>;rel=\"next\"", ca.url(&format!("/page/{}", page + 1)));
            let links = if page < PAGES { vec![("Link", next)] } else { Vec::new() };
            Some((200, links, orders.to_string()))
        })
        .await;
        let placed = order(&ca, &OrderRequest { unsure: true, ..request() }).await.unwrap();
        assert_eq!(placed[0].url == ca.url("/o/ours"), found, "page {page_of_ours}");
        let looked = ca.asked("/o/other").len() + ca.asked("/o/valid").len();
        assert!(looked <= 2 * MAX_ORDERS_AT_END, "{looked}");
    }
}

#[tokio::test]
async fn a_list_that_is_out_of_order_holds_up_one_attempt_only() {
    let ca = ScriptCa::start(|ca, asked| match asked.path.as_str() {
        "/orders" => Some((500, Vec::new(), "oops".to_owned())),
        path => listed(ca, path),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let (issuer, heard) = (ca.issuer(dir.path()), Heard::default());
    let request = OrderRequest { unsure: true, ..request() };
    assert_eq!(issuer.obtain(&request, &heard).await.unwrap_err().class, ErrorClass::Transient);
    assert!(ca.asked("/new-order").is_empty());
    issuer.obtain(&request, &heard).await.unwrap();
    assert_eq!(ca.asked("/new-order").len(), 1);
}

#[test]
fn another_profile_or_other_names_are_another_order() {
    let listed = |value: Value| serde_json::from_value::<ListedOrder>(value).unwrap();
    let ours = listed(json!({
        "status": "pending", "profile": "short",
        "identifiers": [{"type": "dns", "value": "B.example"}, {"type": "ip", "value": "10.0.0.1"}]
    }));
    let names = ["10.0.0.1".to_owned(), "b.example".to_owned()];
    assert!(ours.is_for(&names, Some("short")) && ours.is_for(&names, None));
    assert!(!ours.is_for(&names, Some("classic")));
    assert!(!ours.is_for(&names[..1], None));
}

#[tokio::test]
async fn nonces_left_over_save_round_trips() {
    let ca = ScriptCa::start(|_, _| None).await;
    let dir = tempfile::tempdir().unwrap();
    let (issuer, heard) = (ca.issuer(dir.path()), Heard::default());
    for _ in 0..5 {
        issuer.obtain(&request(), &heard).await.unwrap();
    }
    assert_eq!(ca.asked("/nonce").len(), 1, "one for the first request of all");
    let all: Vec<_> = ["/new-account", "/new-order", "/finalize", "/order", "/certificate"]
        .iter()
        .flat_map(|path| ca.asked(path))
        .map(|asked| asked.header["nonce"].to_string())
        .collect();
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len(), "none is used twice");
}
