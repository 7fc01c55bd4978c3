//! Whether the world can see a TXT record: every server of the zone is asked directly, so that no cache is in
//! between; where the zone's servers cannot be found or reached, a recursive server must do.

use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::rr::Name;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::lookup::Resolver;

/// Zones are transferred within seconds; clouds take up to a minute.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What one look saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Seen {
    /// It is there.
    Yes,
    /// Who does not have it.
    No(String),
    /// Nobody could be asked.
    Unknown(String),
}

/// Looks once for a record at `name` that `wanted` accepts.
pub(in super::super) async fn look(
    resolver: &Resolver,
    name: &Name,
    wanted: &(dyn Fn(&str) -> bool + Sync),
) -> Seen {
    let authorities = resolver.authorities(name).await.unwrap_or_default();
    let mut missing = Vec::new();
    let mut answered = 0;
    // At the same time: one that is dead takes seconds.
    let texts = join_all(authorities.iter().map(|authority| authority.txt(name))).await;
    for (authority, texts) in authorities.iter().zip(texts) {
        match texts {
            Ok(texts) => {
                answered += 1;
                if !texts.iter().any(|text| wanted(text)) {
                    missing.push(authority.name.to_string());
                }
            }
            Err(error) => missing.push(format!("{} ({error})", authority.name)),
        }
    }
    if answered == 0 {
        return match resolver.txt(name).await {
            Ok(texts) if texts.iter().any(|text| wanted(text)) => Seen::Yes,
            Ok(_) => Seen::No("the recursive DNS servers do not have it".to_owned()),
            Err(error) => Seen::Unknown(error.to_string()),
        };
    }
    if missing.is_empty() { Seen::Yes } else { Seen::No(format!("not on {}", missing.join(", "))) }
}

/// Looks until the record is there.
///
/// # Errors
/// What was missing at the last look before `until`.
pub(in super::super) async fn wait(
    resolver: &Resolver,
    name: &Name,
    wanted: &(dyn Fn(&str) -> bool + Sync),
    until: Instant,
) -> Result<(), String> {
    let mut pause = FIRST_PAUSE;
    let mut last = "no DNS server answered in time".to_owned();
    loop {
        match timeout_at(until, look(resolver, name, wanted)).await {
            Ok(Seen::Yes) => return Ok(()),
            Ok(Seen::No(why) | Seen::Unknown(why)) => last = why,
            Err(_) => return Err(last),
        }
        if Instant::now() + pause >= until {
            return Err(last);
        }
        sleep_until(Instant::now() + pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
