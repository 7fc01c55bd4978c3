//! Whether a CA's question for HTTP-01 or TLS-ALPN-01 would reach us: we answer on the configured listener for a
//! moment, and ask through each address of the name.

use std::any::Any;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use rustls_pki_types::ServerName;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::listeners::{Listeners, Who};
use super::web::{NoPage, Page, connect, fetch};
use super::{Finding, STEP_TIMEOUT, Scene, tls};
use crate::config::ChallengeKind;
use crate::issuer::acme::challenge_survey::{PROTOCOL, answer_tls_alpn01, server_name};
use crate::issuer::acme::{PATH, Resolver};

/// What somebody who connected got.
enum Answer {
    /// What we answer.
    Ours,
    /// What an agent answers that does not know the question.
    LikeAgent,
    /// Something else.
    Other(String),
    Refused,
    Unreachable(String),
}

/// Asks as a CA would.
pub(super) async fn check_path(
    scene: &Scene,
    listeners: &Listeners,
    resolver: &Resolver,
    kind: ChallengeKind,
    identifier: &str,
    address: IpAddr,
) -> Finding {
    let (who, port, key, configured, answer) = match kind {
        ChallengeKind::TlsAlpn01 => {
            let port = scene.options.tls_port;
            let answer = by_tls(listeners, identifier, address, port).await;
            (listeners.tls_alpn01, port, "tls_alpn01.listen", scene.config.tls_alpn01.listen, answer)
        }
        _ => {
            let path = format!("{PATH}{}", listeners.token);
            let page = fetch(&scene.options, resolver, identifier, address, &path).await;
            let answer = by_http(listeners, page);
            (listeners.http01, scene.options.http_port, "http01.listen", scene.config.http01.listen, answer)
        }
    };
    let check = kind.name();
    let at = SocketAddr::new(address, port);
    let subject = format!("{identifier} at {at}");
    match (answer, who) {
        (Answer::Ours, _) => Finding::ok(check, subject, format!("leads to {key} ({configured})")),
        (Answer::LikeAgent, Who::Agent) => {
            Finding::ok(check, subject, "is answered as the running agent does")
        }
        (Answer::LikeAgent, _) => {
            let message =
                format!("is answered by another server, which does not know our challenge, not by {key}");
            Finding::error(check, subject, message, advice_other(kind, at, configured))
        }
        (Answer::Other(what), _) => {
            let message = format!("is answered by something else: {what}");
            Finding::error(check, subject, message, advice_other(kind, at, configured))
        }
        (Answer::Refused, Who::We | Who::Agent) if is_own(address) => {
            let message = format!(
                "nobody listens there, although the address is of this machine: {key} is {configured}"
            );
            let advice = format!(
                "set `{key}` so that it covers the address (\"[::]:{port}\" is all of IPv6 and IPv4), forward to it, or remove the {} record of {identifier}",
                record(address)
            );
            Finding::error(check, subject, message, advice)
        }
        (Answer::Refused, _) => warn(check, subject, identifier, at, "the connection is refused"),
        (Answer::Unreachable(why), _) => warn(check, subject, identifier, at, &why),
    }
}

fn record(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "AAAA" } else { "A" }
}

fn warn(check: &'static str, subject: String, identifier: &str, at: SocketAddr, why: &str) -> Finding {
    let message = format!(
        "cannot be reached from here: {why}; that may be so from inside only (hairpin NAT, split DNS, no route), and CAs ask from outside"
    );
    let advice = format!(
        "try from another network: curl -v --connect-to ::{at} http://{identifier}/; open the port and forward it to this machine, or remove the {} record",
        record(at.ip())
    );
    Finding::warning(check, subject, message, advice)
}

fn advice_other(kind: ChallengeKind, at: SocketAddr, configured: SocketAddr) -> String {
    match kind {
        ChallengeKind::TlsAlpn01 => format!(
            "forward connections with the protocol acme-tls/1 from {at} to {configured}, or use http-01 or dns-01"
        ),
        _ => {
            format!("let the server at {at} proxy {PATH} to {configured}, or point the name at this machine")
        }
    }
}

/// Whether it is an address of this machine: only those can be bound.
fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

fn by_http(listeners: &Listeners, page: Result<Page, NoPage>) -> Answer {
    let page = match page {
        Ok(page) => page,
        Err(NoPage::Refused) => return Answer::Refused,
        Err(NoPage::Unreachable(why)) => return Answer::Unreachable(why),
        Err(NoPage::Bad(why)) => return Answer::Other(why),
    };
    if page.status.is_success() && page.body.trim_ascii_end() == listeners.key_authorization.as_bytes() {
        return Answer::Ours;
    }
    // `http01.stateless` answers every token with the account's thumbprint: 43 characters of base64url.
    let stateless = page.body.strip_prefix(format!("{}.", listeners.token).as_bytes());
    let thumbprint = |text: &[u8]| text.len() == 43 && BASE64_URL_SAFE_NO_PAD.decode(text).is_ok();
    let unknown = page.status == http::StatusCode::NOT_FOUND && page.body.is_empty() && page.server.is_none();
    if unknown || (page.status.is_success() && stateless.is_some_and(thumbprint)) {
        return Answer::LikeAgent;
    }
    let server = page.server.map(|server| format!(" ({})", printable(&server))).unwrap_or_default();
    let from = page.moved_to.map(|url| format!(", redirected to {}", printable(&url))).unwrap_or_default();
    Answer::Other(format!("HTTP {}{server}{from}", page.status))
}

/// From a server that we do not know: for a terminal.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

async fn by_tls(listeners: &Listeners, identifier: &str, address: IpAddr, port: u16) -> Answer {
    let _answering: Option<Box<dyn Any + Send + Sync>> = match listeners.tls_alpn01 {
        Who::We => answer_tls_alpn01(&listeners.responder, identifier, listeners.digest).ok(),
        Who::Agent | Who::Nobody => None,
    };
    let deadline = Instant::now() + STEP_TIMEOUT;
    let stream = match connect(address, port, deadline).await {
        Ok(stream) => stream,
        Err(NoPage::Refused) => return Answer::Refused,
        Err(NoPage::Unreachable(why) | NoPage::Bad(why)) => return Answer::Unreachable(why),
    };
    let (Ok(config), Ok(name)) = (tls::client(PROTOCOL), ServerName::try_from(server_name(identifier)))
    else {
        return Answer::Other(format!("no TLS handshake can be made for {identifier}"));
    };
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let stream = match timeout_at(deadline, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return refusal(&error),
        Err(_) => return Answer::Other(format!("no TLS handshake within {} s", STEP_TIMEOUT.as_secs())),
    };
    let (_, connection) = stream.get_ref();
    if connection.alpn_protocol() != Some(PROTOCOL) {
        return Answer::Other("a TLS server that does not speak acme-tls/1".to_owned());
    }
    let leaf = connection.peer_certificates().and_then(<[_]>::first);
    if leaf.is_some_and(|leaf| holds(leaf, &listeners.digest)) {
        Answer::Ours
    } else {
        Answer::Other("an ACME client that answers for another challenge".to_owned())
    }
}

fn refusal(error: &std::io::Error) -> Answer {
    let alert = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match alert {
        // What rustls says where there is no certificate for a name.
        Some(rustls::Error::AlertReceived(rustls::AlertDescription::AccessDenied)) => Answer::LikeAgent,
        _ => Answer::Other(format!("TLS handshake for acme-tls/1 fails: {error}")),
    }
}

/// Whether a certificate has the extension acmeIdentifier with the digest (RFC 8737 section 3).
fn holds(leaf: &[u8], digest: &[u8; 32]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return false };
    let mut extensions = certificate.extensions().iter();
    let found = extensions.find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
    // An OCTET STRING of 32 bytes.
    found.is_some_and(|found| found.value.strip_prefix(&[4, 32]) == Some(digest.as_slice()))
}
