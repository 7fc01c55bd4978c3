//! What a token says, of whichever form it is. Pure.

use jiff::Timestamp;
use serde::Deserialize;

use super::fault::TokenFault;
use super::jwt::Rules;
use super::{Action, Capability, Grant};

/// The longest name of a user, in bytes.
const MAX_USER_BYTES: usize = 255;
/// Items of `caps`, and channels of each.
const MAX_CAPABILITIES: usize = 64;
/// The longest pattern of a channel, in bytes.
const MAX_PATTERN_BYTES: usize = 255;

/// Claims of a JWT (RFC 7519 section 4.1), and members of an introspection response (RFC 7662 section 2.2).
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    sub: Option<String>,
    /// Whom an introspection response is about in words; used when there is no `sub`.
    username: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    iss: Option<String>,
    aud: Option<Audience>,
    caps: Option<Vec<Caps>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// As Centrifugo has it.
#[derive(Debug, Deserialize)]
struct Caps {
    channels: Vec<String>,
    allow: Vec<String>,
}

impl Claims {
    /// What they grant now.
    ///
    /// # Errors
    /// The first rule that they break. `exp` is checked last but for what the grant says, so that an expired token is one
    /// whose bearer only has to get another.
    pub(super) fn grant(self, rules: &Rules, now: Timestamp) -> Result<Grant, TokenFault> {
        // A token without an end could never be taken back.
        let end = self.exp.ok_or(TokenFault::Malformed);
        self.granted(rules, now, end.and_then(timestamp))
    }

    /// The same; if they have no end, they are good until `else_until`, when their server is asked again.
    pub(super) fn grant_until(
        self,
        rules: &Rules,
        now: Timestamp,
        else_until: Timestamp,
    ) -> Result<Grant, TokenFault> {
        let end = self.exp.map_or(Ok(else_until), timestamp);
        self.granted(rules, now, end)
    }

    fn granted(
        self,
        rules: &Rules,
        now: Timestamp,
        end: Result<Timestamp, TokenFault>,
    ) -> Result<Grant, TokenFault> {
        if rules.issuer.is_some() && self.iss != rules.issuer {
            return Err(TokenFault::Issuer);
        }
        let meant = |name: &String| rules.audience.contains(name);
        let for_us = match &self.aud {
            None => false,
            Some(Audience::One(one)) => meant(one),
            Some(Audience::Several(several)) => several.iter().any(meant),
        };
        if !rules.audience.is_empty() && !for_us {
            return Err(TokenFault::Audience);
        }
        let begins = self.nbf.into_iter().chain(self.iat).map(timestamp).collect::<Result<Vec<_>, _>>()?;
        if begins.into_iter().any(|begin| begin > now.saturating_add(rules.leeway).unwrap_or(now)) {
            return Err(TokenFault::NotYetValid);
        }
        let user = self.sub.or(self.username).unwrap_or_default();
        if user.len() > MAX_USER_BYTES || user.chars().any(char::is_control) {
            return Err(TokenFault::Malformed);
        }
        let capabilities = self.caps.map(capabilities).transpose()?;
        let expires = end?;
        if now >= expires.saturating_add(rules.leeway).unwrap_or(expires) {
            return Err(TokenFault::Expired);
        }
        Ok(Grant { user, expires: Some(expires), capabilities })
    }
}

/// A NumericDate (RFC 7519 section 2): seconds since the Unix epoch, with a fraction perhaps.
fn timestamp(seconds: f64) -> Result<Timestamp, TokenFault> {
    // Beyond the year 9999 is for ever, as far as anybody here is concerned.
    const LAST: f64 = 253_402_207_200.0;
    if !seconds.is_finite() || seconds < 0.0 {
        return Err(TokenFault::Malformed);
    }
    #[allow(clippy::cast_possible_truncation)]
    let whole = seconds.min(LAST) as i64;
    Timestamp::from_second(whole).map_err(|_| TokenFault::Malformed)
}

fn capabilities(caps: Vec<Caps>) -> Result<Vec<Capability>, TokenFault> {
    if caps.len() > MAX_CAPABILITIES {
        return Err(TokenFault::Malformed);
    }
    caps.into_iter().map(capability).collect()
}

fn capability(Caps { channels, allow }: Caps) -> Result<Capability, TokenFault> {
    let too_long = channels.iter().any(|channel| channel.len() > MAX_PATTERN_BYTES);
    if channels.len() > MAX_CAPABILITIES || too_long {
        return Err(TokenFault::Malformed);
    }
    // Words of later versions grant nothing here.
    let action = |word: &String| match word.as_str() {
        "sub" => Some(Action::Subscribe),
        "pub" => Some(Action::Publish),
        "hst" => Some(Action::History),
        "prs" => Some(Action::Presence),
        _ => None,
    };
    Ok(Capability { channels, allow: allow.iter().filter_map(action).collect() })
}
