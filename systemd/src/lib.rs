//! What agent and node say to a service manager and what they take from it: `sd_notify(3)` and `sd_listen_fds(3)`. Without
//! one (no `NOTIFY_SOCKET`, no `LISTEN_FDS`) nothing is said and nothing is taken.

mod life;
mod notify;
mod sockets;

pub use life::{Life, watch};
pub use notify::{Notifier, NotifyError};
pub use sockets::{SocketError, Sockets};
