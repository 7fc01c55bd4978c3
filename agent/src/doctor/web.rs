//! HTTP as a CA does it for HTTP-01 (RFC 8555 section 8.3): to one address, over redirects, any certificate.

use std::net::{IpAddr, SocketAddr};

use reqwest::{StatusCode, Url};
use tokio::time::{Instant, timeout_at};

use super::names::addresses;
use super::{Options, STEP_TIMEOUT, tls};
use crate::issuer::acme::Resolver;

/// As Let's Encrypt does.
const MAX_REDIRECTS: usize = 10;
/// A key authorization has about 90 bytes.
const MAX_BODY_BYTES: usize = 4096;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) server: Option<String>,
    pub(super) body: Vec<u8>,
    /// Where from, if that is not where it was asked for.
    pub(super) moved_to: Option<String>,
}

/// Why nothing came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoPage {
    /// Nobody answered at the first address.
    Refused,
    Unreachable(String),
    /// Somebody did, but a CA would not go on with that.
    Bad(String),
}

/// Asks `address` for `path` of `name`.
pub(super) async fn fetch(
    options: &Options,
    resolver: &Resolver,
    name: &str,
    address: IpAddr,
    path: &str,
) -> Result<Page, NoPage> {
    let host = match name.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => name.to_owned(),
    };
    let start = Url::parse(&format!("http://{host}:{}{path}", options.http_port))
        .map_err(|error| NoPage::Bad(error.to_string()))?;
    let deadline = Instant::now() + STEP_TIMEOUT;
    connect(address, options.http_port, deadline).await?;
    let (mut url, mut address) = (start.clone(), address);
    for _ in 0..=MAX_REDIRECTS {
        let Ok(hop) = timeout_at(deadline, hop(&url, address)).await else {
            let seconds = STEP_TIMEOUT.as_secs();
            return Err(NoPage::Bad(format!(
                "{url} takes connections but gives no answer within {seconds} s"
            )));
        };
        let (mut page, next) = hop.map_err(NoPage::Bad)?;
        let Some(next) = next else {
            page.moved_to = (url != start).then(|| url.to_string());
            return Ok(page);
        };
        url = url.join(&next).map_err(|error| NoPage::Bad(format!("a redirect to \"{next}\": {error}")))?;
        address = whereto(options, resolver, &url, deadline).await.map_err(NoPage::Bad)?;
    }
    Err(NoPage::Bad(format!("more than {MAX_REDIRECTS} redirects, the last one to {url}")))
}

/// Told apart by a connection of our own, for reqwest's errors do not say at which address.
pub(super) async fn connect(
    address: IpAddr,
    port: u16,
    deadline: Instant,
) -> Result<tokio::net::TcpStream, NoPage> {
    match timeout_at(deadline, tokio::net::TcpStream::connect((address, port))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Err(NoPage::Refused),
        Ok(Err(error)) => Err(NoPage::Unreachable(error.to_string())),
        Err(_) => Err(NoPage::Unreachable(format!("no connection within {} s", STEP_TIMEOUT.as_secs()))),
    }
}

/// The address of a redirect's target.
async fn whereto(
    options: &Options,
    resolver: &Resolver,
    url: &Url,
    deadline: Instant,
) -> Result<IpAddr, String> {
    let refused = |why: &str| format!("a redirect to {url}: CAs follow {why} only");
    let port = match url.scheme() {
        "http" => options.http_port,
        "https" => options.tls_port,
        _ => return Err(refused("http and https")),
    };
    let asked = url.port_or_known_default();
    let standard = if url.scheme() == "http" { 80 } else { 443 };
    if asked != Some(port) && asked != Some(standard) {
        return Err(refused("ports 80 and 443"));
    }
    let host = url.host_str().unwrap_or_default();
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        return Ok(address);
    }
    let found =
        timeout_at(deadline, addresses(resolver, host)).await.map(|(found, _)| found).unwrap_or_default();
    // Let's Encrypt goes on with IPv4 where there is both and IPv6 fails.
    let chosen = found.iter().find(|address| address.is_ipv4()).or(found.first()).copied();
    chosen.ok_or_else(|| format!("a redirect to {url}: {host} has no address"))
}

/// One request; where it is a redirect, its target.
async fn hop(url: &Url, address: IpAddr) -> Result<(Page, Option<String>), String> {
    let failed = |error: reqwest::Error| format!("{url}: {}", sealwire_proto::socket::chain_of(&error));
    let tls = tls::client(b"http/1.1").map_err(|error| error.to_string())?;
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(STEP_TIMEOUT);
    if let Some(host) = url.host_str() {
        // Port 0: that of the URL.
        builder = builder.resolve(host, SocketAddr::new(address, 0));
    }
    let client = builder.build().map_err(failed)?;
    let mut reply = client.get(url.clone()).send().await.map_err(failed)?;
    let text = |name: http::HeaderName| {
        reply.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let next = text(http::header::LOCATION).filter(|_| reply.status().is_redirection());
    let server = text(http::header::SERVER);
    let status = reply.status();
    let mut body = Vec::new();
    while let Some(chunk) = reply.chunk().await.map_err(failed)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY_BYTES {
            body.truncate(MAX_BODY_BYTES);
            break;
        }
    }
    Ok((Page { status, server, body, moved_to: None }, next))
}
