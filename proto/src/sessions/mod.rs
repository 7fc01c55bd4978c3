//! Sessions of a node as operators see them: asked for over its admin socket, page by page, and shown as a table or as
//! JSON. `wss-node sessions` and `sealwire node sessions` are the same.

#[cfg(feature = "cli")]
pub mod args;

use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::v1::node_admin_service_client::NodeAdminServiceClient;
use crate::v1::{Session, SessionFilter, SessionState, SessionsRequest};

/// What the node answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// The oldest first.
    pub sessions: Vec<Session>,
    /// All that match, shown or not.
    pub total: u64,
}

/// Asks for at most `limit` sessions, in as many pages as it takes; `question` puts a time limit on each.
///
/// # Errors
/// What the node or the transport said.
pub async fn list(
    client: &mut NodeAdminServiceClient<Channel>,
    filter: &SessionFilter,
    limit: u32,
    question: fn(SessionsRequest) -> Request<SessionsRequest>,
) -> Result<Listing, Status> {
    let mut listing = Listing::default();
    let mut after = String::new();
    loop {
        let left = limit.saturating_sub(u32::try_from(listing.sessions.len()).unwrap_or(u32::MAX));
        if left == 0 {
            return Ok(listing);
        }
        let request = SessionsRequest { filter: Some(filter.clone()), limit: left, after };
        let page = client.sessions(question(request)).await?.into_inner();
        listing.sessions.extend(page.sessions);
        listing.total = page.total;
        if page.next.is_empty() {
            return Ok(listing);
        }
        after = page.next;
    }
}

impl Listing {
    /// The heads of the columns of [`Listing::rows`].
    pub const HEAD: [&str; 12] = [
        "SESSION", "USER", "TENANT", "STATE", "ADDRESS", "OPEN", "HEARD", "SYNCED", "CHANNELS", "IN", "OUT",
        "QUEUED",
    ];

    /// A row for each session. Times are how long ago it was, at `now_ms` since the Unix epoch.
    #[must_use]
    pub fn rows(&self, now_ms: i64) -> Vec<Vec<String>> {
        let ago = |at_ms: i64| if at_ms == 0 { shown("") } else { span((now_ms - at_ms).max(0) / 1000) };
        let row = |session: &Session| {
            vec![
                session.id.clone(),
                shown(&session.user),
                shown(&session.tenant),
                state(session).to_owned(),
                session.address.clone(),
                ago(session.opened_ms),
                ago(session.heard_ms),
                ago(session.synced_ms),
                session.subscriptions.to_string(),
                session.messages_in.to_string(),
                session.messages_out.to_string(),
                session.queued_bytes.to_string(),
            ]
        };
        self.sessions.iter().map(row).collect()
    }

    /// For programs; times are milliseconds since the Unix epoch, and what is not known is null.
    #[must_use]
    pub fn json(&self) -> Value {
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        let time = |at_ms: i64| (at_ms != 0).then_some(at_ms);
        let session = |session: &Session| {
            json!({
                "session": session.id,
                "user": text(&session.user),
                "tenant": text(&session.tenant),
                "state": state(session),
                "address": session.address,
                "peer": session.peer,
                "opened_ms": session.opened_ms,
                "heard_ms": time(session.heard_ms),
                "synced_ms": time(session.synced_ms),
                "expires_ms": time(session.expires_ms),
                "subscriptions": session.subscriptions,
                "messages_in": session.messages_in,
                "messages_out": session.messages_out,
                "bytes_in": session.bytes_in,
                "bytes_out": session.bytes_out,
                "queued_bytes": session.queued_bytes,
                "cipher_suite": text(&session.cipher_suite),
                "client": text(&session.client_name),
            })
        };
        json!({ "total": self.total, "sessions": self.sessions.iter().map(session).collect::<Vec<_>>() })
    }

    /// What is not shown, in words; nothing if all is.
    #[must_use]
    pub fn rest(&self) -> String {
        match self.total.saturating_sub(self.sessions.len() as u64) {
            0 => String::new(),
            left => format!("{left} more; --limit shows them\n"),
        }
    }
}

fn state(session: &Session) -> &'static str {
    match session.state() {
        SessionState::Connecting => "connecting",
        SessionState::Connected => "connected",
        SessionState::Closing => "closing",
        SessionState::Unspecified => "unknown",
    }
}

/// What others wrote, so that it moves no cursor. Nothing is `-`.
fn shown(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    let escaped = |character: char| {
        if character.is_control() { character.escape_default().to_string() } else { character.to_string() }
    };
    text.chars().map(escaped).collect()
}

/// Seconds in the two units that matter.
fn span(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing() -> Listing {
        let session = Session {
            id: "s".to_owned(),
            user: "ada\u{1b}[2J".to_owned(),
            state: SessionState::Connected.into(),
            address: "192.0.2.1".to_owned(),
            opened_ms: 1_000,
            heard_ms: 61_000,
            subscriptions: 2,
            ..Session::default()
        };
        Listing { sessions: vec![session], total: 3 }
    }

    #[test]
    fn rows_for_people() {
        let rows = listing().rows(66_000);
        let shown =
            ["s", "ada\\u{1b}[2J", "-", "connected", "192.0.2.1", "1m 5s", "5s", "-", "2", "0", "0", "0"];
        assert_eq!((rows.len(), rows[0].len()), (1, Listing::HEAD.len()));
        assert_eq!(rows[0], shown);
        assert_eq!(listing().rest(), "2 more; --limit shows them\n");
        assert_eq!([span(59), span(3661), span(90_000)], ["59s", "1h 1m", "1d 1h"]);
    }

    #[test]
    fn json_for_programs() {
        let shown = listing().json();
        assert_eq!(shown["total"], 3);
        assert_eq!(shown["sessions"][0]["user"], "ada\u{1b}[2J");
        assert!(shown["sessions"][0]["synced_ms"].is_null() && shown["sessions"][0]["tenant"].is_null());
    }
}
