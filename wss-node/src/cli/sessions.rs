//! `wss-node sessions` and `wss-node disconnect`

use jiff::Timestamp;
use sealwire_proto::sessions::args::{Disconnect, Sessions};
use sealwire_proto::sessions::{self, Listing};

use super::admin::{Client, failure, question};
use super::table::table;

/// Asks the node for its sessions; gives what to print.
pub(super) async fn show(arguments: Sessions, mut client: Client) -> Result<String, String> {
    let (filter, limit, json) = arguments.into_parts();
    let listing = sessions::list(&mut client, &filter, limit, question).await;
    let listing = listing.map_err(|status| failure(&status))?;
    Ok(if json { format!("{:#}\n", listing.json()) } else { as_text(&listing, Timestamp::now()) })
}

fn as_text(listing: &Listing, now: Timestamp) -> String {
    if listing.sessions.is_empty() {
        return "no sessions\n".to_owned();
    }
    table(&Listing::HEAD, &listing.rows(now.as_millisecond())) + &listing.rest()
}

/// Tells the node to close some; gives what to print.
pub(super) async fn close(arguments: Disconnect, mut client: Client) -> Result<String, String> {
    let reply = client.disconnect(question(arguments.into_request())).await;
    let reply = reply.map_err(|status| failure(&status))?.into_inner();
    Ok(format!("{} sessions told to close\n", reply.disconnected))
}
