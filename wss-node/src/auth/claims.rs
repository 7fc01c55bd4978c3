//! What a checked token, or the server that was asked about one, says: whom it is for, until when, and what it grants.
//! Pure: the time is an argument.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::fault::TokenFault;
use super::{Action, Capability, Grant};
use crate::config::TokenConfig;

/// Longest name of a user, issuer or audience, in bytes.
const MAX_NAME_BYTES: usize = 255;
/// Items of `caps`, or words of `scope`.
const MAX_CAPABILITIES: usize = 64;
/// Channels of one of them.
const MAX_CHANNELS: usize = 128;
/// Members of `aud`.
const MAX_AUDIENCES: usize = 64;

/// The claims that matter here (RFC 7519 section 4.1, RFC 7662 section 2.2); others are passed over, those of the wrong
/// type are an error, and so is one that stands twice.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    sub: Option<String>,
    /// RFC 7662: the name of a user for people; stands in for `sub`.
    username: Option<String>,
    iss: Option<String>,
    aud: Option<Audience>,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    caps: Option<Vec<Caps>>,
    /// RFC 8693 section 4.2: words; those that look like `sub:CHANNEL` are capabilities.
    scope: Option<String>,
    /// Centrifugo: channels that the node subscribes the client to.
    channels: Option<Vec<String>>,
    /// The same, with options, which have no counterpart here.
    subs: Option<BTreeMap<String, IgnoredAny>>,
    /// Centrifugo: the token is for a subscription to this channel.
    channel: Option<String>,
    /// RFC 7662 only.
    #[serde(default)]
    pub(super) active: bool,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// An item of Centrifugo's claim `caps`.
#[derive(Debug, Deserialize)]
struct Caps {
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default)]
    allow: Vec<String>,
    /// How `channels` are meant: `wildcard`, as always here. Regular expressions are refused rather than misread.
    r#match: Option<String>,
}

/// How strictly claims are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A JWT speaks for itself: it must end, and must name issuer and audience where they are configured.
    Jwt,
    /// Its issuer was asked: what the answer leaves out was the issuer's to check (RFC 7662 section 4).
    Introspection,
}

impl Claims {
    /// Reads a JSON object.
    pub(super) fn parse(json: &[u8]) -> Result<Self, TokenFault> {
        // serde would take an array for a struct.
        if json.trim_ascii_start().first() != Some(&b'{') {
            return Err(TokenFault::Malformed);
        }
        serde_json::from_slice(json).map_err(|_| TokenFault::Malformed)
    }

    /// What they grant, if they are good at `now`.
    ///
    /// # Errors
    /// [`TokenFault`]; [`TokenFault::Expired`] only if all else is right, for a client is then told to come back with a
    /// new one.
    pub(super) fn grant(
        self,
        config: &TokenConfig,
        source: Source,
        now: Timestamp,
    ) -> Result<Grant, TokenFault> {
        self.check_names(config, source)?;
        let expires = self.exp.map(timestamp).transpose()?;
        let begins = [self.nbf, self.iat].map(|at| at.map(timestamp).transpose());
        let user = self.sub.or(self.username).unwrap_or_default();
        if user.len() > MAX_NAME_BYTES || user.chars().any(char::is_control) {
            return Err(TokenFault::Malformed);
        }
        let capabilities = match (self.caps, self.scope) {
            (Some(caps), _) => Some(of_caps(caps)?),
            (None, Some(scope)) => of_scope(&scope)?,
            (None, None) => None,
        };
        if expires.is_none() && source == Source::Jwt {
            return Err(TokenFault::Malformed);
        }
        for begins in begins {
            if begins?.is_some_and(|begins| begins > later(now, config.leeway)) {
                return Err(TokenFault::NotYetValid);
            }
        }
        if expires.is_some_and(|expires| later(expires, config.leeway) <= now) {
            return Err(TokenFault::Expired);
        }
        let subs = self.subs.unwrap_or_default().into_keys();
        let mut subscribe: Vec<_> = self.channels.unwrap_or_default().into_iter().chain(subs).collect();
        subscribe.sort_unstable();
        subscribe.dedup();
        let is_name = |name: &String| !name.is_empty() && name.len() <= MAX_NAME_BYTES;
        if subscribe.len() > MAX_CHANNELS || !subscribe.iter().chain(&self.channel).all(is_name) {
            return Err(TokenFault::Malformed);
        }
        Ok(Grant { user, expires, capabilities, subscribe, channel: self.channel })
    }

    fn check_names(&self, config: &TokenConfig, source: Source) -> Result<(), TokenFault> {
        let may_be_missing = source == Source::Introspection;
        if let Some(expected) = &config.issuer {
            let found = self.iss.as_ref().map_or(may_be_missing, |issuer| issuer == expected);
            if !found {
                return Err(TokenFault::Issuer);
            }
        }
        if !config.audience.is_empty() {
            let found = match &self.aud {
                Some(Audience::One(audience)) => config.audience.contains(audience),
                Some(Audience::Several(several)) if several.len() > MAX_AUDIENCES => false,
                Some(Audience::Several(several)) => {
                    several.iter().any(|audience| config.audience.contains(audience))
                }
                None => may_be_missing,
            };
            if !found {
                return Err(TokenFault::Audience);
            }
        }
        Ok(())
    }
}

/// A NumericDate (RFC 7519 section 2). Out of range is no date: milliseconds taken for seconds must not last for ever.
fn timestamp(seconds: f64) -> Result<Timestamp, TokenFault> {
    let span = jiff::SignedDuration::try_from_secs_f64(seconds).map_err(|_| TokenFault::Malformed)?;
    Timestamp::from_duration(span).map_err(|_| TokenFault::Malformed)
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

fn of_caps(caps: Vec<Caps>) -> Result<Vec<Capability>, TokenFault> {
    if caps.len() > MAX_CAPABILITIES {
        return Err(TokenFault::Malformed);
    }
    caps.into_iter()
        .map(|item| {
            let unknown = item.r#match.as_ref().is_some_and(|kind| !matches!(kind.as_str(), "" | "wildcard"));
            let long = item.channels.iter().any(|channel| channel.len() > MAX_NAME_BYTES);
            if unknown || long || item.channels.len() > MAX_CHANNELS || item.allow.len() > MAX_CHANNELS {
                return Err(TokenFault::Malformed);
            }
            // Actions of other versions grant nothing here.
            let allow = item.allow.iter().filter_map(|name| Action::of(name)).collect();
            Ok(Capability { channels: item.channels, allow })
        })
        .collect()
}

/// `sub:orders:* pub:orders:7 profile`: each word with an action is a capability. `None`: there is no such word, and a
/// scope that speaks of other things says nothing about channels.
fn of_scope(scope: &str) -> Result<Option<Vec<Capability>>, TokenFault> {
    let mut capabilities = Vec::new();
    for word in scope.split_ascii_whitespace() {
        let Some((action, channel)) = word.split_once(':') else { continue };
        let Some(action) = Action::of(action) else { continue };
        if capabilities.len() == MAX_CAPABILITIES || channel.len() > MAX_NAME_BYTES {
            return Err(TokenFault::Malformed);
        }
        capabilities.push(Capability { channels: vec![channel.to_owned()], allow: vec![action] });
    }
    Ok(Some(capabilities).filter(|found| !found.is_empty()))
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
