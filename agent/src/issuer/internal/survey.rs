//! What there is of an embedded CA, looked at without making anything.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::authority::{Authority, Files};
use super::identity::AuthorityId;
use super::roots::{is_intermediate, load_rotation, newest};
use super::rotation::BEGINS_BEFORE_END;
use crate::issuer::IssueError;
use crate::store::StoreError;

/// A new root is made this long before the end of the one that issues.
pub(crate) const NOTICE: SignedDuration = BEGINS_BEFORE_END;

/// The CA in a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Survey {
    /// When the root that issues ends.
    pub(crate) root_ends: Timestamp,
    /// When the newest intermediate ends; `None` if the next start makes one.
    pub(crate) intermediate_ends: Option<Timestamp>,
}

/// The CA in `dir`; `None` if the next start makes it.
///
/// # Errors
/// Files that are damaged, do not fit each other, or may be read by others.
pub(crate) fn survey(dir: &Path) -> Result<Option<Survey>, IssueError> {
    if !dir.exists() {
        return Ok(None);
    }
    let number = newest(dir, is_intermediate)?;
    let files = Files::new(dir, AuthorityId::Root(load_rotation(dir)?.issuing()));
    let Some(root) = Authority::load(&files)? else {
        if number == 0 {
            return Ok(None);
        }
        let detail = "it is missing, but there are intermediates of it; restore it from a backup";
        return Err(StoreError::damaged(&files.certificate, detail).into());
    };
    let intermediate =
        if number > 0 { Authority::load(&Files::new(dir, AuthorityId::Intermediate(number)))? } else { None };
    Ok(Some(Survey {
        root_ends: root.not_after(),
        intermediate_ends: intermediate.map(|intermediate| intermediate.not_after()),
    }))
}
