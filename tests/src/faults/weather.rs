//! What is done to the bytes of a connection.

use std::time::Duration;

use tokio::sync::watch;

/// What happens to bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// They go through.
    #[default]
    Free,
    /// They wait, and go through when they may again; the sender feels it when the buffers are full.
    Held,
    /// They are taken and never seen again, while the connection looks open to both sides. Nothing that is sent later
    /// makes it whole: it is for connections that are to be ended.
    Swallowed,
}

/// What happens on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// For each chunk, in each direction.
    pub latency: Duration,
    /// In each direction; `None` is no limit, and less than 1 is 1.
    pub bytes_per_second: Option<u32>,
    /// From the node to the client.
    pub to_client: Flow,
    /// From the client to the node.
    pub to_server: Flow,
}

impl Weather {
    /// Both directions as one.
    #[must_use]
    pub fn both(flow: Flow) -> Self {
        Self { to_client: flow, to_server: flow, ..Self::default() }
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ToClient,
    ToServer,
}

impl Way {
    pub(super) fn flow(self, weather: Weather) -> Flow {
        match self {
            Self::ToClient => weather.to_client,
            Self::ToServer => weather.to_server,
        }
    }
}

/// The weather of one connection: its own, or else that of all.
#[derive(Clone, Debug)]
pub(super) struct Sky {
    pub(super) all: watch::Receiver<Weather>,
    pub(super) own: watch::Receiver<Option<Weather>>,
}

impl Sky {
    pub(super) fn now(&self) -> Weather {
        self.own.borrow().unwrap_or_else(|| *self.all.borrow())
    }

    /// Waits until bytes of this direction do not have to wait, and says what becomes of them.
    pub(super) async fn released(&mut self, way: Way) -> Flow {
        loop {
            // Before it is looked at: what changes in between is seen.
            self.all.mark_unchanged();
            self.own.mark_unchanged();
            match way.flow(self.now()) {
                Flow::Held => {}
                flow => return flow,
            }
            // An error says that the proxy goes: the task ends with it.
            let (all, own) = (self.all.changed(), self.own.changed());
            tokio::select! { Ok(()) = all => {} Ok(()) = own => {} else => std::future::pending().await }
        }
    }
}
