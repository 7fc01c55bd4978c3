//! The cookie by which a proxy keeps a client on one node.

use std::fmt::Write;

use http::header::HeaderValue;

/// `Set-Cookie` with the node's id. `SameSite=None`, for a page of another site may connect; `HttpOnly`, for no page
/// has a use for it.
pub(super) fn sticky(name: &str, node_id: &str) -> Option<HeaderValue> {
    let cookie = format!("{name}={}; Path=/; Secure; HttpOnly; SameSite=None", encoded(node_id));
    HeaderValue::try_from(cookie).ok()
}

/// Percent-encoded except for the unreserved characters of RFC 3986 section 2.3, which RFC 6265 section 4.1.1 allows too.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing into a string does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_add_attributes_or_headers() {
        let cookie = sticky("sealwire", "n\u{f6}de 1; Domain=evil\r\nX: y").unwrap();
        let expected = "sealwire=n%C3%B6de%201%3B%20Domain%3Devil%0D%0AX%3A%20y; \
                        Path=/; Secure; HttpOnly; SameSite=None";
        assert_eq!(cookie, expected);
        assert!(
            sticky("sealwire", "node-1.a_b~").unwrap().to_str().unwrap().starts_with("sealwire=node-1.a_b~;")
        );
    }
}
