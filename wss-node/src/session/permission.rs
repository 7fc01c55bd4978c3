//! Which channels a client may use, and for what: its grant and the namespace both have a say.

use crate::auth::{Action, Grant};
use crate::channels::Channel;
use crate::service::Node;
use crate::tenant::Tenant;
use crate::wire::ReplyError;

/// A channel that is not another tenant's.
pub(super) fn known(node: &Node, tenant: &Tenant, called: &str) -> Result<Channel, ReplyError> {
    let full = tenant.channel(called).ok_or(ReplyError::PERMISSION_DENIED)?;
    node.channels.called(called, full).ok_or(ReplyError::UNKNOWN_CHANNEL)
}

/// A channel on which a client may do this. `grant`: of its token, if it has one.
pub(super) fn allowed(
    node: &Node,
    tenant: &Tenant,
    grant: Option<&Grant>,
    action: Action,
    called: &str,
) -> Result<Channel, ReplyError> {
    let may = grant.is_none_or(|grant| grant.allows(action, called));
    let user = grant.map_or("", |grant| &grant.user);
    let channel = known(node, tenant, called)?;
    if may && channel.namespace.allows(action, called, user) {
        Ok(channel)
    } else {
        Err(ReplyError::PERMISSION_DENIED)
    }
}
