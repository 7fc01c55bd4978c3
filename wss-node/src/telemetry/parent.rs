//! The client's own trace: `traceparent` and `tracestate` of the upgrade (W3C Trace Context, level 1).

use std::str::FromStr;

use http::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// `version "-" trace-id "-" parent-id "-" trace-flags` (section 3.2.2).
const PARENT_LENGTH: usize = 55;
/// "at least 512 characters" are to be propagated (section 3.3.1.5); no more than that are, here.
const STATE_BYTES: usize = 512;

/// The span that the client says it is in. A header that is malformed, or stands twice, is as none (section 4.3).
pub(super) fn parent(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all("traceparent").iter();
    let parent = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (trace, span, flags) = parsed(parent)?;
    Some(SpanContext::new(trace, span, flags, true, state(headers)))
}

/// How a span is named to others.
pub(super) fn header(context: &SpanContext) -> String {
    let flags = context.trace_flags() & TraceFlags::SAMPLED;
    format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id())
}

fn parsed(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let text = text.trim();
    let version = lower_hex(text, 0, 2)?;
    // Later versions may add fields (section 3.2.4); 255 is no version.
    let whole = text.len() == PARENT_LENGTH || (version != "00" && text[PARENT_LENGTH..].starts_with('-'));
    let dashes = [2, 35, 52].iter().all(|at| text.as_bytes()[*at] == b'-');
    if version == "ff" || !whole || !dashes {
        return None;
    }
    let trace = TraceId::from_hex(lower_hex(text, 3, 35)?).ok()?;
    let span = SpanId::from_hex(lower_hex(text, 36, 52)?).ok()?;
    let flags = u8::from_str_radix(lower_hex(text, 53, 55)?, 16).ok()?;
    let valid = trace != TraceId::INVALID && span != SpanId::INVALID;
    valid.then(|| (trace, span, TraceFlags::new(flags) & TraceFlags::SAMPLED))
}

fn lower_hex(text: &str, from: usize, to: usize) -> Option<&str> {
    // Also keeps what is not ASCII, and shorter, from being cut.
    let found = text.get(from..to).filter(|_| text.len() >= PARENT_LENGTH)?;
    found.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(found)
}

/// Several headers are one list (section 3.3.1). What is too long or malformed is left out; the parent stays.
fn state(headers: &HeaderMap) -> TraceState {
    let values: Vec<_> =
        headers.get_all("tracestate").iter().filter_map(|value| value.to_str().ok()).collect();
    let joined = values.join(",");
    if joined.is_empty() || joined.len() > STATE_BYTES {
        return TraceState::NONE;
    }
    TraceState::from_str(&joined).unwrap_or(TraceState::NONE)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(pairs: &[(&'static str, &str)]) -> Option<SpanContext> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        parent(&headers)
    }

    #[test]
    fn what_is_read_is_written_again() {
        let context = of(&[("traceparent", GOOD), ("tracestate", "a=1,b=2")]).unwrap();
        assert!(context.is_remote() && context.is_sampled());
        assert_eq!(header(&context), GOOD);
        assert_eq!(context.trace_state().header(), "a=1,b=2");
        let unsampled = GOOD.replace("-01", "-00");
        assert!(!of(&[("traceparent", &unsampled)]).unwrap().is_sampled());
        // Flags that level 1 does not know are not passed on.
        assert_eq!(header(&of(&[("traceparent", &GOOD.replace("-01", "-ff"))]).unwrap()), GOOD);
        let later = format!("{}-what-comes-later", GOOD.replacen("00", "cc", 1));
        assert_eq!(header(&of(&[("traceparent", &later)]).unwrap()), GOOD);
    }

    #[test]
    fn what_is_malformed_is_as_none() {
        let zero_trace = GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
        let zero_span = GOOD.replace("00f067aa0ba902b7", &"0".repeat(16));
        let malformed = [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-more"),
            &format!("{GOOD}x"),
            &GOOD.replace("4bf9", "4BF9"),
            &GOOD.replace("4bf9", "xbf9"),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replace('-', "_"),
            &zero_trace,
            &zero_span,
            &format!("{}x", GOOD.replacen("00", "cc", 1)),
            &"0".repeat(4000),
        ];
        for text in malformed {
            assert_eq!(of(&[("traceparent", text)]), None, "{text}");
        }
        assert_eq!(of(&[("traceparent", GOOD), ("traceparent", GOOD)]), None);
        let multibyte = "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01";
        let mut headers = HeaderMap::new();
        headers.append("traceparent", http::HeaderValue::from_bytes(multibyte.as_bytes()).unwrap());
        assert_eq!(parent(&headers), None);
        assert_eq!(parsed(multibyte), None);
        assert_eq!(parsed("é0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), None);
    }

    #[test]
    fn a_bad_state_costs_only_itself() {
        for state in ["nonsense", &format!("a={}", "x".repeat(600))] {
            let context = of(&[("traceparent", GOOD), ("tracestate", state)]).unwrap();
            assert_eq!(context.trace_state().header(), "");
        }
    }
}
