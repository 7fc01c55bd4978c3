//! Subscriptions: what is asked, whether it is allowed, and the answer.

use std::sync::Arc;

use jiff::Timestamp;

use super::life::Life;
use super::permission;
use super::token::Token;
use crate::auth::{self, Action, Grant, TokenFault};
use crate::broker::answer::{Cursor, StatePage};
use crate::broker::position::{Epoch, Position};
use crate::broker::rules::Kind;
use crate::channels::{Channel, Join, Joined, Newcomer, Place, Since, form};
use crate::outbound::Outbound;
use crate::service::Node;
use crate::tenant::Tenant;
use crate::wire::v1::{SubscribeRequest, SubscribeResult};
use crate::wire::{self, Framing, NotJson, ReplyError};

/// `SubscribeRequest.type`
const STREAM: i32 = 0;
const MAP: i32 = 1;
/// `SubscribeRequest.phase`
const PHASE_STATE: i32 = 2;
/// `SubscribeRequest.flag`: a loss is to be error 112.
const FLAG_STRICT: i64 = 2;
/// Entries of a page of a map's state, unless the client says how many.
const PAGE: usize = 100;
/// And at most.
const LARGEST_PAGE: usize = 1000;

/// Who asks.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) node: Arc<Node>,
    pub(super) tenant: Arc<Tenant>,
    pub(super) grant: Option<Grant>,
    pub(super) outbound: Arc<Outbound>,
    pub(super) framing: Framing,
}

/// What was granted.
pub(super) struct Granted {
    pub(super) result: SubscribeResult,
    /// `None`: a page of a map was given, and nothing else.
    pub(super) place: Option<(Place, Channel)>,
    /// When the token of the subscription ends.
    pub(super) expires: Option<Timestamp>,
}

impl Asker {
    pub(super) fn user(&self) -> &str {
        self.grant.as_ref().map_or("", |grant| &grant.user)
    }

    /// A channel that is not another tenant's.
    fn known(&self, called: &str) -> Result<Channel, ReplyError> {
        permission::known(&self.node, &self.tenant, called)
    }

    /// Checks the token of a subscription; tells when it ends.
    pub(super) async fn check(&self, called: &str, token: &Token) -> Result<Option<Timestamp>, ReplyError> {
        let verified =
            auth::verify_subscription(&self.node.counters, &self.tenant, token.as_str(), Timestamp::now());
        match verified.await {
            Ok((channel, grant)) if channel == called && grant.user == self.user() => Ok(grant.expires),
            Ok(_) => Err(ReplyError::PERMISSION_DENIED),
            Err(TokenFault::Expired) => Err(ReplyError::TOKEN_EXPIRED),
            Err(TokenFault::Unavailable { .. }) => Err(ReplyError::TOKENS_UNAVAILABLE),
            Err(_) => Err(ReplyError::PERMISSION_DENIED),
        }
    }

    /// Makes a subscription that the application wants, which needs no permission of the client's.
    pub(super) async fn subscribe_by_server(
        &self,
        called: &str,
        request: SubscribeRequest,
    ) -> Result<Granted, ReplyError> {
        let channel = self.known(called)?;
        if channel.namespace.kind() == Kind::Map {
            // SDKs walk through the pages of a map for subscriptions of their own only.
            return Err(ReplyError::NOT_AVAILABLE);
        }
        self.join(channel, called, request, None).await
    }

    /// Makes a subscription, or gives the next page of a map.
    pub(super) async fn subscribe(
        &self,
        called: &str,
        mut request: SubscribeRequest,
    ) -> Result<Granted, ReplyError> {
        let token = Token::take(&mut request.token);
        let (channel, expires) = if token.is_empty() {
            let grant = self.grant.as_ref();
            (permission::allowed(&self.node, &self.tenant, grant, Action::Subscribe, called)?, None)
        } else {
            (self.known(called)?, self.check(called, &token).await?)
        };
        self.join(channel, called, request, expires).await
    }

    async fn join(
        &self,
        channel: Channel,
        called: &str,
        request: SubscribeRequest,
        expires: Option<Timestamp>,
    ) -> Result<Granted, ReplyError> {
        let config = &channel.namespace.config;
        if request.tf.is_some() || !matches!(request.r#type, STREAM | MAP) {
            return Err(ReplyError::NOT_AVAILABLE);
        }
        if (request.r#type == MAP) != (config.kind == Kind::Map) {
            return Err(ReplyError::BAD_REQUEST);
        }
        let delta = config.delta && request.delta == "fossil";
        let newcomer = Newcomer {
            outbound: Arc::clone(&self.outbound),
            called: called.into(),
            framing: self.framing,
            delta,
            hears_members: config.join_leave && request.join_leave,
        };
        let channels = &self.node.channels;
        let position = Position { epoch: Epoch::named(&request.epoch), offset: request.offset };
        let (joined, state) = match config.kind {
            Kind::Map if request.phase == PHASE_STATE => {
                match self.page(&channel, newcomer, &request).await? {
                    Paged::Page(result) => {
                        return Ok(Granted { result, place: None, expires });
                    }
                    Paged::Last(joined, state) => (joined, state),
                }
            }
            Kind::Map => {
                let joined = channels.join_map(&channel, newcomer, position).await?;
                // Without it SDKs would take what was missed for all of the state.
                (Joined { recovered: request.recover.then_some(true), ..joined }, Vec::new())
            }
            kind => {
                let recovers = request.recover && config.recovery;
                let since = if recovers { Since::Position(position) } else { Since::Now };
                let join = Join { newcomer, since, strict: request.flag & FLAG_STRICT != 0 };
                let joined = if kind == Kind::Stream {
                    channels.join_stream(&channel, join).await?
                } else {
                    channels.join_value(&channel, join).await?
                };
                (joined, Vec::new())
            }
        };
        let result = self.result(&channel, &request, delta, &joined, state, expires);
        // Its framing cannot carry what is published here: the session ends, as in Centrifugo.
        let result = result.map_err(|NotJson| {
            self.outbound.close(wire::Disconnect::INAPPROPRIATE_PROTOCOL.into());
            ReplyError::INTERNAL
        })?;
        Ok(Granted { result, place: Some((joined.place, channel)), expires })
    }

    /// A page of a map's state. With the last one the client is a subscriber.
    async fn page(
        &self,
        channel: &Channel,
        newcomer: Newcomer,
        request: &SubscribeRequest,
    ) -> Result<Paged, ReplyError> {
        let cursor = (!request.cursor.is_empty()).then(|| Cursor {
            position: Position { epoch: Epoch::named(&request.epoch), offset: request.offset },
            after: request.cursor.as_str().into(),
        });
        let wanted = usize::try_from(request.limit).unwrap_or(0);
        let limit = if wanted == 0 { PAGE } else { wanted.min(LARGEST_PAGE) };
        let StatePage { entries, position, next } =
            self.node.channels.state(channel, cursor.as_ref(), limit).await?;
        let state = form::publications(&channel.namespace, &entries);
        if let Some(next) = next {
            let mut result = SubscribeResult {
                r#type: MAP,
                phase: PHASE_STATE,
                epoch: position.epoch.as_str().to_owned(),
                offset: position.offset,
                state,
                ..SubscribeResult::default()
            };
            result.cursor = next.after.to_string();
            return Ok(Paged::Page(result));
        }
        Ok(Paged::Last(self.node.channels.join_map(channel, newcomer, position).await?, state))
    }

    fn result(
        &self,
        channel: &Channel,
        request: &SubscribeRequest,
        delta: bool,
        joined: &Joined,
        state: Vec<wire::v1::Publication>,
        expires: Option<Timestamp>,
    ) -> Result<SubscribeResult, NotJson> {
        let config = &channel.namespace.config;
        let mut publications = form::publications(&channel.namespace, &joined.publications);
        if delta {
            wire::catch_up(self.framing, wire::Kind::Stream, &mut publications)?;
        }
        let has_position = channel.namespace.has_history();
        let (epoch, offset) = if has_position {
            (joined.position.epoch.as_str().to_owned(), joined.position.offset)
        } else {
            (String::new(), 0)
        };
        // SDKs count on from the place that they came back from with each publication that they give to the application: one
        // that stops in between must not be past what it was not given.
        let is_catching_up =
            config.kind == Kind::Stream && joined.recovered == Some(true) && !publications.is_empty();
        let offset = if is_catching_up { request.offset } else { offset };
        let Life { expires, ttl } = Life::until(expires, Timestamp::now());
        Ok(SubscribeResult {
            expires,
            ttl,
            recoverable: config.recovery && has_position,
            positioned: config.recovery && has_position,
            epoch,
            offset,
            publications,
            recovered: joined.recovered.unwrap_or(false),
            was_recovering: request.recover,
            delta,
            r#type: request.r#type,
            state,
            ..SubscribeResult::default()
        })
    }
}

/// A page of a map.
enum Paged {
    Page(SubscribeResult),
    Last(Joined, Vec<wire::v1::Publication>),
}
