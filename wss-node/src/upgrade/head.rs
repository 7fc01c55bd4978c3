//! The head of a request, and how its header fields are read.

use http::header::{HOST, HeaderName};
use http::{HeaderMap, Method, Request, Uri, Version};

use super::refusal::{Outcome, Refusal};
use crate::host::Authority;

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) method: &'a Method,
    pub(super) version: Version,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
}

impl<'a> Head<'a> {
    pub(super) fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            version: request.version(),
            uri: request.uri(),
            headers: request.headers(),
        }
    }

    /// The host that the client wants; `None` if it says none, which a WebSocket must.
    pub(super) fn host(&self) -> Result<Option<Authority>, Refusal> {
        let bad = |text| Refusal::new(Outcome::BadRequest, text);
        let host = match several(self.headers, &HOST) {
            Several::None => None,
            Several::One(host) => Some(Authority::parse(host).ok_or_else(|| bad("Host cannot be read"))?),
            Several::More => return Err(bad("several Host fields")),
        };
        // The absolute form of RFC 9112 section 3.2.2. It would win, but nobody honest sends another Host with it.
        if let Some(authority) = self.uri.authority()
            && Authority::parse(authority.as_str()) != host
        {
            return Err(bad("the request is for another host than its Host"));
        }
        Ok(host)
    }
}

/// A header field that must not be there more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Several<'a> {
    None,
    /// Empty for what is no text.
    One(&'a str),
    More,
}

pub(super) fn several<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Several<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Several::None,
        (Some(value), None) => Several::One(value.to_str().unwrap_or_default().trim()),
        (Some(_), Some(_)) => Several::More,
    }
}

/// The value of a header that must stand once.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    if let Several::One(value) = several(headers, name) { Some(value) } else { None }
}

/// Whether a comma-separated header has a token.
pub(super) fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|found| found.eq_ignore_ascii_case(token))
}

/// The items of a comma-separated header.
pub(super) fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests {
    use super::*;

    /// The example of RFC 6455 section 1.2, with some headers changed; an empty value removes one.
    pub(crate) fn request(changes: &[(&'static str, &'static str)]) -> Request<()> {
        let mut request = Request::get("/connection/websocket")
            .header("host", "a.example")
            .header("upgrade", "websocket")
            .header("connection", "keep-alive, Upgrade")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-version", "13")
            .body(())
            .unwrap();
        for (name, value) in changes {
            request.headers_mut().remove(*name);
            if !value.is_empty() {
                request.headers_mut().insert(*name, value.parse().unwrap());
            }
        }
        request
    }

    #[test]
    fn the_host_is_one_and_sound() {
        let host = |request: &Request<()>| Head::of(request).host().map(|host| host.map(|host| host.host));
        assert_eq!(host(&request(&[])).unwrap().as_deref(), Some("a.example"));
        assert_eq!(host(&request(&[("host", "")])).unwrap(), None);
        for bad in ["a b", "a,b", "a/b", "a:x", "user@a"] {
            let request = request(&[("host", bad)]);
            assert_eq!(host(&request).unwrap_err().outcome, Outcome::BadRequest, "{bad}");
        }
        let mut two = request(&[]);
        two.headers_mut().append("host", "a.example".parse().unwrap());
        assert_eq!(host(&two).unwrap_err().outcome, Outcome::BadRequest);
        let mut absolute = request(&[]);
        *absolute.uri_mut() = "https://a.example/connection/websocket".parse().unwrap();
        assert!(host(&absolute).is_ok());
        *absolute.uri_mut() = "https://b.example/connection/websocket".parse().unwrap();
        assert_eq!(host(&absolute).unwrap_err().outcome, Outcome::BadRequest);
    }
}
