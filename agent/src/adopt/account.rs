//! Which of a client's accounts becomes that of which issuer.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::AdoptError;
use super::account_layout::FoundAccount;
use crate::config::Config;
use crate::issuer::acme::{ForeignAccount, TakenOver, take_over};

/// What became of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdoptedAccount {
    /// The account of this issuer now (or would be, in a dry run), with the URL if the client knew it.
    Stored {
        /// `[acme.NAME]`
        issuer: String,
        /// Where it is at the CA.
        url: Option<String>,
    },
    /// The account of this issuer before already.
    Same(String),
    /// The issuer has one, which stays.
    Kept {
        /// `[acme.NAME]`
        issuer: String,
        /// The one it has.
        what: String,
    },
    /// No `[acme.NAME]` has the directory of its CA.
    NotConfigured,
    /// Another account of the client is used more, or was named.
    PassedOver {
        /// The name of the other.
        other: String,
    },
}

/// Which accounts are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice<'a> {
    /// Those with the CA of this issuer only.
    pub issuer: Option<&'a str>,
    /// This one, where the client has several with one CA.
    pub account: Option<&'a str>,
}

/// An account that an issuer could have.
struct Candidate<'a> {
    index: usize,
    found: &'a FoundAccount,
    account: ForeignAccount,
}

/// Takes over accounts, at most one for each issuer. The results are in the order of `found`.
#[must_use]
pub fn adopt_accounts(
    config: &Config,
    found: &[FoundAccount],
    choice: Choice<'_>,
    dry_run: bool,
) -> Vec<Result<AdoptedAccount, AdoptError>> {
    let mut results: Vec<_> = found.iter().map(|_| Ok(AdoptedAccount::NotConfigured)).collect();
    let mut by_issuer: BTreeMap<&str, Vec<Candidate<'_>>> = BTreeMap::new();
    for (index, one) in found.iter().enumerate() {
        let preferred: Vec<String> = choice.issuer.map(str::to_owned).into_iter().collect();
        let issuer = match one.origin.issuers(config, &preferred) {
            Ok(issuers) => issuers.into_iter().find(|name| choice.issuer.is_none_or(|told| told == *name)),
            Err(error) => {
                results[index] = Err(error);
                continue;
            }
        };
        let Some(issuer) = issuer else { continue };
        match one.read() {
            Ok(account) => {
                by_issuer.entry(issuer).or_default().push(Candidate { index, found: one, account })
            }
            Err(error) => results[index] = Err(error),
        }
    }
    for (issuer, candidates) in by_issuer {
        for (index, result) in for_issuer(config, issuer, &candidates, choice, dry_run) {
            results[index] = result;
        }
    }
    results
}

type Numbered = (usize, Result<AdoptedAccount, AdoptError>);

fn for_issuer(
    config: &Config,
    issuer: &str,
    candidates: &[Candidate<'_>],
    choice: Choice<'_>,
    dry_run: bool,
) -> Vec<Numbered> {
    let dir: PathBuf = config.state_dir.join("accounts").join(issuer);
    let directory = config.acme.get(issuer).map(|acme| acme.directory.as_str()).unwrap_or_default();
    let take = |candidate: &Candidate<'_>, dry_run| {
        let taken = take_over(&dir, directory, &candidate.account, dry_run);
        let taken = taken.map_err(|error| AdoptError(error.to_string()))?;
        let issuer = issuer.to_owned();
        Ok(match taken {
            TakenOver::Stored => {
                AdoptedAccount::Stored { issuer, url: candidate.account.url().map(str::to_owned) }
            }
            TakenOver::Same => AdoptedAccount::Same(issuer),
            TakenOver::Kept(what) => AdoptedAccount::Kept { issuer, what },
        })
    };
    // Where the issuer has an account there is nothing to choose.
    let seen: Vec<_> = candidates.iter().map(|candidate| take(candidate, true)).collect();
    if !seen.iter().all(|seen| matches!(seen, Ok(AdoptedAccount::Stored { .. }))) {
        return candidates.iter().map(|candidate| candidate.index).zip(seen).collect();
    }
    let chosen = match choose(candidates, choice) {
        Ok(chosen) => chosen,
        Err(error) => {
            let error = |candidate: &Candidate<'_>| (candidate.index, Err(AdoptError(error.0.clone())));
            return candidates.iter().map(error).collect();
        }
    };
    let one = |candidate: &Candidate<'_>| {
        let other = || AdoptedAccount::PassedOver { other: chosen.found.name.clone() };
        let result = if candidate.index == chosen.index { take(candidate, dry_run) } else { Ok(other()) };
        (candidate.index, result)
    };
    candidates.iter().map(one).collect()
}

/// The one that was named, else the one that is registered and used most.
fn choose<'a, 'b>(
    candidates: &'b [Candidate<'a>],
    choice: Choice<'_>,
) -> Result<&'b Candidate<'a>, AdoptError> {
    let named: Vec<_> =
        candidates.iter().filter(|candidate| choice.account == Some(candidate.found.name.as_str())).collect();
    let among = if named.is_empty() { candidates.iter().collect() } else { named };
    let rank = |candidate: &Candidate<'_>| (candidate.account.url().is_some(), candidate.found.uses);
    let best = among.iter().map(|candidate| rank(candidate)).max();
    let best: Vec<_> = among.into_iter().filter(|candidate| Some(rank(candidate)) == best).collect();
    match best[..] {
        [only] => Ok(only),
        _ => {
            let names: Vec<_> = best.iter().map(|candidate| candidate.found.name.as_str()).collect();
            Err(AdoptError(format!(
                "there are several accounts with this CA, an issuer has one: name it with --account ({})",
                names.join(", ")
            )))
        }
    }
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
