//! Who the client says it is.

use crate::auth::Grant;
use crate::service::Node;
use crate::tenant::Tenant;

use super::head::Head;
use super::refusal::Refusal;

/// What the token of a request grants; `None`: it has none, and none is needed before `connect`.
pub(super) async fn grant(
    _node: &Node,
    _head: &Head<'_>,
    _tenant: &Tenant,
) -> Result<Option<Grant>, Refusal> {
    Ok(None)
}
