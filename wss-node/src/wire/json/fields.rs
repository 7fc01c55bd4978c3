//! How fields are written and read: `build.rs` names these functions for the fields of the messages.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Fields that are not set are not written.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `null` is the same as nothing, as for the Go library's decoder.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A message within a message, or `null`.
pub(crate) fn object<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|Object(message)| message))
}

/// Several messages, or `null`.
pub(crate) fn objects<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let messages: Vec<Object<T>> = nullable(deserializer)?;
    Ok(messages.into_iter().map(|Object(message)| message).collect())
}

/// Messages by name, or `null`.
pub(crate) fn object_map<'de, D, T>(deserializer: D) -> Result<BTreeMap<String, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let messages: BTreeMap<String, Object<T>> = nullable(deserializer)?;
    Ok(messages.into_iter().map(|(name, Object(message))| (name, message)).collect())
}

/// A message that is an object: serde by itself takes an array of the fields for one, too.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Whole<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Whole(PhantomData))
    }
}

/// Payloads: any JSON, passed on to the letter.
pub(crate) mod raw {
    use bytes::Bytes;
    use serde::ser::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::value::RawValue;

    pub(crate) fn serialize<S: Serializer>(data: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        let value = super::super::raw(data).ok_or_else(|| S::Error::custom("not JSON"))?;
        if !value.get().contains('\n') {
            return value.serialize(serializer);
        }
        // A line feed would end the message. In JSON it stands between tokens only, where it means nothing.
        let line = value.get().replace('\n', "");
        RawValue::from_string(line).map_err(S::Error::custom)?.serialize(serializer)
    }

    /// `null` is JSON like any other.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let value: Box<str> = Box::<RawValue>::deserialize(deserializer)?.into();
        Ok(value.into_boxed_bytes().into())
    }
}
