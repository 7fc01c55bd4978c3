//! What the CA complains about, put into our classes (RFC 8555 section 6.7) and into one line that says
//! what to do.

use std::path::PathBuf;

use http::StatusCode;
use instant_acme::{Error, Problem};

use super::http::{Answer, HttpFault};
use crate::issuer::{ErrorClass, IssueError};

/// The namespace of ACME's problem types.
const NAMESPACE: &str = "urn:ietf:params:acme:error:";

/// Whose CA it is, for messages.
#[derive(Clone, Debug)]
pub(super) struct Ca {
    /// Name of the issuer in the configuration.
    pub(super) issuer: String,
    /// URL of the directory.
    pub(super) directory: String,
    /// Where the account is kept.
    pub(super) account_dir: PathBuf,
}

/// The type of a problem without its namespace; empty for foreign and absent ones.
pub(super) fn kind(problem: &Problem) -> &str {
    short(problem.r#type.as_deref())
}

fn short(full: Option<&str>) -> &str {
    full.and_then(|full| full.strip_prefix(NAMESPACE)).unwrap_or_default()
}

/// Whether the request is to be repeated with a fresh nonce (RFC 8555 section 6.5).
pub(super) fn is_bad_nonce(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if kind(problem) == "badNonce")
}

/// The problem in one line: detail, type, and what it says about each identifier.
pub(super) fn describe(problem: &Problem) -> String {
    let mut text = line(problem.detail.as_deref(), problem.r#type.as_deref());
    for subproblem in &problem.subproblems {
        text.push_str("; ");
        if let Some(identifier) = &subproblem.identifier {
            text.push_str(&format!("{}: ", identifier.authorized(false)));
        }
        text.push_str(&line(subproblem.detail.as_deref(), subproblem.r#type.as_deref()));
    }
    text
}

fn line(detail: Option<&str>, full: Option<&str>) -> String {
    let short = full.map(|full| full.strip_prefix(NAMESPACE).unwrap_or(full));
    match (detail, short) {
        (Some(detail), Some(short)) => format!("{detail} ({short})"),
        (Some(text), None) | (None, Some(text)) => text.to_owned(),
        (None, None) => "no reason given".to_owned(),
    }
}

/// The class of a problem that is the answer to a request of ours.
pub(super) fn class_of(problem: &Problem, status: Option<StatusCode>) -> ErrorClass {
    let named = match kind(problem) {
        // A compound problem is as its parts are, if they agree (RFC 8555 section 6.7.1).
        "compound" => compound_class(problem),
        kind => class_of_kind(kind),
    };
    named.unwrap_or_else(|| {
        let status = problem.status.and_then(|status| StatusCode::from_u16(status).ok()).or(status);
        class_of_status(status)
    })
}

/// The class of a problem found *in* an order or a challenge: what went wrong with a name. There,
/// `unauthorized` says that the CA got another answer than the key authorization, not that the account
/// may not order (RFC 8555 section 8).
pub(super) fn class_within(problem: &Problem) -> ErrorClass {
    match class_of_kind(kind(problem)) {
        Some(class @ (ErrorClass::Transient | ErrorClass::Ca | ErrorClass::Ours)) => class,
        _ => ErrorClass::Identifier,
    }
}

fn compound_class(problem: &Problem) -> Option<ErrorClass> {
    let mut classes =
        problem.subproblems.iter().filter_map(|sub| class_of_kind(short(sub.r#type.as_deref())));
    let first = classes.next()?;
    Some(if classes.all(|class| class == first) { first } else { ErrorClass::Identifier })
}

fn class_of_kind(kind: &str) -> Option<ErrorClass> {
    Some(match kind {
        "rateLimited" => ErrorClass::Ca,
        "serverInternal" | "badNonce" | "orderNotReady" => ErrorClass::Transient,
        "unauthorized" | "accountDoesNotExist" | "userActionRequired" => ErrorClass::Account,
        "dns"
        | "connection"
        | "tls"
        | "caa"
        | "rejectedIdentifier"
        | "incorrectResponse"
        | "unsupportedIdentifier" => ErrorClass::Identifier,
        "malformed"
        | "badCSR"
        | "badPublicKey"
        | "badSignatureAlgorithm"
        | "externalAccountRequired"
        | "invalidContact"
        | "unsupportedContact"
        | "badRevocationReason"
        | "alreadyRevoked"
        | "invalidProfile"
        | "alreadyReplaced" => ErrorClass::Ours,
        _ => return None,
    })
}

/// For problems without a type that we know.
fn class_of_status(status: Option<StatusCode>) -> ErrorClass {
    match status {
        Some(StatusCode::TOO_MANY_REQUESTS) => ErrorClass::Ca,
        Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => ErrorClass::Account,
        Some(status) if status.is_client_error() => ErrorClass::Ours,
        _ => ErrorClass::Transient,
    }
}

impl Ca {
    /// An error of instant-acme as an [`IssueError`]; `doing` completes "cannot ...".
    pub(super) fn error(&self, doing: &str, error: &Error, answer: Option<&Answer>) -> IssueError {
        let status = answer.map(|answer| answer.status);
        let (class, message) = match error {
            // A problem inside a successful answer is about the order or challenge, not about the request.
            Error::Api(problem) if status.is_some_and(|status| status.is_success()) => {
                (class_within(problem), format!("cannot {doing}: {}", describe(problem)))
            }
            Error::Api(problem) => {
                let hint = self.hint(problem, answer);
                (class_of(problem, status), format!("cannot {doing}: {}{hint}", describe(problem)))
            }
            Error::Other(cause) => match cause.downcast_ref::<HttpFault>() {
                Some(fault) => self.fault(doing, fault),
                None => (ErrorClass::Transient, format!("cannot {doing}: {cause}")),
            },
            Error::Json(_) | Error::Str(_) => self.odd_answer(doing, error, answer),
            Error::Crypto | Error::KeyRejected | Error::Unsupported(_) | Error::InvalidUri(_) => {
                (ErrorClass::Ours, format!("cannot {doing}: {error}"))
            }
            _ => (ErrorClass::Transient, format!("cannot {doing}: {error}")),
        };
        let retry_after = answer.and_then(|answer| answer.retry_after);
        let issuer_wide = class == ErrorClass::Ca && self.is_wide(error, answer);
        IssueError {
            class,
            message: format!("issuer {}: {message}", self.issuer),
            retry_after,
            issuer_wide,
            gate: false,
        }
    }

    /// Whether a refusal is meant for everybody: a CA that is busy as a whole, or a limit of the account.
    /// RFC 8555 section 6.6 has no field for it, so the words of Boulder's limits decide.
    fn is_wide(&self, error: &Error, answer: Option<&Answer>) -> bool {
        let busy = answer.is_some_and(|answer| {
            answer.status == StatusCode::SERVICE_UNAVAILABLE || answer.url == self.directory
        });
        let detail = match error {
            Error::Api(problem) => problem.detail.as_deref().unwrap_or_default(),
            _ => "",
        };
        busy || ["from this account", "this IP", "Service busy"].iter().any(|words| detail.contains(words))
    }

    fn fault(&self, doing: &str, fault: &HttpFault) -> (ErrorClass, String) {
        match fault {
            HttpFault::Unreachable { url, detail } if *url == self.directory => (
                ErrorClass::Transient,
                format!(
                    "cannot reach the ACME directory {url}: {detail}; check `directory` and `ca_file` of [acme.{}]",
                    self.issuer
                ),
            ),
            HttpFault::Unreachable { .. } | HttpFault::TooLarge(_) => {
                (ErrorClass::Transient, format!("cannot {doing}: {fault}"))
            }
            HttpFault::Held(why) => (ErrorClass::Transient, format!("did not {doing}: {why}")),
            HttpFault::Insecure(_) | HttpFault::BadUrl(..) | HttpFault::Unsigned(..) => {
                (ErrorClass::Ours, format!("cannot {doing}: {fault}"))
            }
        }
    }

    /// An answer that is no ACME at all: a proxy's error page, a wrong URL.
    fn odd_answer(&self, doing: &str, error: &Error, answer: Option<&Answer>) -> (ErrorClass, String) {
        let Some(answer) = answer else {
            return (ErrorClass::Transient, format!("cannot {doing}: {error}"));
        };
        let status = answer.status;
        // Wrong for good only if it is the configured URL that says so.
        if answer.url == self.directory
            && !status.is_server_error()
            && status != StatusCode::TOO_MANY_REQUESTS
        {
            let moved = answer.location.as_ref().filter(|_| status.is_redirection());
            let found = match moved {
                Some(location) => format!("it has moved to {location}"),
                None => format!("it answers {status} and no directory"),
            };
            let message = format!(
                "{} is not an ACME directory: {found}; correct `directory` of [acme.{}]",
                self.directory, self.issuer
            );
            return (ErrorClass::Ours, message);
        }
        let class =
            if status == StatusCode::TOO_MANY_REQUESTS { ErrorClass::Ca } else { ErrorClass::Transient };
        (
            class,
            format!(
                "cannot {doing}: {} answered {status} with something that is not ACME ({error})",
                answer.url
            ),
        )
    }

    /// What the operator can do about it, where the CA does not say.
    fn hint(&self, problem: &Problem, answer: Option<&Answer>) -> String {
        match kind(problem) {
            "externalAccountRequired" => format!(
                "; this CA wants an external account binding: take key id and HMAC key from its website, and set \
                 `kid` and `key_file` in [acme.{}.eab]",
                self.issuer
            ),
            // RFC 8555 section 7.3.3.
            "userActionRequired" => match answer.and_then(|answer| answer.link("terms-of-service")) {
                Some(url) => {
                    format!(
                        "; the CA's terms of service have changed: agree to {url}, then it goes on by itself"
                    )
                }
                None => "; follow the CA's instructions, then it goes on by itself".to_owned(),
            },
            "caa" => "; allow this CA in the CAA records of the name".to_owned(),
            "accountDoesNotExist" => "; the next order registers its key again".to_owned(),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
#[path = "problem_tests.rs"]
mod tests;
