#![allow(clippy::unwrap_used)]

use super::*;

fn pending() -> Job {
    Box::pin(std::future::pending())
}

#[test]
fn only_errors_are_failures() {
    let ok = Finding::ok("dns", "a", "x");
    let warning = Finding::warning("dns", "a", "x", "do");
    let error = Finding::error("dns", "a", "x", "do");
    assert_eq!(worst(&[]), Level::Ok);
    assert_eq!(worst(&[ok.clone(), warning.clone()]), Level::Warning);
    assert_eq!(worst(&[error, ok, warning]), Level::Error);
}

#[test]
fn findings_are_plain_json() {
    let finding = Finding::warning("caa", "a.example", "seen", "do this");
    let expected = serde_json::json!({
        "check": "caa", "subject": "a.example", "level": "warning", "message": "seen", "advice": "do this"
    });
    assert_eq!(serde_json::to_value(finding).unwrap(), expected);
}

#[tokio::test]
async fn what_does_not_end_is_told_and_the_rest_keeps_its_order() {
    let done = |name: &'static str, after: u64| -> Job {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            vec![Finding::ok("dns", name, "")]
        })
    };
    let started = Instant::now();
    let jobs = vec![done("first", 60), pending(), done("second", 20), pending()];
    let findings = all(jobs, started + Duration::from_secs(1)).await;
    assert!(started.elapsed() < Duration::from_secs(5));
    let subjects: Vec<_> = findings.iter().map(|finding| finding.subject.as_str()).collect();
    assert_eq!(subjects, ["first", "second", "doctor"]);
    assert!(findings[2].message.starts_with("2 check(s)"), "{findings:?}");
}
