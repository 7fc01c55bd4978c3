//! The record of decisions about security: who was refused what, and why.

use std::net::IpAddr;

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// In snake case: `origin_refused`, `token_refused`, `limit_reached`, `disconnected` and the like.
    pub(crate) what: &'static str,
    /// Whom it was about.
    pub(crate) address: Option<IpAddr>,
    /// Id of the session, once there is one.
    pub(crate) session: Option<String>,
    /// `sub` of its token.
    pub(crate) user: Option<String>,
    /// Name of the tenant; `None`: that of everybody.
    pub(crate) tenant: Option<String>,
    /// In words, for people; never a token.
    pub(crate) detail: String,
}

/// Where decisions are told.
#[derive(Debug, Default)]
pub(crate) struct Audit {}

impl Audit {
    /// Tells one.
    pub(crate) fn record(&self, entry: &Entry) {
        let Entry { what, address, session, user, tenant, detail } = entry;
        tracing::info!(
            target: "audit",
            what,
            address = address.map(tracing::field::display),
            session,
            user,
            tenant,
            detail,
            "refused"
        );
    }
}
