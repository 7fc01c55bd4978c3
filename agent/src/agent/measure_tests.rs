//! What Prometheus would be told of a running agent.

use super::*;

/// The value of a sample.
fn sample(text: &str, start: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(start) && line.as_bytes()[start.len()] == b' ')?;
    line[start.len()..].trim().parse().ok()
}

async fn measured(running: &Running) -> String {
    let (reply, answer) = oneshot::channel();
    running.commands.send(Command::Measure { reply }).await.unwrap();
    answer.await.unwrap()
}

#[tokio::test]
async fn attempts_incidents_and_what_is_left_are_measured() {
    let script: Script = |request, _| {
        let bad = request.certificate == "bad";
        if bad { Err(IssueError::new(ErrorClass::Identifier, "its challenge failed")) } else { Ok(()) }
    };
    let running = Running::start(&["bad", "web"], script);
    running.until("bad", |bad| bad.failures > 0).await;
    running.until("web", |web| web.state == "stored").await;
    let text = measured(&running).await;
    for (start, expected) in [
        (r#"sealwire_certificates{state="stored"}"#, 1.0),
        (r#"sealwire_certificates{state="failing"}"#, 1.0),
        ("sealwire_certificates_unnamed", 0.0),
        (r#"sealwire_certificate_generation{certificate="web"}"#, 1.0),
        (r#"sealwire_certificate_generation{certificate="bad"}"#, 0.0),
        (r#"sealwire_certificate_failures{certificate="bad"}"#, 1.0),
        (r#"sealwire_attempts_total{issuer="pki",work="order",outcome="ok"}"#, 1.0),
        (r#"sealwire_attempts_total{issuer="pki",work="order",outcome="identifier"}"#, 1.0),
        (r#"sealwire_steps_total{step="done"}"#, 1.0),
        (r#"sealwire_steps_total{step="failed"}"#, 1.0),
        (r#"sealwire_steps_total{step="nacked"}"#, 0.0),
        (r#"sealwire_incidents{kind="expired",severity="critical"}"#, 0.0),
        ("sealwire_nodes", 0.0),
        ("sealwire_panics_total", 0.0),
        ("sealwire_disk_unwritten", 0.0),
    ] {
        assert_eq!(sample(&text, start), Some(expected), "{start}\n{text}");
    }
    let left = sample(&text, r#"sealwire_certificate_expiry_seconds{certificate="web"}"#).unwrap();
    assert!(left > 86_000.0 && left <= 86_400.0, "{left}");
    assert_eq!(sample(&text, "sealwire_certificates_first_expiry_seconds"), Some(left));
    assert!(sample(&text, r#"sealwire_certificate_expiry_seconds{certificate="bad"}"#).is_none());
}
