//! The grammar of `Forwarded` (RFC 7239 section 4) and of the items of `X-Forwarded-For`, which has none but custom.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One end of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Address(IpAddr),
    /// `unknown`, or an identifier such as `_hidden` that only its proxy can read.
    Hidden,
}

/// What one proxy wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// `for`: who connected to it; [`Node::Hidden`] when it does not say.
    pub(super) source: Node,
    /// `proto`, in its own case.
    pub(super) proto: Option<String>,
}

/// An item of `X-Forwarded-For`: an address, with or without a port, IPv6 with or without brackets.
pub(super) fn forwarded_for(item: &str) -> Option<Node> {
    if let Ok(address) = item.parse::<IpAddr>() {
        return Some(Node::Address(address));
    }
    node(item)
}

/// All elements of one line of `Forwarded`; `None` if it is not of the grammar.
pub(super) fn forwarded(line: &str) -> Option<Vec<Element>> {
    let mut rest = line;
    let mut elements = Vec::new();
    loop {
        rest = skip_blank(rest);
        if let Some(after) = rest.strip_prefix(',') {
            // RFC 9110 section 5.6.1.2: empty elements are passed over.
            rest = after;
        } else if rest.is_empty() {
            return Some(elements);
        } else {
            let (element, after) = element(rest)?;
            elements.push(element);
            rest = skip_blank(after);
            if !rest.is_empty() {
                rest = rest.strip_prefix(',')?;
            }
        }
    }
}

/// Pairs up to a comma or the end.
fn element(text: &str) -> Option<(Element, &str)> {
    let mut seen = Vec::new();
    let mut element = Element { source: Node::Hidden, proto: None };
    let mut rest = text;
    loop {
        let (name, after) = token(rest)?;
        let (value, after) = value(after.strip_prefix('=')?)?;
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "for" => element.source = node(&value)?,
            "proto" => element.proto = Some(value),
            _ => {}
        }
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
        rest = skip_blank(after);
        let Some(after) = rest.strip_prefix(';') else { return Some((element, rest)) };
        rest = skip_blank(after);
        if rest.is_empty() || rest.starts_with(',') {
            return Some((element, rest));
        }
    }
}

fn token(text: &str) -> Option<(&str, &str)> {
    // RFC 9110 section 5.6.2.
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(value, rest)| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((position, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[position + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

/// RFC 7239 section 6: `192.0.2.1:47011`, `[2001:db8::1]`, `unknown`, `_hidden:_port`.
fn node(text: &str) -> Option<Node> {
    let end = if text.starts_with('[') { text.find(']')? + 1 } else { text.find(':').unwrap_or(text.len()) };
    let (name, port) = text.split_at(end);
    if !port.is_empty() {
        let port = port.strip_prefix(':')?;
        let is_number = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number && !is_obfuscated(port) {
            return None;
        }
    }
    if let Some(address) = name.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(Node::Address(address.into()));
    }
    if name.eq_ignore_ascii_case("unknown") || is_obfuscated(name) {
        return Some(Node::Hidden);
    }
    name.parse::<Ipv4Addr>().ok().map(|address| Node::Address(address.into()))
}

fn is_obfuscated(text: &str) -> bool {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    text.strip_prefix('_').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(sound))
}

fn skip_blank(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}
