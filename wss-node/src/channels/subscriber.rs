//! One subscriber of a channel: where it stands, what is held back for it, and in which form it gets what is published.

use std::sync::Arc;

use bytes::Bytes;

use super::form;
use super::room::Room;
use crate::broker::follow::{BUFFERED, BUFFERED_BYTES, Follower};
use crate::broker::publication::Publication;
use crate::broker::rules::Kind;
use crate::outbound::{Order, Outbound, Superseding};
use crate::wire::{Broadcast, Disconnect, Form, Framing};

/// A subscriber, as it comes in.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(crate) outbound: Arc<Outbound>,
    /// The channel as the client calls it, without its tenant's prefix.
    pub(crate) called: Arc<str>,
    pub(crate) framing: Framing,
    /// Differences were agreed on.
    pub(crate) delta: bool,
    /// It is told who comes and who goes.
    pub(crate) hears_members: bool,
}

impl Newcomer {
    /// The same once more.
    pub(super) fn again(&self) -> Self {
        Self { outbound: Arc::clone(&self.outbound), called: Arc::clone(&self.called), ..*self }
    }
}

#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) newcomer: Newcomer,
    /// Tells it from another one that had its place before.
    pub(super) serial: u64,
    pub(super) follower: Follower,
    /// What waits until the answer to its subscription is in its queue; `None`: it is.
    pub(super) held: Option<Held>,
    /// It was sent the publication before the next one, so that a difference makes sense.
    pub(super) has_base: bool,
    /// A hole is not to be passed over in silence.
    pub(super) strict: bool,
    /// It has lost its place and was told so; nothing more is sent to it.
    pub(super) lost: bool,
}

/// Publications that wait for the answer to the subscription.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) publications: Vec<Arc<Publication>>,
    bytes: usize,
}

impl Subscriber {
    /// The next one.
    pub(super) fn take(&mut self, frames: &mut Frames<'_>) {
        if self.lost {
            return;
        }
        let Some(held) = &mut self.held else {
            self.send(frames);
            return;
        };
        held.bytes += frames.publication.cost_bytes();
        held.publications.push(Arc::clone(frames.publication));
        // It has asked for far more than a recovery may give, or its session does not run.
        if held.publications.len() > 16 * BUFFERED || held.bytes > 4 * BUFFERED_BYTES {
            self.held = Some(Held::default());
            self.lost = true;
        }
    }

    fn send(&mut self, frames: &mut Frames<'_>) {
        let Newcomer { outbound, called, framing, delta, .. } = &self.newcomer;
        let form = match (delta, self.has_base) {
            (false, _) => Form::Plain,
            (true, false) => Form::Whole,
            (true, true) => Form::Delta,
        };
        match frames.of(called).frame(*framing, form) {
            Ok(frame) => {
                let superseding = frames.superseding(*delta);
                outbound.push_publication(frame, superseding);
                self.has_base = true;
            }
            // Its framing cannot carry what is published here.
            Err(_) => {
                outbound.close(Disconnect::INAPPROPRIATE_PROTOCOL.into());
                self.lost = true;
            }
        }
    }

    pub(super) fn lose(&mut self) {
        self.lost = true;
        match &mut self.held {
            // Whoever makes the answer looks.
            Some(held) => *held = Held::default(),
            None => self.newcomer.outbound.tell(Order::Lost(Arc::clone(&self.newcomer.called))),
        }
    }
}

/// The frames of one publication, by what its subscribers call the channel: tenants may share one under two names.
pub(super) struct Frames<'a> {
    room: &'a Room,
    publication: &'a Arc<Publication>,
    base: Option<Bytes>,
    by_name: Vec<(Arc<str>, Broadcast)>,
}

impl<'a> Frames<'a> {
    pub(super) fn new(room: &'a Room, publication: &'a Arc<Publication>, base: Option<Bytes>) -> Self {
        Self { room, publication, base, by_name: Vec::new() }
    }

    fn of(&mut self, name: &Arc<str>) -> &Broadcast {
        let known = self.by_name.iter().position(|(of, _)| Arc::ptr_eq(of, name) || of == name);
        let index = known.unwrap_or_else(|| {
            let publication = form::publication(&self.room.channel.namespace, self.publication);
            let broadcast = Broadcast::new(&**name, publication, self.base.clone());
            self.by_name.push((Arc::clone(name), broadcast));
            self.by_name.len() - 1
        });
        &self.by_name[index].1
    }

    /// What makes older publications in a queue needless. A difference builds on the one before: none is left out there.
    fn superseding(&self, delta: bool) -> Option<Superseding> {
        let has_state = self.room.channel.namespace.kind() != Kind::Stream;
        (has_state && !delta).then(|| Superseding {
            room: std::ptr::from_ref(self.room).addr(),
            publication: Arc::clone(self.publication),
        })
    }
}
