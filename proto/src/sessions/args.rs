//! The arguments of `sessions` and `disconnect`, which two command lines have.

use clap::Args;

use crate::v1::{DisconnectRequest, SessionFilter};

/// Which sessions; all that is given must match.
#[derive(Debug, Args)]
pub struct Which {
    /// The session of this id.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Sessions of this user.
    #[arg(long)]
    user: Option<String>,
    /// Sessions of this address, or of a network such as 192.0.2.0/24.
    #[arg(long, value_name = "IP")]
    address: Option<String>,
    /// Sessions of this tenant.
    #[arg(long)]
    tenant: Option<String>,
}

impl Which {
    fn filter(self) -> SessionFilter {
        let Self { session, user, address, tenant } = self;
        SessionFilter {
            session: session.unwrap_or_default(),
            user: user.unwrap_or_default(),
            address: address.unwrap_or_default(),
            tenant: tenant.unwrap_or_default(),
        }
    }
}

/// Which sessions are shown, and how.
#[derive(Debug, Args)]
pub struct Sessions {
    #[command(flatten)]
    which: Which,
    /// At most so many, the oldest.
    #[arg(long, default_value_t = 1000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// As JSON, for programs.
    #[arg(long)]
    json: bool,
}

impl Sessions {
    /// Which, how many at most, and whether as JSON.
    #[must_use]
    pub fn into_parts(self) -> (SessionFilter, u32, bool) {
        (self.which.filter(), self.limit, self.json)
    }
}

/// Which sessions are closed, and how.
#[derive(Debug, Args)]
pub struct Disconnect {
    #[command(flatten)]
    which: Which,
    /// All sessions of the node.
    #[arg(long, conflicts_with_all = ["session", "user", "address", "tenant"])]
    all: bool,
    /// The close code: after 3000 to 3499 and 4000 to 4499 the SDKs of Centrifuge come back, after 3500 to 3999 and 4500
    /// to 4999 they do not.
    #[arg(long, default_value_t = 3000)]
    code: u32,
    /// Told to the clients.
    #[arg(long, default_value = "")]
    reason: String,
}

impl Disconnect {
    /// As the node is told.
    #[must_use]
    pub fn into_request(self) -> DisconnectRequest {
        let Self { which, all, code, reason } = self;
        DisconnectRequest { filter: Some(which.filter()), code, reason, all }
    }
}
