//! The condition of a publication: a message by gRPC, and in JSON as in the RPC of sessions.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::fault::Fault;
use super::v1::{self, StreamPosition};
use crate::broker::position::{Epoch, Position};
use crate::broker::publication::Expect;
use crate::expect::{Form, Word};

impl Serialize for v1::Expect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self { absent: true, .. } => Form::Word(Word::Absent),
            Self { present: true, .. } => Form::Word(Word::Present),
            Self { position, .. } => {
                let StreamPosition { offset, epoch } = position.clone().unwrap_or_default();
                Form::Position { offset, epoch }
            }
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for v1::Expect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Form::deserialize(deserializer)? {
            Form::Word(Word::Absent) => Self { absent: true, ..Self::default() },
            Form::Word(Word::Present) => Self { present: true, ..Self::default() },
            Form::Position { offset, epoch } => {
                Self { position: Some(StreamPosition { offset, epoch }), ..Self::default() }
            }
        })
    }
}

/// As brokers take it.
pub(super) fn read(expect: Option<v1::Expect>) -> Result<Expect, Fault> {
    let Some(v1::Expect { position, absent, present }) = expect else { return Ok(Expect::Any) };
    match (position, absent, present) {
        (Some(position), false, false) => Ok(Expect::Position(self::position(&position))),
        (None, true, false) => Ok(Expect::Absent),
        (None, false, true) => Ok(Expect::Present),
        _ => Err(Fault::bad("expect: expected a position, or absent, or present")),
    }
}

/// A position, as askers send it back.
pub(super) fn position(position: &StreamPosition) -> Position {
    Position { epoch: Epoch::named(&position.epoch), offset: position.offset }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let at = v1::Expect {
            position: Some(StreamPosition { offset: 3, epoch: "e".to_owned() }),
            ..v1::Expect::default()
        };
        let absent = v1::Expect { absent: true, ..v1::Expect::default() };
        let present = v1::Expect { present: true, ..v1::Expect::default() };
        for (text, expect, means) in [
            (
                r#"{"offset":3,"epoch":"e"}"#,
                at.clone(),
                Expect::Position(Position { epoch: Epoch::named("e"), offset: 3 }),
            ),
            (r#""absent""#, absent, Expect::Absent),
            (r#""present""#, present, Expect::Present),
        ] {
            assert_eq!(serde_json::from_str::<v1::Expect>(text).unwrap(), expect, "{text}");
            assert_eq!(serde_json::to_string(&expect).unwrap(), text);
            assert_eq!(read(Some(expect)), Ok(means), "{text}");
        }
        assert_eq!(read(None), Ok(Expect::Any));
        assert!(serde_json::from_str::<v1::Expect>("\"never\"").is_err());
        assert!(read(Some(v1::Expect { absent: true, ..at })).is_err());
        assert!(read(Some(v1::Expect::default())).is_err());
    }
}
