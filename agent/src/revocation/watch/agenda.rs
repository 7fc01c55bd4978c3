//! What is next: questions, and what lapses by itself.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Ask, ChainKey, Watch};

impl Watch {
    /// Takes up to so many questions whose time has come; each is under way until it is answered.
    pub fn take(&mut self, now: Timestamp, crls: usize, ocsps: usize) -> Vec<Ask> {
        let mut asks = Vec::new();
        while asks.len() < crls
            && let Some((at, id)) = self.crl_agenda.first().copied()
            && at <= now
        {
            self.crl_agenda.pop_first();
            let Some(crl) = self.crls.get_mut(&id) else { continue };
            crl.question.begin();
            let subjects = crl.words.keys().filter_map(|id| self.watched.get(id));
            asks.push(Ask::Crl {
                id,
                url: crl.url.clone(),
                issuer: Arc::clone(&crl.issuer),
                subjects: subjects.map(|watched| Arc::clone(&watched.subject)).collect(),
                // The first look is at the disk.
                fetch: crl.question.this_update.is_some() && crl.question.due.is_none_or(|due| due <= now),
            });
        }
        let most = asks.len() + ocsps;
        while asks.len() < most
            && let Some((at, id)) = self.ocsp_agenda.first().copied()
            && at <= now
        {
            self.ocsp_agenda.pop_first();
            let (Some(responder), Some(watched)) = (self.responders.get_mut(&id), self.watched.get(&id))
            else {
                continue;
            };
            responder.question.begin();
            asks.push(Ask::Ocsp(Arc::clone(&watched.subject)));
        }
        asks
    }

    /// When there is something to do next, with or without room for questions of either kind.
    #[must_use]
    pub fn wake(&self, crls: bool, ocsps: bool) -> Option<Timestamp> {
        let crl = self.crl_agenda.first().filter(|_| crls).map(|(at, _)| *at);
        let ocsp = self.ocsp_agenda.first().filter(|_| ocsps).map(|(at, _)| *at);
        let lapse = self.lapses.first().map(|(at, _)| *at);
        [crl, ocsp, lapse].into_iter().flatten().min()
    }

    /// Chains about which something lapsed: an answer, a staple, or the time that not knowing is left untold.
    pub fn lapsed(&mut self, now: Timestamp) -> Vec<ChainKey> {
        let mut lapsed = Vec::new();
        while let Some((at, _)) = self.lapses.first()
            && *at <= now
            && let Some((_, key)) = self.lapses.pop_first()
        {
            if let Some(chain) = self.chains.get_mut(&key) {
                chain.lapse = None;
            }
            lapsed.push(key);
        }
        lapsed
    }
}
