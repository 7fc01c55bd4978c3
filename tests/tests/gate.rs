//! The gate of the node as clients meet it: every status with its exact answer, what a page may know, and tokens.
#![allow(missing_docs, clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sealwire_tests::asking::{Answer, upgrade};
use sealwire_tests::gate::{Gate, PATH, check};
use sealwire_tests::world::PATIENCE;
use serde_json::{Value, json};

/// A request, the status and text of its answer, and header fields.
type Case<'a> = (String, u16, &'a str, &'a [(&'a str, &'a str)]);

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_status_and_says_why() {
    let extra = "[gate]\norigins = [\"https://app.test\", \"https://*.shop.test\"]\n\
        [[tenant]]\nname = \"browsers\"\npath = \"/browsers\"\n[tenant.gate]\nallow_missing_origin = false\n\
        require_subprotocol = true\n";
    let gate = Gate::open(&["node.test"], extra).await;
    let good = "Origin: https://app.test";
    let without = |name: &str| {
        let all = upgrade(PATH, "node.test", &[good]);
        all.lines().filter(|line| !line.starts_with(name)).map(|line| format!("{line}\n")).collect::<String>()
    };
    let instead = |from: &str, to: &str| upgrade(PATH, "node.test", &[good]).replace(from, to);

    let accepted = gate.asker.upgrade(PATH, &[good]).await.unwrap();
    check(
        &accepted,
        101,
        "",
        &[
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
        ],
    );
    assert_eq!(accepted.header("sec-websocket-protocol"), None);
    assert_eq!(accepted.header("set-cookie"), None);

    let expected = "expected a WebSocket upgrade: Upgrade: websocket, Connection: Upgrade\n";
    let key = "Sec-WebSocket-Key must be the base64 of 16 bytes\n";
    let elsewhere = "nothing is here; the WebSocket endpoint has another path\n";
    let origin = "this origin is not allowed\n";
    let cases: [Case<'_>; 18] = [
        (instead(PATH, "/elsewhere"), 404, elsewhere, &[]),
        (instead("GET", "POST"), 405, "a WebSocket begins with GET\n", &[("allow", "GET")]),
        (instead("HTTP/1.1", "HTTP/1.0"), 505, "a WebSocket upgrade needs HTTP/1.1\n", &[]),
        (without("Host"), 400, "Host is missing\n", &[]),
        (instead("Host: node.test", "Host: a b"), 400, "Host cannot be read\n", &[]),
        (instead("Host: node.test", "Host: node.test\nHost: x"), 400, "several Host fields\n", &[]),
        (without("Upgrade"), 400, expected, &[]),
        (instead("Connection: Upgrade", "Connection: close"), 400, expected, &[]),
        (without("Sec-WebSocket-Key"), 400, key, &[]),
        (instead("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400, key, &[]),
        (
            instead("Version: 13", "Version: 8"),
            426,
            "only version 13 of the WebSocket protocol\n",
            &[("sec-websocket-version", "13")],
        ),
        (instead(good, "Origin: https://evil.test"), 403, origin, &[]),
        (instead(good, "Origin: null"), 403, origin, &[]),
        (instead(good, "Origin: http://app.test"), 403, origin, &[]),
        (instead(good, "Origin: https://eviLshop.test"), 403, origin, &[]),
        (instead(good, &format!("{good}\nSec-WebSocket-Origin: https://x.shop.test")), 403, origin, &[]),
        (instead(good, &format!("{good}\n{good}")), 400, "several Origin fields\n", &[]),
        (
            instead(good, &format!("{good}\nSec-WebSocket-Protocol: mqtt")),
            403,
            "none of the offered subprotocols is spoken here\n",
            &[],
        ),
    ];
    for (request, status, body, headers) in &cases {
        let answer = gate.asker.ask(request).await.unwrap();
        check(&answer, *status, body, headers);
        assert_eq!(answer.header("connection"), Some("close"), "{request}");
    }

    for (lines, spoken) in [
        (
            ["Origin: https://a.b.shop.test", "Sec-WebSocket-Protocol: mqtt, centrifuge-json"].as_slice(),
            "centrifuge-json",
        ),
        (
            &["Sec-WebSocket-Origin: https://app.test:443", "Sec-WebSocket-Protocol: centrifuge-json"],
            "centrifuge-json",
        ),
        (&["Sec-WebSocket-Protocol: centrifuge-protobuf, centrifuge-json"], "centrifuge-protobuf"),
    ] {
        let answer = gate.asker.upgrade(PATH, lines).await.unwrap();
        check(&answer, 101, "", &[("sec-websocket-protocol", spoken)]);
    }

    let browsers = gate.asker.upgrade("/browsers", &[]).await.unwrap();
    check(&browsers, 403, "Origin is missing\n", &[]);
    // Without origins of its own the tenant lets in pages of the very host.
    let own = gate.asker.upgrade("/browsers", &["Origin: https://node.test"]).await.unwrap();
    check(&own, 403, "a subprotocol is required: offer centrifuge-json or centrifuge-protobuf\n", &[]);
    let lines = ["Origin: https://node.test", "Sec-WebSocket-Protocol: centrifuge-json"];
    check(&gate.asker.upgrade("/browsers", &lines).await.unwrap(), 101, "", &[]);
    check(&gate.asker.upgrade("/browsers", &[good]).await.unwrap(), 403, origin, &[]);

    // Nothing of a query is logged, whoever writes it.
    let answer = gate.asker.upgrade("/elsewhere?token=sEcReT", &[]).await.unwrap();
    assert_eq!(answer.status, 404);
    let line = gate.node.line("/elsewhere", PATIENCE);
    assert!(line.contains("what=\"not_found\"") && line.contains("address=127.250.0.2"), "{line}");
    assert_eq!(gate.node.count("sEcReT"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_learns_why_by_a_close_code_or_by_asking_and_other_pages_nothing() {
    let extra = "[[tenant]]\nname = \"close\"\npath = \"/close\"\nsessions = 1\n\
        [tenant.gate]\nreject = \"close\"\nallow_missing_origin = false\norigins = [\"https://app.test\"]\n\
        close_origin = 4503\n";
    let gate = Gate::open(&["node.test"], extra).await;
    let app = "Origin: https://app.test";

    // No browser sends no Origin; whoever does may be told.
    let answer = gate.asker.upgrade("/close", &[]).await.unwrap();
    assert_eq!(answer.status, 101);
    assert_eq!(answer.until_closed().await.unwrap(), b"\x88\x10\x11\x97origin_missing");
    // A page of another site gets no more than before.
    let evil = "Origin: https://evil.test";
    check(&gate.asker.upgrade("/close", &[evil]).await.unwrap(), 403, "this origin is not allowed\n", &[]);
    let mqtt = [app, "Sec-WebSocket-Protocol: mqtt"];
    assert_eq!(gate.asker.upgrade("/close", &mqtt).await.unwrap().status, 403);

    let asking = |path: &str, lines: &[&str]| {
        let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
        format!("GET /connect/check{path} HTTP/1.1\nHost: node.test\n{lines}")
    };
    let ask = |path: &str, lines: &[&str]| {
        let request = asking(path, lines);
        let asker = gate.asker.clone();
        async move { asker.ask(&request).await.unwrap() }
    };
    let told = |answer: &Answer| serde_json::from_str::<Value>(&answer.body).unwrap();
    let cors = [
        ("access-control-allow-origin", "https://app.test"),
        ("vary", "Origin, Sec-Fetch-Site"),
        ("cache-control", "no-store"),
        ("content-type", "application/json"),
    ];
    for path in ["?path=/close", "?x=1&path=%2Fclose"] {
        let answer = ask(path, &[app]).await;
        check(&answer, 200, "{\"ok\":true,\"reason\":null,\"retry_after\":null}\n", &cors);
    }
    let held = gate.asker.upgrade("/close", &[app]).await.unwrap();
    assert_eq!(held.status, 101);
    let full = ask("?path=/close", &[app]).await;
    check(&full, 200, "{\"ok\":false,\"reason\":\"limit_reached\",\"retry_after\":10}\n", &cors);
    let answer = gate.asker.upgrade("/close", &[app]).await.unwrap();
    assert_eq!(answer.until_closed().await.unwrap(), b"\x88\x0f\x0f\xa8limit_reached");

    // Whoever may not ask is told neither whether nor why.
    for lines in [[evil].as_slice(), &["Origin: null"], &[]] {
        let answer = ask("?path=/close", lines).await;
        check(&answer, 403, "", &[("vary", "Origin, Sec-Fetch-Site")]);
        assert_eq!(answer.header("access-control-allow-origin"), None, "{lines:?}");
    }
    check(&ask("?path=/none", &[app]).await, 404, "", &[]);

    // Of everybody's endpoint: no origins are listed, so the host's own pages may ask, which send none.
    let answer = ask("", &["Sec-Fetch-Site: same-origin"]).await;
    assert_eq!((answer.status, &told(&answer)["ok"]), (200, &json!(true)));
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(ask("", &[app]).await.status, 403);

    let preflight = asking("?path=/close", &[app, "Access-Control-Request-Method: GET"]);
    let answer = gate.asker.ask(&preflight.replace("GET /", "OPTIONS /")).await.unwrap();
    check(
        &answer,
        204,
        "",
        &[
            ("access-control-allow-origin", "https://app.test"),
            ("access-control-allow-methods", "GET"),
            ("access-control-allow-headers", "authorization"),
            ("access-control-max-age", "600"),
        ],
    );
    let post = gate.asker.ask(&asking("", &[]).replace("GET /", "POST /")).await.unwrap();
    check(&post, 405, "", &[("allow", "GET, OPTIONS")]);
}

/// A JWT of HS256 with these claims.
fn jwt(secret: &[u8], claims: &Value) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let text =
        format!("{}.{}", encode(br#"{"alg":"HS256","typ":"JWT"}"#), encode(claims.to_string().as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    format!("{text}.{}", encode(hmac::sign(&key, text.as_bytes()).as_ref()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_in_and_what_is_wrong_with_it_is_told_where_only_its_page_reads_it() {
    let secret = b"0123456789abcdef0123456789abcdef";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hs256");
    std::fs::write(&path, secret).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let extra = format!(
        "[token]\nat = \"upgrade\"\nquery = \"token\"\nhs256_secret = {path:?}\n\
         [[tenant]]\nname = \"close\"\npath = \"/close\"\n[tenant.gate]\nreject = \"close\"\n\
         [[tenant]]\nname = \"down\"\npath = \"/down\"\n\
         [tenant.token]\nat = \"upgrade\"\njwks = \"http://127.0.0.1:1/jwks\"\n"
    );
    let gate = Gate::open(&["node.test"], &extra).await;
    let now = jiff::Timestamp::now().as_second();
    let good = jwt(secret, &json!({"sub": "ann", "exp": now + 600}));
    let expired = jwt(secret, &json!({"sub": "ann", "exp": now - 600}));
    let forged = jwt(b"another-secret-of-thirty-two-bytes", &json!({"sub": "ann", "exp": now + 600}));
    let bearer = |token: &str| format!("Authorization: Bearer {token}");

    check(&gate.asker.upgrade(PATH, &[]).await.unwrap(), 403, "a token is needed\n", &[]);
    assert_eq!(gate.asker.upgrade(PATH, &[&bearer(&good)]).await.unwrap().status, 101);
    assert_eq!(gate.asker.upgrade(&format!("{PATH}?token={good}"), &[]).await.unwrap().status, 101);
    let refused = "the token does not let you in\n";
    for bad in [&expired, &forged, "rubbish"] {
        check(&gate.asker.upgrade(PATH, &[&bearer(bad)]).await.unwrap(), 403, refused, &[]);
        check(&gate.asker.upgrade(&format!("{PATH}?token={bad}"), &[]).await.unwrap(), 403, refused, &[]);
    }
    let twice = gate.asker.upgrade(&format!("{PATH}?token={good}"), &[&bearer(&good)]).await.unwrap();
    check(&twice, 403, refused, &[]);

    let page = "Origin: https://node.test";
    for (token, reason) in [
        (None, json!("token_missing")),
        (Some(&expired), json!("token_expired")),
        (Some(&forged), json!("token_signature")),
        (Some(&good), Value::Null),
    ] {
        let header = token.map(|token| bearer(token)).unwrap_or_default();
        for path in [PATH, "/close"] {
            let request =
                format!("GET /connect/check?path={path} HTTP/1.1\nHost: node.test\n{page}\n{header}");
            let answer = gate.asker.ask(&request).await.unwrap();
            let told: Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(told, json!({"ok": reason.is_null(), "reason": reason, "retry_after": null}));
        }
    }

    let answer = gate.asker.upgrade("/close", &[page]).await.unwrap();
    assert_eq!(answer.until_closed().await.unwrap(), b"\x88\x0f\x0f\xa1token_missing");
    let answer = gate.asker.upgrade("/close", &[page, &bearer(&expired)]).await.unwrap();
    assert_eq!(answer.until_closed().await.unwrap(), b"\x88\x0f\x0f\xa1token_refused");

    // No shared secret there: a key of the set must have signed it.
    let (_, rest) = good.split_once('.').unwrap();
    let by_key = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"1"}"#));
    let down = gate.asker.upgrade("/down", &[&bearer(&by_key)]).await.unwrap();
    assert_eq!((down.status, down.body.as_str()), (503, "tokens cannot be checked now\n"), "{down:?}");
    assert!(down.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);

    let line = gate.node.line("what=\"token_refused\"", PATIENCE);
    assert!(line.contains("token expired"), "{line}");
    let _told = gate.node.line("what=\"token_unavailable\"", PATIENCE);
    for token in [&good, &expired, &forged] {
        let signature = token.rsplit('.').next().unwrap();
        assert_eq!(gate.node.count(signature), 0, "no token in the log");
    }
}
