#![allow(clippy::unwrap_used)]

use super::*;
use ChallengeKind::{Dns01, Http01, TlsAlpn01};

const ACCOUNT: &str = "https://ca1.example/account/1234";

fn records(lines: &[&str]) -> Vec<Caa> {
    let record = |line: &&str| {
        let mut parts = line.splitn(3, ' ');
        let flags: u8 = parts.next().unwrap().parse().unwrap();
        let tag = parts.next().unwrap().to_owned();
        let value = parts.next().unwrap().trim_matches('"').to_owned();
        Caa { critical: flags & 128 != 0, tag, value }
    };
    lines.iter().map(record).collect()
}

fn verdict(lines: &[&str], account: Option<&str>, challenges: &[ChallengeKind], wildcard: bool) -> Verdict {
    let identities = ["ca1.example".to_owned(), "CA1.example.net".to_owned()];
    judge(&records(lines), &Wanted { identities: &identities, account, challenges, wildcard })
}

#[test]
fn who_may_issue() {
    use Verdict::{Allowed, Forbidden};
    let no = || Forbidden(Why::Ca);
    let cases: [(&[&str], bool, Verdict); 19] = [
        (&[], false, Allowed),
        (&["0 issue \"ca1.example\""], false, Allowed),
        (&["0 ISSUE \"CA1.Example\""], false, Allowed),
        (&["0 issue \"ca1.example.net\""], false, Allowed),
        (&["0 issue \"ca2.example\""], false, no()),
        (&["0 issue \"ca2.example\"", "0 issue \"ca1.example\""], false, Allowed),
        (&["0 issue \";\""], false, no()),
        (&["0 issue \"\""], false, no()),
        (&["0 issue \"ca1.example; %%%%\""], false, no()),
        (&["0 issue \"ca1.example;\""], false, Allowed),
        (&["0 issue \" ca1.example ; policy = ev \""], false, Allowed),
        (&["0 iodef \"mailto:a@b.example\""], false, Allowed),
        (&["0 issuewild \";\""], false, Allowed),
        (&["0 issuewild \";\""], true, no()),
        (&["0 issue \"ca1.example\"", "0 issuewild \"ca2.example\""], true, no()),
        (&["0 issue \"ca2.example\"", "0 issuewild \"ca1.example\""], true, Allowed),
        (&["0 issue \"ca1.example\""], true, Allowed),
        (&["0 tbs \"Unknown\""], false, Allowed),
        (
            &["128 tbs \"Unknown\"", "0 issue \"ca1.example\""],
            false,
            Forbidden(Why::Critical("tbs".to_owned())),
        ),
    ];
    for (lines, wildcard, expected) in cases {
        assert_eq!(verdict(lines, None, &[Dns01], wildcard), expected, "{lines:?} {wildcard}");
    }
    assert_eq!(verdict(&["128 issue \"ca1.example\""], None, &[Dns01], false), Allowed);
}

/// The examples of RFC 8657 section 4 and their neighbours.
#[test]
fn for_which_account_and_by_which_method() {
    let account = |uri: &str| format!("0 issue \"ca1.example; accounturi={uri}\"");
    let ours = account(ACCOUNT);
    let other = account("https://ca1.example/account/5678");
    let both = [Http01, Dns01];
    assert_eq!(verdict(&[&ours], Some(ACCOUNT), &both, false), Verdict::Allowed);
    let wrong = |uri: &str| Verdict::Forbidden(Why::Account(uri.to_owned()));
    assert_eq!(verdict(&[&ours], None, &both, false), wrong(ACCOUNT));
    assert_eq!(verdict(&[&other], Some(ACCOUNT), &both, false), wrong("https://ca1.example/account/5678"));
    assert_eq!(verdict(&[&ours, &other], Some(ACCOUNT), &both, false), Verdict::Allowed);
    // Two in one record: nobody has both.
    let twice = format!("0 issue \"ca1.example; accounturi={ACCOUNT}; accounturi={ACCOUNT}\"");
    assert!(matches!(verdict(&[&twice], Some(ACCOUNT), &both, false), Verdict::Forbidden(Why::Account(_))));
    // URIs are compared as they are written.
    let upper = account(&ACCOUNT.to_uppercase());
    assert!(matches!(verdict(&[&upper], Some(ACCOUNT), &both, false), Verdict::Forbidden(Why::Account(_))));

    let by = |methods: &str, challenges: &[ChallengeKind]| {
        let line = format!("0 issue \"ca1.example; validationmethods={methods}\"");
        verdict(&[&line], Some(ACCOUNT), challenges, false)
    };
    assert_eq!(by("dns-01", &[Dns01]), Verdict::Allowed);
    assert_eq!(by("dns-01,http-01", &both), Verdict::Allowed);
    assert_eq!(by("dns-01", &both), Verdict::OnlyBy(vec![Dns01]));
    let no = |methods: &str| Verdict::Forbidden(Why::Method(methods.to_owned()));
    assert_eq!(by("dns-01", &[TlsAlpn01]), no("dns-01"));
    assert_eq!(by("ca-foo,ca-bar", &both), no("ca-foo,ca-bar"));
    assert_eq!(by("", &both), no(""));
    // RFC 8657 section 4: one account may use any method, everybody else dns-01 only.
    let lines = [other.as_str(), "0 issue \"ca1.example; validationmethods=dns-01\""];
    assert_eq!(verdict(&lines, Some(ACCOUNT), &[Http01], false), no("dns-01"));
    assert_eq!(verdict(&lines, Some("https://ca1.example/account/5678"), &[Http01], false), Verdict::Allowed);
    assert_eq!(verdict(&lines, Some(ACCOUNT), &both, false), Verdict::OnlyBy(vec![Dns01]));
}

#[test]
fn a_ca_without_a_name_cannot_be_judged() {
    let judged = |lines: &[&str]| {
        judge(
            &records(lines),
            &Wanted { identities: &[], account: None, challenges: &[Http01], wildcard: false },
        )
    };
    assert_eq!(judged(&["0 issue \"ca1.example\""]), Verdict::Unknown);
    assert_eq!(judged(&["0 iodef \"mailto:a@b.example\""]), Verdict::Allowed);
    assert_eq!(judged(&["128 tbs \"x\""]), Verdict::Forbidden(Why::Critical("tbs".to_owned())));
}
