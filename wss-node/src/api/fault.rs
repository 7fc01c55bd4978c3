//! Why a method was not done. Codes are those of Centrifugo's server API, which its clients know; the texts say more.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use tonic::Code;

use super::v1;
use crate::broker::answer::{Unavailable, Unplaced};
use crate::broker::position::Position;

/// A method's error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(super) kind: Kind,
    message: Cow<'static, str>,
    /// Of a conflict: what is there.
    current: Option<Position>,
    retry_after: Option<Duration>,
}

/// What an asker can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Try again, with the same idempotency key.
    Temporary,
    /// Name a channel that is configured.
    UnknownChannel,
    /// Ask for another method.
    NotFound,
    /// Mend the request.
    BadRequest,
    /// Change the configuration.
    NotAvailable,
    /// Begin anew.
    Unrecoverable,
    /// Look at what is there.
    Conflict,
}

impl Kind {
    pub(super) const ALL: [Self; 7] = [
        Self::Temporary,
        Self::UnknownChannel,
        Self::NotFound,
        Self::BadRequest,
        Self::NotAvailable,
        Self::Unrecoverable,
        Self::Conflict,
    ];

    /// As metrics name it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Temporary => "temporary",
            Self::UnknownChannel => "unknown_channel",
            Self::NotFound => "not_found",
            Self::BadRequest => "bad_request",
            Self::NotAvailable => "not_available",
            Self::Unrecoverable => "unrecoverable_position",
            Self::Conflict => "conflict",
        }
    }

    /// The code, and the words that go with it.
    fn code(self) -> (u32, &'static str) {
        match self {
            Self::Temporary => (100, "try again"),
            Self::UnknownChannel => (102, "unknown channel"),
            Self::NotFound => (104, "not found"),
            Self::BadRequest => (107, "bad request"),
            Self::NotAvailable => (108, "not available"),
            Self::Unrecoverable => (112, "unrecoverable position"),
            Self::Conflict => (113, "conflict"),
        }
    }
}

impl Fault {
    fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), current: None, retry_after: None }
    }

    /// The request is not as it must be.
    pub(super) fn bad(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::BadRequest, message)
    }

    /// It is as it must be, but for what this node is or is configured to be.
    pub(super) fn not_available(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::NotAvailable, message)
    }

    /// There is no such thing.
    pub(super) fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// No namespace has this channel.
    pub(super) fn unknown_channel(name: &str) -> Self {
        Self::new(Kind::UnknownChannel, format!("no section of [namespaces] has \"{name}\""))
    }

    /// Not now.
    pub(super) fn temporary(message: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(Kind::Temporary, message) }
    }

    /// The log does not reach back so far, or the epoch is another.
    pub(super) fn unrecoverable(top: &Position) -> Self {
        Self::new(
            Kind::Unrecoverable,
            format!("the channel is at offset {} of epoch {:?}", top.offset, top.epoch),
        )
    }

    /// What was expected is not so.
    pub(super) fn conflict(current: Option<Position>) -> Self {
        let message = if current.is_some() { "the last publication is another" } else { "there is none" };
        Self { current, ..Self::new(Kind::Conflict, message) }
    }

    /// When it makes sense to ask again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The status of HTTP that says the same (`X-Centrifugo-Error-Mode: transport`). Centrifugo says 500 for trouble of
    /// its own; 503 is for what passes.
    pub(super) fn http_status(&self) -> StatusCode {
        match self.kind {
            Kind::Temporary => StatusCode::SERVICE_UNAVAILABLE,
            Kind::UnknownChannel | Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::BadRequest | Kind::NotAvailable => StatusCode::BAD_REQUEST,
            Kind::Unrecoverable => StatusCode::RANGE_NOT_SATISFIABLE,
            Kind::Conflict => StatusCode::CONFLICT,
        }
    }

    /// The status of gRPC that says the same.
    pub(super) fn grpc_code(&self) -> Code {
        match self.kind {
            Kind::Temporary => Code::Unavailable,
            Kind::UnknownChannel | Kind::NotFound => Code::NotFound,
            Kind::BadRequest | Kind::NotAvailable => Code::InvalidArgument,
            Kind::Unrecoverable => Code::OutOfRange,
            Kind::Conflict => Code::AlreadyExists,
        }
    }
}

impl From<Fault> for v1::Error {
    fn from(fault: Fault) -> Self {
        let (code, word) = fault.kind.code();
        Self { code, message: format!("{word}: {}", fault.message), current: fault.current.map(Into::into) }
    }
}

impl From<Position> for v1::StreamPosition {
    fn from(position: Position) -> Self {
        Self { offset: position.offset, epoch: position.epoch.as_str().to_owned() }
    }
}

impl From<Unavailable> for Fault {
    fn from(unavailable: Unavailable) -> Self {
        Self::temporary(unavailable.reason, unavailable.retry_after)
    }
}

impl From<Unplaced> for Fault {
    fn from(unplaced: Unplaced) -> Self {
        match unplaced {
            Unplaced::Conflict { current } => Self::conflict(current),
            Unplaced::Refused(refusal) => Self::bad(refusal.to_string()),
            Unplaced::Unavailable(unavailable) => unavailable.into(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::broker::answer::{Append, Placed, Refusal};
    use crate::broker::position::Epoch;

    #[test]
    fn codes_are_those_that_clients_of_centrifugo_know() {
        let codes = Kind::ALL.map(|kind| {
            let fault = Fault::new(kind, "");
            (v1::Error::from(fault.clone()).code, fault.http_status().as_u16(), fault.grpc_code() as i32)
        });
        let expected = [
            (100, 503, 14),
            (102, 404, 5),
            (104, 404, 5),
            (107, 400, 3),
            (108, 400, 3),
            (112, 416, 11),
            (113, 409, 6),
        ];
        assert_eq!(codes, expected);
    }

    #[test]
    fn what_became_of_a_publication_is_told_with_what_helps() {
        let there = Position { epoch: Epoch::named("e"), offset: 7 };
        let fault = |append: Append| Fault::from(append.placed().unwrap_err());
        let placed = Append::Duplicate(there.clone()).placed();
        assert_eq!(placed, Ok(Placed { position: there.clone(), duplicate: true }));
        let conflict = v1::Error::from(fault(Append::Conflict { current: Some(there) }));
        assert_eq!(conflict.current, Some(v1::StreamPosition { offset: 7, epoch: "e".to_owned() }));
        assert_eq!(conflict.message, "conflict: the last publication is another");
        let later = fault(Append::Unavailable(Unavailable::for_now("full")));
        assert_eq!((later.kind, later.retry_after()), (Kind::Temporary, Some(Duration::from_secs(1))));
        let never = fault(Append::Refused(Refusal::KeyMissing));
        assert_eq!(never.kind, Kind::BadRequest);
    }
}
