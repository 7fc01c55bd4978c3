#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use hickory_proto::rr::Name;

use super::*;

fn shell(script: &str) -> Exec {
    Exec { program: "/bin/sh".into(), args: vec!["-c".into(), script.into()] }
}

fn record() -> Record {
    Record {
        fqdn: Name::from_ascii("_acme-challenge.a.example.").unwrap(),
        value: "the-value".into(),
        identifier: "*.a.example".into(),
    }
}

#[tokio::test]
async fn the_program_is_told_in_its_environment() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("heard");
    let script = format!(
        "echo $SEALWIRE_DNS_ACTION $SEALWIRE_DNS_FQDN $SEALWIRE_DNS_VALUE $SEALWIRE_DNS_IDENTIFIER $# >>{}",
        file.display()
    );
    let exec = shell(&format!("set -f; {script}"));
    exec.change(Action::Present, &record()).await.unwrap();
    exec.change(Action::Cleanup, &record()).await.unwrap();
    assert_eq!(
        std::fs::read_to_string(file).unwrap(),
        "present _acme-challenge.a.example the-value *.a.example 0\n\
         cleanup _acme-challenge.a.example the-value *.a.example 0\n"
    );
}

#[tokio::test]
async fn a_failure_tells_the_start_of_standard_error() {
    let error = shell("echo no such >&2; echo zone >&2; exit 3")
        .change(Action::Present, &record())
        .await
        .unwrap_err();
    assert_eq!(error.message, "/bin/sh (present): exit status: 3: no such zone");
    // A megabyte fills every pipe: it must not block, and little of it is kept.
    let script = "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1";
    let error = shell(script).change(Action::Present, &record()).await.unwrap_err();
    assert!(
        (MAX_STDERR_BYTES..MAX_STDERR_BYTES + 100).contains(&error.message.len()),
        "{}",
        error.message.len()
    );
    let error = shell("exit 1").change(Action::Cleanup, &record()).await.unwrap_err();
    assert!(error.message.ends_with("said nothing on standard error"), "{error}");
}

#[tokio::test]
async fn overrun_kills_the_program_and_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let exec = shell(&format!("sleep 600 & echo $! >{}; wait", file.display()));
    let record = record();
    let mut change = exec.change(Action::Present, &record);
    let started = Instant::now();
    let child = loop {
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut change).await.is_err(), "still waiting");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if let Ok(pid) = text.trim().parse::<u32>() {
            break pid;
        }
        assert!(started.elapsed() < Duration::from_secs(20));
    };
    let alive = || {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    assert!(alive());
    // What a timeout does.
    drop(change);
    let started = Instant::now();
    while alive() {
        assert!(started.elapsed() < Duration::from_secs(10), "the child outlived the hook");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn the_program_must_exist() {
    use figment::providers::{Format, Toml};
    let text = "type = \"exec\"\nprogram = \"/nonexistent/hook\"";
    let config: DnsConfig = figment::Figment::from(Toml::string(text)).extract().unwrap();
    assert!(Exec::new(&config).err().unwrap().message.contains("/nonexistent/hook does not exist"));
}
