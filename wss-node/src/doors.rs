//! The listeners of one node: where their sockets come from, and when they open.

use std::sync::Arc;

use sealwire_systemd::Sockets;
use tokio_util::task::TaskTracker;

use crate::certs::prove::{OwnListener, dialable};
use crate::config::{Config, ProxyProtocol};
use crate::listener::{self, Bound, Door, HandOver};
use crate::service::{Node, RunError};

/// `FileDescriptorName=` of the socket in place of `listen.address`.
const LISTEN: &str = "listen";
/// The same for `plain.address`.
const PLAIN: &str = "plain";
/// All that can be handed over; a socket without a name is the first.
pub(crate) const SOCKETS: [&str; 2] = [LISTEN, PLAIN];

/// Ports that are taken, and not open yet.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(crate) tls: Bound,
    pub(crate) plain: Option<Bound>,
}

impl Doors {
    /// Takes the ports, or what was handed over in their place.
    pub(crate) fn bind(config: &Config, sockets: &Sockets) -> Result<Self, RunError> {
        let (listen, plain) = (sockets.tcp(LISTEN)?, sockets.tcp(PLAIN)?);
        if plain.is_some() && config.plain.is_none() {
            return Err(RunError::Activation("there is a socket \"plain\", but no [plain]".to_owned()));
        }
        let bind = |given: Option<std::net::TcpListener>, key, address| {
            let bound = match given {
                Some(socket) => Bound::given(socket),
                None => Bound::bind(address, config.listen.reuse_port),
            };
            bound.map_err(|source| RunError::Listen { key, address, source })
        };
        let plain = config.plain.as_ref().map(|config| bind(plain, "plain.address", config.address));
        Ok(Self { tls: bind(listen, "listen.address", config.listen.address)?, plain: plain.transpose()? })
    }

    /// Where the node proves what it serves.
    pub(crate) fn own_listener(&self, config: &Config) -> OwnListener {
        let proxied = config.listen.proxy_protocol == ProxyProtocol::Required;
        OwnListener { address: dialable(self.tls.address), proxied }
    }

    /// Lets clients in until the node has stopped; the tasks that do go to `accepting`, and those that serve them to
    /// `connections`.
    pub(crate) fn open(
        self,
        node: &Arc<Node>,
        accepting: &TaskTracker,
        connections: &TaskTracker,
    ) -> Result<(), RunError> {
        let Self { tls, plain } = self;
        let open = |bound, key, door| open(bound, key, door, node, accepting, connections);
        let door = Door { tls: true, proxy_protocol: node.config.listen.proxy_protocol };
        open(tls, "listen.address", door)?;
        if let (Some(bound), Some(config)) = (plain, &node.config.plain) {
            let door = Door { tls: false, proxy_protocol: config.proxy_protocol };
            open(bound, "plain.address", door)?;
        }
        Ok(())
    }
}

fn open(
    bound: Bound,
    key: &'static str,
    door: Door,
    node: &Arc<Node>,
    accepting: &TaskTracker,
    connections: &TaskTracker,
) -> Result<(), RunError> {
    let address = bound.address;
    let hand_over = match (bound.is_given, node.config.listen.reuse_port) {
        (true, _) => HandOver::SharedQueue,
        (false, true) => HandOver::ReusedPort,
        (false, false) => HandOver::Nobody,
    };
    let listener = bound.listen().map_err(|source| RunError::Listen { key, address, source })?;
    accepting.spawn(listener::serve(listener, door, hand_over, Arc::clone(node), connections.clone()));
    Ok(())
}
