//! Health on the public listeners, for load balancers: no host, no Origin, no token, no cookie, and nothing that would
//! help anybody else. The admin address tells more.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;

use super::head::Head;

/// Whether the process answers.
pub(crate) const LIVE: &str = "/healthz";
/// Whether it should get traffic.
pub(crate) const READY: &str = "/readyz";

/// Whether a path is one of them.
pub(crate) fn is_asked(path: &str) -> bool {
    [LIVE, READY].contains(&path)
}

/// The answer to a question after the node's health; `None`: it is none.
pub(super) fn answer(head: &Head<'_>, is_ready: impl FnOnce() -> bool) -> Option<Response<Full<Bytes>>> {
    let path = head.uri.path();
    if !is_asked(path) {
        return None;
    }
    let (status, body) = if ![Method::GET, Method::HEAD].contains(head.method) {
        (StatusCode::METHOD_NOT_ALLOWED, "")
    } else if path == LIVE || is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    Some(response)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::{Request, Version};

    use super::*;

    #[test]
    fn liveness_and_readiness_and_nothing_else() {
        let status = |method: Method, path: &str, is_ready| {
            let request =
                Request::builder().method(method).uri(path).version(Version::HTTP_10).body(()).unwrap();
            answer(&Head::of(&request), || is_ready).map(|response| response.status().as_u16())
        };
        assert_eq!(status(Method::GET, "/healthz", false), Some(200));
        assert_eq!(status(Method::HEAD, "/readyz?x", true), Some(200));
        assert_eq!(status(Method::GET, "/readyz", false), Some(503));
        assert_eq!(status(Method::POST, "/readyz", true), Some(405));
        assert_eq!(status(Method::GET, "/readyz/", true), None);
        assert_eq!(status(Method::GET, "/", true), None);
    }
}
