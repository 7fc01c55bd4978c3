//! Publications for subscribers that agreed on deltas (`delta: "fossil"`).
//!
//! With the JSON framing, data then are strings, whole or not, so that a client has the very bytes that the next delta
//! is about: it parses the string of a whole publication, and what a delta made of it. With Protobuf they are bytes as
//! ever.

use std::collections::HashMap;

use bytes::Bytes;

use super::json::is_json;
use super::v1::Publication;
use super::{Framing, NotJson, fossil};

/// What is before a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The publication before in the channel: stream and value.
    Stream,
    /// The publication before of the same key.
    Map,
}

/// Puts what a subscriber missed into the form that it is given in: the first of the channel, or of each key, whole,
/// the others as deltas where those are smaller. The next live publication may be a delta from the last of these.
///
/// # Errors
/// The framing is JSON and the data of one are not.
pub fn catch_up(framing: Framing, kind: Kind, publications: &mut [Publication]) -> Result<(), NotJson> {
    let mut before: HashMap<String, Bytes> = HashMap::new();
    for publication in publications {
        let key = if kind == Kind::Map { publication.key.clone() } else { String::new() };
        if publication.removed {
            before.remove(&key);
            continue;
        }
        let data = publication.data.clone();
        // A delta of something that is not JSON would be noticed by the client only.
        if framing == Framing::Json && !is_json(&data) {
            return Err(NotJson);
        }
        if let Some(difference) = before.get(&key).and_then(|base| fossil::create(base, &data)) {
            *publication = with_delta(publication, difference.into());
        }
        *publication = in_form(framing, std::mem::take(publication))?;
        before.insert(key, data);
    }
    Ok(())
}

/// Puts publications into their form without any delta: pages of a map's state.
///
/// # Errors
/// As [`catch_up`].
pub fn whole(framing: Framing, publications: &mut [Publication]) -> Result<(), NotJson> {
    for publication in publications {
        *publication = in_form(framing, std::mem::take(publication))?;
    }
    Ok(())
}

/// The publication with a delta for its data.
pub(super) fn with_delta(publication: &Publication, difference: Bytes) -> Publication {
    Publication { data: difference, delta: true, ..publication.clone() }
}

/// With the JSON framing: a string for the data. Nothing (of a removed key) stays nothing.
pub(super) fn in_form(framing: Framing, publication: Publication) -> Result<Publication, NotJson> {
    if framing == Framing::Protobuf || publication.data.is_empty() {
        return Ok(publication);
    }
    if !publication.delta && !is_json(&publication.data) {
        return Err(NotJson);
    }
    let text = std::str::from_utf8(&publication.data).map_err(|_| NotJson)?;
    let string = serde_json::to_vec(text).map_err(|_| NotJson)?;
    Ok(Publication { data: string.into(), ..publication })
}
