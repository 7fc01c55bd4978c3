//! A real HAProxy in front of nodes: it passes TLS on, and only to those that say they are ready.

use std::fmt::Write;
use std::net::SocketAddr;
use std::process::Command;

use crate::process::Process;
use crate::tools;
use crate::world::World;

/// Starts it in front of the nodes whose ports are moved by these offsets; gives back where it listens. `None` if it is not
/// installed (never in CI).
#[must_use]
pub fn start(world: &World, offsets: &[u16]) -> Option<(Process, SocketAddr)> {
    let program = tools::find("haproxy")?;
    let address = world.address;
    let public = SocketAddr::from((address, 9443));
    let mut text = format!(
        "defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 60s\n  timeout server 60s\n\
         frontend public\n  bind {public}\n  default_backend nodes\n\
         backend nodes\n  balance leastconn\n  option redispatch\n  retries 2\n\
         option httpchk GET /readyz\n  http-check expect status 200\n\
         default-server check inter 200ms fall 1 rise 1\n"
    );
    for offset in offsets {
        let (port, admin) = (8443 + offset, 9090 + offset);
        let _ = writeln!(text, "  server node-{} {address}:{port} port {admin}", offset + 1);
    }
    let file = world.write("haproxy.cfg", &text);
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(file);
    Some((Process::start("haproxy", &mut command), public))
}
