//! The CAA records of each identifier, looked up and told.

use std::net::SocketAddr;

use hickory_proto::rr::{Name, RData, RecordType};

use super::caa::{Caa, Verdict, Wanted, Why, judge};
use super::names::{NoAnswer, ask, dns_name};
use super::{Cas, Finding, Scene};
use crate::config::ChallengeKind;
use crate::issuer::acme::Resolver;
use crate::issuer::acme::survey::account_url;

/// The relevant records (RFC 8659 section 3) and the name that has them.
async fn relevant(
    resolver: &Resolver,
    identifier: &str,
) -> Result<Option<(Name, Vec<Caa>)>, (Name, NoAnswer)> {
    let Some(mut name) = dns_name(identifier) else { return Ok(None) };
    while !name.is_root() {
        let answer = ask(resolver, async |server: Resolver| server.ask(&name, RecordType::CAA).await).await;
        let answer = answer.map_err(|error| (name.clone(), error))?;
        // Behind aliases as well: the resolver has followed them.
        let records: Vec<_> = answer
            .answers
            .iter()
            .filter_map(|record| match &record.data {
                RData::CAA(caa) => Some(Caa {
                    critical: caa.issuer_critical,
                    tag: caa.tag.clone(),
                    value: String::from_utf8_lossy(&caa.value).into_owned(),
                }),
                _ => None,
            })
            .collect();
        if !records.is_empty() {
            return Ok(Some((name, records)));
        }
        name = name.base_name();
    }
    Ok(None)
}

/// Judges the CAA records of an identifier for one issuer.
pub(super) async fn check_caa(
    scene: &Scene,
    cas: &Cas,
    identifier: &str,
    issuer: &str,
    servers: &[SocketAddr],
    kinds: &[ChallengeKind],
) -> Vec<Finding> {
    let subject = format!("{identifier} at {issuer}");
    let (at, records) = match relevant(&Resolver::new(&[servers]), identifier).await {
        Ok(Some(found)) => found,
        Ok(None) => return vec![Finding::ok("caa", subject, "no CAA record: any CA may issue")],
        Err((name, NoAnswer::Refused(error))) => {
            let advice = format!("mend the zone, CAs refuse to issue as long as this fails: dig CAA {name}");
            return vec![Finding::error("caa", subject, error, advice)];
        }
        Err((name, NoAnswer::Silent(error))) => {
            let advice =
                format!("set `resolvers` of [acme.{issuer}] to DNS servers that answer: dig CAA {name}");
            return vec![Finding::warning("caa", subject, error, advice)];
        }
    };
    let Some(Ok(survey)) = cas.get(issuer) else {
        let message = format!("CAA records at {at} cannot be judged: the CA's directory could not be read");
        return vec![Finding::warning("caa", subject, message, "see the finding about the CA")];
    };
    // Damage is told with the state directory.
    let account = account_url(&scene.config.state_dir.join("accounts").join(issuer)).ok().flatten();
    let wildcard = identifier.starts_with("*.");
    let wanted = Wanted {
        identities: &survey.caa_identities,
        account: account.as_deref(),
        challenges: kinds,
        wildcard,
    };
    vec![told(subject, &at, issuer, &wanted, judge(&records, &wanted))]
}

fn told(subject: String, at: &Name, issuer: &str, wanted: &Wanted<'_>, verdict: Verdict) -> Finding {
    let ca = wanted.identities.first().map_or("CA", String::as_str);
    let tag = if wanted.wildcard { "issuewild" } else { "issue" };
    let names = |kinds: &[ChallengeKind]| kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(",");
    let error = |message: String, advice: String| Finding::error("caa", subject.clone(), message, advice);
    match verdict {
        Verdict::Allowed => Finding::ok("caa", subject, format!("the CAA records at {at} allow {ca}")),
        Verdict::OnlyBy(kinds) => {
            let left = names(&kinds);
            let message =
                format!("the CAA records at {at} allow {ca} only by {left}, which is not the first choice");
            let advice = format!(
                "put it first in `challenges`, or add your challenges to `validationmethods` at {at}"
            );
            Finding::warning("caa", subject, message, advice)
        }
        Verdict::Unknown => {
            let message =
                format!("there are CAA records at {at}, and the CA does not say what it is called there");
            let advice = format!("ask the CA for its CAA name, and compare: dig CAA {at}");
            Finding::warning("caa", subject, message, advice)
        }
        Verdict::Forbidden(Why::Critical(tag)) => {
            let message =
                format!("a critical CAA record at {at} has the tag \"{tag}\", which CAs do not know");
            error(message, format!("remove it, or clear its critical flag (128): dig CAA {at}"))
        }
        Verdict::Forbidden(Why::Ca) => {
            let message = format!("the CAA records at {at} do not allow {ca}");
            error(message, format!("add a record: {at} CAA 0 {tag} \"{ca}\""))
        }
        Verdict::Forbidden(Why::Account(named)) => match wanted.account {
            Some(ours) => {
                let message =
                    format!("the CAA records at {at} allow {ca} for account {named} only, ours is {ours}");
                error(message, format!("add a record: {at} CAA 0 {tag} \"{ca}; accounturi={ours}\""))
            }
            None => {
                let message = format!(
                    "the CAA records at {at} allow {ca} for account {named} only, and we have none yet: a new one has another URL"
                );
                let advice = format!(
                    "add a record: {at} CAA 0 {tag} \"{ca}\"; after the first order, put the URL that `sealwire account show` prints for {issuer} into its accounturi"
                );
                error(message, advice)
            }
        },
        Verdict::Forbidden(Why::Method(methods)) => {
            let ours = names(wanted.challenges);
            let message = format!(
                "the CAA records at {at} allow {ca} only by \"{methods}\", and `challenges` has {ours}"
            );
            let record = format!("add a record: {at} CAA 0 {tag} \"{ca}; validationmethods={ours}\"");
            error(message, format!("{record}, or set `challenges` to one of those"))
        }
    }
}
