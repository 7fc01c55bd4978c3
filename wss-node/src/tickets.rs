//! Session tickets, whose keys can be thrown away at once: with a distrusted leaf go the sessions that it began,
//! or its clients would resume them for hours without ever seeing the new one.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::Error;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;

/// rustls' ticketer, which takes a new key every 6 hours by itself and accepts the one before it for 6 hours more,
/// in a slot where another can take its place.
#[derive(Debug)]
pub(crate) struct Tickets {
    current: ArcSwapOption<Arc<dyn ProducesTickets>>,
}

impl Tickets {
    /// With a key of its own.
    ///
    /// # Errors
    /// No randomness.
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self { current: ArcSwapOption::from_pointee(Ticketer::new()?) })
    }

    /// From now on no ticket of before is good. Without randomness for another key there are none at all, which
    /// costs clients a full handshake each.
    pub(crate) fn replace(&self) {
        match Ticketer::new() {
            Ok(ticketer) => self.current.store(Some(Arc::new(ticketer))),
            Err(error) => {
                tracing::error!(%error, "no key for session tickets; sessions are not resumed from now on");
                self.current.store(None);
            }
        }
    }
}

impl ProducesTickets for Tickets {
    // Constant: without it rustls would keep sessions in memory instead.
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.current.load().as_ref().map_or(0, |ticketer| ticketer.lifetime())
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.current.load().as_ref()?.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.current.load().as_ref()?.decrypt(cipher)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tickets_of_before_are_worth_nothing_and_new_ones_work() {
        let tickets = Tickets::new().unwrap();
        let old = tickets.encrypt(b"session").unwrap();
        assert_eq!(tickets.decrypt(&old).as_deref(), Some(b"session".as_slice()));
        tickets.replace();
        assert_eq!(tickets.decrypt(&old), None);
        let new = tickets.encrypt(b"session").unwrap();
        assert_eq!(tickets.decrypt(&new).as_deref(), Some(b"session".as_slice()));
    }

    #[test]
    fn keys_change_every_six_hours() {
        // rustls tells twice the time between two keys: a ticket is good with the key before the present one.
        assert_eq!(Tickets::new().unwrap().lifetime(), 2 * 6 * 60 * 60);
    }
}
