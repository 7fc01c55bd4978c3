//! The three messages that hold one of several bodies, each under a key of its own.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::fields::{Object, is_default};
use crate::wire::v1::{Command, Push, Reply, command, push, reply};

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

macro_rules! envelope {
    ($message:ident { $($plain:ident),+ } $one:ident: $module:ident::$name:ident { $($key:literal: $variant:ident),+ $(,)? }) => {
        impl Serialize for $message {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(None)?;
                $(if !is_default(&self.$plain) {
                    map.serialize_entry(stringify!($plain), &self.$plain)?;
                })+
                match &self.$one {
                    $(Some($module::$name::$variant(body)) => map.serialize_entry($key, body)?,)+
                    None => {}
                }
                map.end()
            }
        }

        impl<'de> Deserialize<'de> for $message {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Whole;

                impl<'de> Visitor<'de> for Whole {
                    type Value = $message;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut message = $message::default();
                        while let Some(Key(key)) = map.next_key()? {
                            match &*key {
                                $(stringify!($plain) => {
                                    message.$plain = map.next_value::<Option<_>>()?.unwrap_or_default();
                                })+
                                $($key => {
                                    let Some(Object(body)) = map.next_value::<Option<_>>()? else { continue };
                                    if message.$one.replace($module::$name::$variant(body)).is_some() {
                                        return Err(A::Error::custom("two bodies in one message"));
                                    }
                                })+
                                _ => {
                                    map.next_value::<IgnoredAny>()?;
                                }
                            }
                        }
                        Ok(message)
                    }
                }

                deserializer.deserialize_map(Whole)
            }
        }
    };
}

envelope!(Command { id } request: command::Request {
    "connect": Connect, "subscribe": Subscribe, "unsubscribe": Unsubscribe, "publish": Publish,
    "presence": Presence, "presence_stats": PresenceStats, "history": History, "ping": Ping, "send": Send,
    "rpc": Rpc, "refresh": Refresh, "sub_refresh": SubRefresh,
});

envelope!(Reply { id } answer: reply::Answer {
    "error": Error, "push": Push, "connect": Connect, "subscribe": Subscribe, "unsubscribe": Unsubscribe,
    "publish": Publish, "presence": Presence, "presence_stats": PresenceStats, "history": History, "ping": Ping,
    "rpc": Rpc, "refresh": Refresh, "sub_refresh": SubRefresh,
});

envelope!(Push { id, channel } event: push::Event {
    "pub": Pub, "join": Join, "leave": Leave, "unsubscribe": Unsubscribe, "message": Message,
    "subscribe": Subscribe, "connect": Connect, "disconnect": Disconnect, "refresh": Refresh,
});
