//! The condition of a publication in JSON, for sessions and for applications: `{"epoch": …, "offset": …}`, `"absent"` or
//! `"present"`. Pure.

use serde::{Deserialize, Serialize};

use crate::broker::position::{Epoch, Position};
use crate::broker::publication::Expect;

/// As it is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Form {
    Word(Word),
    Position { offset: u64, epoch: String },
}

/// Without a position.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Word {
    Absent,
    Present,
}

impl From<Form> for Expect {
    fn from(form: Form) -> Self {
        match form {
            Form::Word(Word::Absent) => Self::Absent,
            Form::Word(Word::Present) => Self::Present,
            Form::Position { offset, epoch } => {
                Self::Position(Position { epoch: Epoch::named(&epoch), offset })
            }
        }
    }
}
