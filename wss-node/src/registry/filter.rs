//! Which sessions are meant. Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use sealwire_proto::v1;

use super::{Entry, SessionId};

/// Sessions that are meant: all that is set must match, and without anything set it is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    session: Option<SessionId>,
    user: Option<String>,
    network: Option<IpNet>,
    tenant: Option<String>,
}

impl Filter {
    /// From the wire, where empty means not set.
    ///
    /// # Errors
    /// What cannot be read, for people.
    pub(crate) fn from_wire(wire: &v1::SessionFilter) -> Result<Self, String> {
        let set = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let session = set(&wire.session).map(|id| id.parse().map_err(|error| format!("{id}: {error}")));
        let network = set(&wire.address).map(|text| {
            let address = || text.parse().map(|address: IpAddr| address.to_canonical().into());
            text.parse::<IpNet>()
                .or_else(|_| address())
                .map_err(|_| format!("{text}: expected an address, or a network such as 192.0.2.0/24"))
        });
        Ok(Self {
            session: session.transpose()?,
            user: set(&wire.user),
            network: network.transpose()?,
            tenant: set(&wire.tenant),
        })
    }

    /// Whether it means all sessions.
    pub(crate) fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it means this one.
    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        self.session.is_none_or(|id| id == entry.id)
            && self.network.is_none_or(|network| network.contains(&entry.address))
            && self.tenant.as_ref().is_none_or(|tenant| entry.tenant.name.as_ref() == Some(tenant))
            && self.user.as_ref().is_none_or(|user| *user == entry.identity().user)
    }
}
