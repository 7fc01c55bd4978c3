//! Sockets that come from outside, as systemd hands them over (`sd_listen_fds(3)`): they stay open while one process
//! goes and the next one comes, so nobody is refused in between.

use std::net::TcpListener;

use listenfd::ListenFd;

/// Sockets that were handed over, by what they are for.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) listen: Option<TcpListener>,
    pub(crate) plain: Option<TcpListener>,
}

/// Takes what was handed over. Call once.
///
/// # Errors
/// Something was, and it is not clear what for.
pub(crate) fn take() -> Result<Given, String> {
    let mut sockets = ListenFd::from_env();
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let uses = uses(sockets.len(), &names)?;
    let mut given = Given::default();
    for (position, usage) in uses.into_iter().enumerate() {
        let socket = sockets.take_tcp_listener(position);
        let socket = socket.map_err(|error| format!("socket {position} ({usage:?}): {error}"))?;
        match usage {
            Use::Listen => given.listen = socket,
            Use::Plain => given.plain = socket,
        }
    }
    Ok(given)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Listen,
    Plain,
}

/// What so many sockets are for, by their names.
fn uses(count: usize, names: &str) -> Result<Vec<Use>, String> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if count == 1 && names.is_empty() {
        return Ok(vec![Use::Listen]);
    }
    let uses: Result<Vec<_>, _> = names
        .split(':')
        .map(|name| match name {
            "listen" => Ok(Use::Listen),
            "plain" => Ok(Use::Plain),
            other => Err(format!("\"{other}\" is no name of a listener here")),
        })
        .collect();
    let uses = uses?;
    let twice =
        [Use::Listen, Use::Plain].iter().any(|one| uses.iter().filter(|other| *other == one).count() > 1);
    if uses.len() != count || twice {
        return Err(format!("{count} sockets, of which \"{names}\" are the names: each needs its own"));
    }
    Ok(uses)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_known_by_their_names() {
        assert_eq!(uses(0, "").unwrap(), []);
        assert_eq!(uses(1, "").unwrap(), [Use::Listen]);
        assert_eq!(uses(2, "plain:listen").unwrap(), [Use::Plain, Use::Listen]);
        for (count, names) in [(2, ""), (2, "listen"), (2, "listen:listen"), (1, "wss-node.socket")] {
            assert!(uses(count, names).is_err(), "{count} {names}");
        }
    }
}
