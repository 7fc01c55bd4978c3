//! `[limits]`: what one client may take of the node. A client is an IPv4 address or an IPv6 network of 64 bits; behind a
//! trusted proxy, the one that the proxy tells. 0 switches a limit off.

use serde::Deserialize;

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Sessions of one client at the same time.
    pub sessions_per_ip: u32,
    /// Connections of one peer that are not sessions yet, from accept to the upgrade. Trusted proxies are exempt.
    pub handshakes_per_ip: u32,
    /// New connections of one peer in a second, on average. Trusted proxies are exempt.
    pub accepts_per_second_per_ip: u32,
    /// How many more may come at once.
    pub accepts_burst_per_ip: u32,
    /// Connections of all peers that are not authenticated sessions yet.
    pub unauthenticated: u32,
    /// Commands of one session in a second, on average; several may come in one WebSocket message.
    pub messages_per_second: u32,
    /// How many may come at once.
    pub messages_burst: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            sessions_per_ip: 50,
            handshakes_per_ip: 32,
            accepts_per_second_per_ip: 20,
            accepts_burst_per_ip: 40,
            unauthenticated: 4096,
            messages_per_second: 100,
            messages_burst: 200,
        }
    }
}
