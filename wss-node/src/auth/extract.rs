//! Where the token of an upgrade stands, and how to keep it out of logs. Pure.

use std::borrow::Cow;

use http::header::AUTHORIZATION;
use http::{HeaderMap, Uri};

use super::fault::{MAX_TOKEN_BYTES, TokenFault};
use crate::config::{TokenAt, TokenConfig};

/// The token that a request carries: in `Authorization: Bearer` (RFC 6750 section 2.1), the configured header or the
/// configured query parameter; `None` if there is none, or `token.at` says that an upgrade has none.
///
/// # Errors
/// [`TokenFault::Malformed`]: more than one of these, one of them twice, or not the characters of a token.
/// [`TokenFault::TooLong`].
pub(crate) fn extract<'a>(
    headers: &'a HeaderMap,
    uri: &'a Uri,
    config: &TokenConfig,
) -> Result<Option<Cow<'a, str>>, TokenFault> {
    if config.at == TokenAt::Connect {
        return Ok(None);
    }
    let mut found = bearer(headers)?;
    let elsewhere = [
        config.header.as_deref().map_or(Ok(None), |name| header(headers, name))?,
        config.query.as_deref().map_or(Ok(None), |name| parameter(uri, name))?,
    ];
    for token in elsewhere.into_iter().flatten() {
        if found.replace(token).is_some() {
            return Err(TokenFault::Malformed);
        }
    }
    if let Some(token) = &found {
        check(token)?;
    }
    Ok(found)
}

/// The path and query of a request, for logs: without the value of the parameter that may hold a token.
pub(crate) fn loggable<'a>(uri: &'a Uri, config: &TokenConfig) -> Cow<'a, str> {
    let (Some(query), Some(name)) = (uri.query(), config.query.as_deref()) else {
        return Cow::Borrowed(uri.path_and_query().map_or(uri.path(), |both| both.as_str()));
    };
    let shown: Vec<_> = pairs(query)
        .map(|(key, value)| match value {
            Some(_) if decoded(key) == name => format!("{key}=<token>"),
            Some(value) => format!("{key}={value}"),
            None => key.to_owned(),
        })
        .collect();
    Cow::Owned(format!("{}?{}", uri.path(), shown.join("&")))
}

/// Whether it could be a token: the characters of RFC 6750 section 2.1, and not too many.
pub(super) fn check(token: &str) -> Result<(), TokenFault> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenFault::TooLong);
    }
    let body = token.trim_end_matches('=');
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if body.is_empty() || !body.bytes().all(legal) {
        return Err(TokenFault::Malformed);
    }
    Ok(())
}

fn bearer(headers: &HeaderMap) -> Result<Option<Cow<'_, str>>, TokenFault> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(TokenFault::Malformed);
    }
    let value = value.to_str().map_err(|_| TokenFault::Malformed)?.trim();
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    // Other schemes are none of ours: a proxy's Basic credentials, say.
    Ok(scheme.eq_ignore_ascii_case("bearer").then(|| Cow::Borrowed(token.trim())))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<Cow<'a, str>>, TokenFault> {
    if name.eq_ignore_ascii_case(AUTHORIZATION.as_str()) {
        return Ok(None);
    }
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let value = value.to_str().map_err(|_| TokenFault::Malformed)?.trim();
    if values.next().is_some() {
        return Err(TokenFault::Malformed);
    }
    Ok(Some(value).filter(|value| !value.is_empty()).map(Cow::Borrowed))
}

fn parameter<'a>(uri: &'a Uri, name: &str) -> Result<Option<Cow<'a, str>>, TokenFault> {
    let mut values = pairs(uri.query().unwrap_or_default())
        .filter(|(key, _)| decoded(key) == name)
        .map(|(_, value)| value.unwrap_or_default());
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(TokenFault::Malformed);
    }
    Ok(Some(decoded(value)).filter(|value| !value.is_empty()))
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    query.split('&').map(|pair| match pair.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (pair, None),
    })
}

/// Percent-decoded (RFC 3986 section 2.1). `+` stays: it is a character of tokens and a space is none. What decodes to
/// no text stays as it came, which no check takes for a token.
pub(crate) fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match tail {
            [high, low, after @ ..] if *first == b'%' => {
                let digit =
                    |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return Cow::Borrowed(text) };
                bytes.push(high << 4 | low);
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn config() -> TokenConfig {
        TokenConfig { query: Some("token".into()), header: Some("X-Token".into()), ..TokenConfig::default() }
    }

    fn taken(headers: &[(&'static str, &str)], uri: &str) -> Result<Option<String>, TokenFault> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let uri = uri.parse().unwrap();
        extract(&map, &uri, &config()).map(|token| token.map(Cow::into_owned))
    }

    #[test]
    fn each_place_is_looked_at() {
        let token = Ok(Some("a.b-c_d~e+f/g=".to_owned()));
        assert_eq!(taken(&[("authorization", "Bearer a.b-c_d~e+f/g=")], "/ws"), token);
        assert_eq!(taken(&[("authorization", "bearer  a.b-c_d~e+f/g=")], "/ws"), token);
        assert_eq!(taken(&[("x-token", "a.b-c_d~e+f/g=")], "/ws"), token);
        assert_eq!(taken(&[], "/ws?x=1&token=a.b-c_d~e+f/g="), token);
        assert_eq!(taken(&[], "/ws?tok%65n=a.b-c_d~e%2Bf%2fg%3D"), token);
        assert_eq!(taken(&[], "/ws?tokens=abc"), Ok(None));
        assert_eq!(taken(&[("authorization", "Basic dTpw")], "/ws?token="), Ok(None));
    }

    #[test]
    fn more_than_one_is_none() {
        let cases: [(&[(&str, &str)], &str); 7] = [
            (&[("authorization", "Bearer a"), ("authorization", "Bearer a")], "/ws"),
            (&[("authorization", "Basic a"), ("authorization", "Bearer a")], "/ws"),
            (&[("authorization", "Bearer a"), ("x-token", "a")], "/ws"),
            (&[("authorization", "Bearer a")], "/ws?token=a"),
            (&[("x-token", "a")], "/ws?token=b"),
            (&[("x-token", "a"), ("x-token", "a")], "/ws"),
            (&[], "/ws?token=a&token=a"),
        ];
        for (headers, uri) in cases {
            assert_eq!(taken(headers, uri), Err(TokenFault::Malformed), "{headers:?} {uri}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for value in ["Bearer", "Bearer ", "Bearer a b", "Bearer =", "Bearer a,b", "Bearer a=b"] {
            assert_eq!(taken(&[("authorization", value)], "/ws"), Err(TokenFault::Malformed), "{value}");
        }
        for query in ["a%20b", "a%00", "%zz", "%", "%ff", "a%0d%0a"] {
            assert_eq!(taken(&[], &format!("/ws?token={query}")), Err(TokenFault::Malformed), "{query}");
        }
        let long = "a".repeat(MAX_TOKEN_BYTES);
        assert_eq!(taken(&[("x-token", &long)], "/ws"), Ok(Some(long.clone())));
        assert_eq!(taken(&[("x-token", &format!("{long}a"))], "/ws"), Err(TokenFault::TooLong));
    }

    #[test]
    fn upgrades_are_not_looked_at_when_tokens_come_with_connect() {
        let mut map = HeaderMap::new();
        map.append(AUTHORIZATION, "Bearer a".parse().unwrap());
        let config = TokenConfig { at: TokenAt::Connect, ..config() };
        assert_eq!(extract(&map, &Uri::from_static("/ws?token=b"), &config), Ok(None));
    }

    #[test]
    fn logs_see_everything_but_the_token() {
        let cases = [
            ("/ws", "/ws"),
            ("/ws?x=1&token=SECRET&y", "/ws?x=1&token=<token>&y"),
            ("/ws?%74oken=SECRET&token=SECRET", "/ws?%74oken=<token>&token=<token>"),
            ("/ws?token", "/ws?token"),
        ];
        for (uri, expected) in cases {
            assert_eq!(loggable(&uri.parse().unwrap(), &config()), expected);
        }
        let without = TokenConfig::default();
        assert_eq!(loggable(&Uri::from_static("/ws?x=1"), &without), "/ws?x=1");
    }
}
