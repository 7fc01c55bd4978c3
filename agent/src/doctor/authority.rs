//! The CAs: whether they can be reached and would take an order as it is configured.

use std::collections::BTreeSet;
use std::path::Path;

use futures_util::stream::{self, StreamExt};
use jiff::{SignedDuration, Timestamp};
use sealwire_proto::anchors::Anchors;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Cas, Finding, PARALLEL, STEP_TIMEOUT, Scene};
use crate::clock::TOLERATED;
use crate::config::AcmeConfig;
use crate::issuer::acme::Challenges;
use crate::issuer::acme::survey::{self, Survey, check_eab_key};
use crate::issuer::internal::survey as embedded;
use crate::lifecycle::span;

const CHECK: &str = "ca";
/// A Date header is good to the second, plus the exchange; beyond this no clock that is kept right is off.
const CLOCK_NOTICE: SignedDuration = SignedDuration::from_secs(30);
/// Time to get a new file with roots to all machines.
const ROOT_NOTICE: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The ACME issuers of the chosen certificates, with those that they rehearse at.
fn in_use(scene: &Scene) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for issuer in scene.certificates.iter().flat_map(|certificate| &certificate.issuers) {
        let Some(acme) = scene.config.acme.get(issuer) else { continue };
        names.insert(issuer.as_str());
        names.extend(acme.rehearsal.as_deref());
    }
    names
}

/// Asks each CA in use for its directory and a nonce.
pub(super) async fn survey(scene: &Scene) -> Cas {
    let ask = async |name: &str| {
        let config = &scene.config.acme[name];
        (name.to_owned(), Box::pin(survey::survey(name, config, STEP_TIMEOUT)).await)
    };
    stream::iter(in_use(scene)).map(ask).buffer_unordered(PARALLEL).collect().await
}

/// What is to say about each of them.
pub(super) fn check(scene: &Scene, cas: &Cas) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Err(error) = Challenges::new(&scene.config, &scene.config.state_dir.join("accounts")) {
        let advice = "correct the file or key that it names";
        findings.push(Finding::error("config", "challenges", error.message, advice));
    }
    let now = Timestamp::now();
    for (name, surveyed) in cas {
        let config = &scene.config.acme[name];
        let terms = surveyed.as_ref().ok().and_then(|survey| survey.terms_of_service.as_deref());
        findings.extend(configured(name, config, terms, now));
        match surveyed {
            Ok(survey) => {
                findings.extend(answered(name, config, survey));
                findings.extend(profiles(scene, name, survey));
            }
            Err(error) => {
                let advice = format!(
                    "check `directory` and `ca_file` in [acme.{name}], and that this machine may connect: curl -v {}",
                    config.directory
                );
                findings.push(Finding::error(CHECK, name, error, advice));
            }
        }
    }
    findings
}

/// What needs no answer of the CA.
fn configured(name: &str, config: &AcmeConfig, terms: Option<&str>, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !config.terms_of_service_agreed {
        let terms = terms.unwrap_or("on its website");
        let advice =
            format!("read them ({terms}), and set `terms_of_service_agreed = true` in [acme.{name}]");
        findings.push(Finding::error(CHECK, name, "its terms of service are not agreed to", advice));
    }
    if let Some(eab) = &config.eab
        && let Err(error) = check_eab_key(&eab.key_file)
    {
        let advice =
            format!("put the HMAC key that the CA shows into `key_file` of [acme.{name}.eab], mode 0600");
        findings.push(Finding::error(CHECK, name, error, advice));
    }
    for (key, file) in [("ca_file", &config.ca_file), ("trust_roots", &config.trust_roots)] {
        findings.extend(file.as_deref().map(|file| roots(name, key, file, now)));
    }
    findings
}

/// A file with roots: readable, and for how long.
fn roots(name: &str, key: &str, file: &Path, now: Timestamp) -> Finding {
    let anchors = match Anchors::from_pem_file(file) {
        Ok(anchors) => anchors,
        Err(error) => {
            let advice =
                format!("put the CA's root certificates there, or set another `{key}` in [acme.{name}]");
            return Finding::error(CHECK, name, error.to_string(), advice);
        }
    };
    let end = |der: &rustls_pki_types::CertificateDer<'static>| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
    };
    let ends: Vec<_> = anchors.certificates().iter().filter_map(end).collect();
    let (Some(first), Some(last)) = (ends.iter().min(), ends.iter().max()) else {
        let message = format!("{key} {}: no certificate in it can be read", file.display());
        return Finding::error(CHECK, name, message, "replace the file by the CA's root certificates");
    };
    let text = |at: &Timestamp| format!("{key} {}: a root ends at {at}", file.display());
    let advice = format!("get the CA's new root certificates, and put them into {}", file.display());
    if *last < now {
        Finding::error(CHECK, name, format!("{}, and none is valid", text(last)), advice)
    } else if *first < now {
        Finding::warning(CHECK, name, format!("{}, others are valid", text(first)), advice)
    } else if first.duration_since(now) < ROOT_NOTICE {
        Finding::warning(CHECK, name, text(first), advice)
    } else {
        Finding::ok(CHECK, name, format!("{key}: {} root(s), valid until {first}", ends.len()))
    }
}

fn answered(name: &str, config: &AcmeConfig, survey: &Survey) -> Vec<Finding> {
    let mut findings = vec![match &survey.nonce {
        Ok(()) => {
            let message = format!("directory read in {} ms, and it gives nonces", survey.took.as_millis());
            Finding::ok(CHECK, name, message)
        }
        Err(error) => {
            let advice = "try again later; if it stays, tell the CA";
            Finding::error(CHECK, name, format!("it gives no nonce: {error}"), advice)
        }
    }];
    if survey.external_account_required && config.eab.is_none() {
        let advice = format!(
            "take key id and HMAC key from its website, and set `kid` and `key_file` in [acme.{name}.eab]"
        );
        findings.push(Finding::error(CHECK, name, "it wants an external account binding", advice));
    }
    findings.push(clock(name, survey.ahead));
    findings
}

fn clock(name: &str, ahead: Option<SignedDuration>) -> Finding {
    let Some(ahead) = ahead else {
        let advice = "check the clock by hand: timedatectl";
        return Finding::warning("clock", name, "its answers carry no usable Date header", advice);
    };
    let off = ahead.abs();
    let which = if ahead.is_positive() { "ahead of" } else { "behind" };
    let message = format!("our clock is {} {which} that of {name}", span(off));
    let advice = "set the clock right, and keep it so: timedatectl set-ntp true, or chrony";
    if off > TOLERATED {
        Finding::error("clock", name, message, advice)
    } else if off > CLOCK_NOTICE {
        Finding::warning("clock", name, message, advice)
    } else {
        Finding::ok("clock", name, format!("our clock agrees with that of {name}"))
    }
}

fn profiles(scene: &Scene, name: &str, survey: &Survey) -> Vec<Finding> {
    let own = scene.config.acme[name].profile.as_deref();
    let uses = scene
        .certificates
        .iter()
        .filter(|certificate| certificate.issuers.iter().any(|issuer| issuer == name));
    let wanted: BTreeSet<_> = uses.filter_map(|certificate| certificate.profile.as_deref().or(own)).collect();
    let offered = survey.profiles.join(", ");
    let judge = |profile: &str| {
        if survey.profiles.iter().any(|name| name == profile) {
            Finding::ok(CHECK, name, format!("offers the profile \"{profile}\""))
        } else if survey.profiles.is_empty() {
            let message = format!("has no profiles; \"{profile}\" is not asked for");
            Finding::warning(
                CHECK,
                name,
                message,
                format!("remove `profile`, or use another CA than [acme.{name}]"),
            )
        } else {
            let message = format!("has no profile \"{profile}\"; it offers {offered}");
            let advice = format!("correct `profile` of the certificate or of [acme.{name}]");
            Finding::error(CHECK, name, message, advice)
        }
    };
    wanted.into_iter().map(judge).collect()
}

/// The embedded CAs of the chosen certificates.
pub(super) fn internal(scene: &Scene) -> Vec<Finding> {
    let names: BTreeSet<_> = scene.certificates.iter().flat_map(|certificate| &certificate.issuers).collect();
    let mut findings = Vec::new();
    for name in names.into_iter().filter(|name| scene.config.internal.contains_key(*name)) {
        let dir = scene.config.state_dir.join("ca").join(name);
        findings.push(match embedded::survey(&dir) {
            Ok(None) => Finding::ok(CHECK, name, format!("the first start makes it in {}", dir.display())),
            Err(error) => {
                let advice = "do what the message says; the agent does not start before";
                Finding::error(CHECK, name, error.message, advice)
            }
            Ok(Some(survey)) => embedded_ends(name, survey, Timestamp::now()),
        });
    }
    findings
}

fn embedded_ends(name: &str, survey: embedded::Survey, now: Timestamp) -> Finding {
    let root = survey.root_ends;
    let advice = "the running agent makes a new root by itself: give it to every client (sealwire ca root), then \
                  confirm it (sealwire ca status, sealwire ca confirm)";
    if root <= now {
        return Finding::error(CHECK, name, format!("its root ended at {root}"), advice);
    }
    if root.duration_since(now) < embedded::NOTICE {
        return Finding::warning(CHECK, name, format!("its root ends at {root}"), advice);
    }
    let intermediate = match survey.intermediate_ends {
        Some(end) if end > now => format!("its intermediate at {end} (renewed by itself)"),
        _ => "its intermediate is made at the next start".to_owned(),
    };
    Finding::ok(CHECK, name, format!("its root ends at {root}, {intermediate}"))
}
