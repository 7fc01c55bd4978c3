//! Whether CAA records let a CA issue (RFC 8659), to our account and by our challenges (RFC 8657). Pure.

use crate::config::ChallengeKind;

/// Tags that may be critical: a CA understands them, whether or not they concern it.
const KNOWN: [&str; 4] = ["issue", "issuewild", "iodef", "issuemail"];

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caa {
    pub(super) critical: bool,
    pub(super) tag: String,
    pub(super) value: String,
}

/// Who wants to issue what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// `caaIdentities` of the CA.
    pub(super) identities: &'a [String],
    /// URL of our account, if there is one.
    pub(super) account: Option<&'a str>,
    /// The challenges that fit the name, the first choice first.
    pub(super) challenges: &'a [ChallengeKind],
    pub(super) wildcard: bool,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The CA may issue.
    Allowed,
    /// It may issue, but not by the first choice; these are left.
    OnlyBy(Vec<ChallengeKind>),
    /// It must not issue.
    Forbidden(Why),
    /// The CA does not say what it is called.
    Unknown,
}

/// Why it must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A critical record with a tag that no CA knows.
    Critical(String),
    /// Other CAs, or none, are named.
    Ca,
    /// The CA is named, but for another account; ours, if there is one, is not.
    Account(String),
    /// The CA is named, but not for any of our challenges.
    Method(String),
}

/// Judges the records that are relevant for a name (those of the closest ancestor that has any).
pub(super) fn judge(records: &[Caa], wanted: &Wanted<'_>) -> Verdict {
    let lower = |record: &Caa| record.tag.to_ascii_lowercase();
    if let Some(unknown) = records.iter().find(|record| record.critical && !KNOWN.contains(&&*lower(record)))
    {
        return Verdict::Forbidden(Why::Critical(unknown.tag.clone()));
    }
    let with = |tag: &str| records.iter().filter(|record| lower(record) == tag).collect::<Vec<_>>();
    let wild = if wanted.wildcard { with("issuewild") } else { Vec::new() };
    let relevant = if wild.is_empty() { with("issue") } else { wild };
    if relevant.is_empty() {
        return Verdict::Allowed;
    }
    if wanted.identities.is_empty() {
        return Verdict::Unknown;
    }
    let mut why = Why::Ca;
    let mut allowed: Vec<ChallengeKind> = Vec::new();
    for value in relevant.iter().filter_map(|record| Value::parse(&record.value)) {
        if !wanted.identities.iter().any(|identity| identity.eq_ignore_ascii_case(value.domain)) {
            continue;
        }
        let accounts = value.parameters("accounturi");
        // More than one cannot be satisfied (RFC 8657 section 3).
        if !accounts.is_empty() && (accounts.len() > 1 || wanted.account != Some(accounts[0])) {
            why = Why::Account(accounts.join(", "));
            continue;
        }
        let methods = value.parameters("validationmethods");
        let fits =
            |kind: &ChallengeKind| methods.iter().all(|list| list.split(',').any(|name| name == kind.name()));
        let by: Vec<_> = wanted.challenges.iter().copied().filter(fits).collect();
        if by.is_empty() && !methods.is_empty() {
            why = Why::Method(methods.join(", "));
        } else if by.is_empty() {
            return Verdict::Allowed;
        }
        allowed.extend(by);
    }
    if allowed.is_empty() {
        return Verdict::Forbidden(why);
    }
    if wanted.challenges.first().is_none_or(|first| allowed.contains(first)) {
        return Verdict::Allowed;
    }
    allowed.sort_unstable();
    allowed.dedup();
    Verdict::OnlyBy(allowed)
}

/// An issue-value (RFC 8659 section 4.2).
struct Value<'a> {
    domain: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Value<'a> {
    /// `None` for what a CA must take as naming nobody.
    fn parse(text: &'a str) -> Option<Self> {
        let (domain, rest) = text.split_once(';').map_or((text, ""), |(domain, rest)| (domain, rest));
        let mut parameters = Vec::new();
        let trim = |part: &'a str| part.trim_matches([' ', '\t']);
        if !trim(rest).is_empty() {
            for parameter in rest.split(';') {
                let (tag, value) = trim(parameter).split_once('=')?;
                let (tag, value) = (trim(tag), trim(value));
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
                if tag.is_empty()
                    || !tag.bytes().all(plain)
                    || !value.bytes().all(|byte| byte.is_ascii_graphic())
                {
                    return None;
                }
                parameters.push((tag, value));
            }
        }
        let domain = trim(domain);
        let label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        (!domain.is_empty() && domain.bytes().all(label)).then_some(Self { domain, parameters })
    }

    fn parameters(&self, tag: &str) -> Vec<&'a str> {
        let named = self.parameters.iter().filter(|(name, _)| name.eq_ignore_ascii_case(tag));
        named.map(|(_, value)| *value).collect()
    }
}

#[cfg(test)]
#[path = "caa_tests.rs"]
mod tests;
