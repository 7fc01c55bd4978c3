//! Which tenant a request is for.

use std::sync::Arc;

use super::refusal::{Outcome, Refusal};
use crate::tenant::{Tenant, Tenants};

/// What the TLS handshake was for, as far as it binds the request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Handshake<'a> {
    /// The client made it for this host.
    Client(&'a str),
    /// A trusted proxy made it, or there was none: the proxy made sure of the host.
    Proxy,
}

/// The tenant whose endpoint is at a host and path. Clients reach only what the name in their TLS handshake reaches:
/// otherwise whoever may connect to one tenant would reach all of them under its certificate (RFC 9110 section 7.4).
pub(super) fn route<'a>(
    tenants: &'a Tenants,
    host: Option<&str>,
    handshake: Handshake<'_>,
    path: &str,
) -> Result<&'a Arc<Tenant>, Refusal> {
    let tenant = tenants.site(host).at(path);
    if let Handshake::Client(name) = handshake {
        let reached = tenants.site(Some(name)).at(path);
        if tenant.map(Arc::as_ptr) != reached.map(Arc::as_ptr) {
            let text = "the TLS handshake was for another host: connect anew";
            return Err(Refusal::new(Outcome::Misdirected, text).detail(format!(
                "Host {:?}, but the TLS handshake was for {:?}",
                host.unwrap_or_default(),
                name
            )));
        }
    }
    let text = "nothing is here; the WebSocket endpoint has another path";
    tenant.ok_or_else(|| Refusal::new(Outcome::NotFound, text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_handshake_decides_which_tenant_may_be_reached() {
        let text = "server_names = [\"a\"]\n[token]\nanonymous = true\n\
                    [[tenant]]\nname = \"one\"\nhosts = [\"one.example\", \"*.one.example\"]\n\
                    [[tenant]]\nname = \"two\"\nhosts = [\"two.example\"]\npath = \"/two\"\n\
                    [[tenant]]\nname = \"address\"\nhosts = [\"192.0.2.1\"]";
        let tenants = Tenants::new(&Config::from_text("n.toml".as_ref(), text).unwrap()).unwrap();
        let path = "/connection/websocket";
        let routed = |host, handshake, path| match route(&tenants, host, handshake, path) {
            Ok(tenant) => tenant.name.clone().unwrap_or_else(|| "*".to_owned()),
            Err(refusal) => refusal.outcome.as_str().to_owned(),
        };
        let named = Handshake::Client;
        let cases = [
            (Some("one.example"), named("one.example"), path, "one"),
            // Another name of the same tenant, and of everybody.
            (Some("x.one.example"), named("one.example"), path, "one"),
            (Some("a.example"), named("b.example"), path, "*"),
            (Some("one.example"), named("a.example"), path, "misdirected"),
            (Some("a.example"), named("one.example"), path, "misdirected"),
            (Some("one.example"), named("two.example"), path, "misdirected"),
            (Some("two.example"), named("one.example"), "/two", "misdirected"),
            (Some("one.example"), named("192.0.2.9"), path, "misdirected"),
            (None, named("one.example"), path, "misdirected"),
            (Some("a.example"), named("192.0.2.9"), path, "*"),
            (Some("192.0.2.1"), named("192.0.2.1"), path, "address"),
            (Some("one.example"), Handshake::Proxy, path, "one"),
            (Some("two.example"), Handshake::Proxy, "/two", "two"),
            (Some("two.example"), named("two.example"), path, "not_found"),
            (Some("one.example"), named("one.example"), "/elsewhere", "not_found"),
        ];
        for (host, handshake, path, expected) in cases {
            assert_eq!(routed(host, handshake, path), expected, "{host:?} {handshake:?} {path}");
        }
    }
}
