//! `connect` and `refresh`: who the client is, and what it is told when it is let in.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;

use super::checking::{Checking, Purpose};
use super::commands::{Commands, VERSION};
use super::life::Life;
use super::subscribe::Granted;
use super::token::Token;
use super::work::Outcome;
use crate::broker::presence::Member;
use crate::channels::form;
use crate::config::TokenAt;
use crate::registry::State;
use crate::telemetry::trace;
use crate::wire::v1::{ConnectRequest, ConnectResult, RefreshRequest};
use crate::wire::{self, Disconnect, ReplyError, Request};

impl Commands {
    pub(super) fn connect(&mut self, id: u32, mut connect: ConnectRequest) -> Result<(), Disconnect> {
        let token = Token::take(&mut connect.token);
        if let Err(error) = wire::check(&Request::Connect(connect.clone()), &self.limits()) {
            self.answer(id, Err(error));
            return Ok(());
        }
        if token.as_str().len() > self.limits().token_bytes {
            self.answer(id, Err(ReplyError::LIMIT_EXCEEDED));
            return Ok(());
        }
        self.entry.identify(|identity| identity.named(&connect.name));
        self.resumed = connect.subs;
        let config = &self.admission.tenant.token;
        if self.admission.grant.is_some() {
            // The upgrade has told who it is.
            self.connected(id);
        } else if config.at != TokenAt::Upgrade && !token.is_empty() {
            let purpose = Purpose::Connect { id, waiting: VecDeque::new() };
            self.check(purpose, token);
        } else if config.anonymous {
            self.connected(id);
        } else {
            self.unnamed(id);
        }
        Ok(())
    }

    /// The client is let in, as soon as the subscriptions that its token names are made.
    pub(super) fn connected(&mut self, id: u32) {
        self.connecting = true;
        let wanted = self.admission.grant.as_ref().map(|grant| grant.subscribe.clone()).unwrap_or_default();
        if wanted.is_empty() {
            self.let_in(id, Vec::new());
            return;
        }
        let (asker, mut resumed) = (self.asker(), std::mem::take(&mut self.resumed));
        self.work.run(Box::pin(async move {
            let mut granted = Vec::new();
            for called in wanted {
                let request = resumed.remove(&called).unwrap_or_default();
                match asker.subscribe_by_server(&called, request).await {
                    Ok(one) => granted.push((called, Box::new(one))),
                    Err(error) => {
                        tracing::warn!(channel = %called, error = error.message, "a token names a channel that cannot be subscribed to");
                    }
                }
            }
            Outcome::Connected { id, granted }
        }));
    }

    pub(super) fn let_in(&mut self, id: u32, granted: Vec<(String, Box<Granted>)>) {
        (self.connected, self.connecting) = (true, false);
        trace::let_in(self.admission.grant.as_ref());
        self.admission.place.authenticated();
        self.entry.reached(State::Connected);
        self.info = form::member(&self.member()).encode_to_vec().into();
        let Life { expires, ttl } = self.life();
        let ping = self.node.config.session.ping_interval.as_secs().max(1);
        let mut result = ConnectResult {
            client: self.entry.id.to_string(),
            version: VERSION.to_owned(),
            expires,
            ttl,
            ping: u32::try_from(ping).unwrap_or(u32::MAX),
            pong: true,
            ..ConnectResult::default()
        };
        let mut opened = Vec::new();
        for (called, Granted { result: subscribed, place, expires }) in
            granted.into_iter().map(|(called, granted)| (called, *granted))
        {
            let Some((place, channel)) = place else { continue };
            result.subs.insert(called.clone(), subscribed);
            let called: Arc<str> = called.into();
            self.keep(Arc::clone(&called), place, channel, expires, true);
            opened.push(called);
        }
        self.answer(id, Ok(result.into()));
        for called in opened {
            self.open(&called);
        }
        self.advance();
    }

    /// Who it is, as others are told.
    pub(super) fn member(&self) -> Member {
        let user = self.admission.grant.as_ref().map(|grant| grant.user.as_str()).unwrap_or_default();
        Member { user: user.into(), client: self.entry.id.to_string().into(), info: Bytes::new() }
    }

    pub(super) fn refresh(&mut self, id: u32, mut refresh: RefreshRequest) -> Result<(), ReplyError> {
        let token = Token::take(&mut refresh.token);
        // Id 0 asks for no reply, and a refresh without one is of no use to anybody.
        if id == 0 || token.is_empty() || self.admission.grant.is_none() {
            return Err(ReplyError::BAD_REQUEST);
        }
        if token.as_str().len() > self.limits().token_bytes {
            return Err(ReplyError::LIMIT_EXCEEDED);
        }
        if self.checking.is_some() {
            return Err(ReplyError::TOKENS_UNAVAILABLE);
        }
        self.check(Purpose::Refresh { id }, token);
        Ok(())
    }

    fn check(&mut self, purpose: Purpose, token: Token) {
        self.checking = Some(Box::new(Checking::new(purpose, &self.node, &self.admission.tenant, token)));
    }

    /// How long the token lasts.
    pub(super) fn life(&self) -> Life {
        let expires = self.admission.grant.as_ref().and_then(|grant| grant.expires);
        Life::until(expires, Timestamp::now())
    }
}
