//! One publication on its way to many subscribers: encoded at most once for each form, whoever asks first.

use std::sync::OnceLock;

use bytes::Bytes;

use super::v1::{Publication, Reply};
use super::{Framing, NotJson, delta, fossil, is_json};

/// How a subscriber gets a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is: deltas were not agreed on.
    Plain,
    /// Whole, to a subscriber that was promised deltas and lacks the publication before.
    Whole,
    /// As the difference from the publication before (of the same key, in a map), which the subscriber has; whole where
    /// that is not larger.
    Delta,
}

/// A publication, and its frames as far as they were asked for. Frames are shared: a clone copies no bytes.
#[derive(Debug)]
pub struct Broadcast {
    channel: String,
    publication: Publication,
    /// The data of the publication before.
    base: Option<Bytes>,
    plain: Frames,
    whole: Frames,
    difference: OnceLock<Option<Bytes>>,
    delta: Frames,
}

#[derive(Debug, Default)]
struct Frames {
    json: OnceLock<Result<Bytes, NotJson>>,
    protobuf: OnceLock<Result<Bytes, NotJson>>,
}

impl Broadcast {
    /// `base` is the data of the publication before it, if there was one and deltas may be wanted.
    #[must_use]
    pub fn new(channel: impl Into<String>, publication: Publication, base: Option<Bytes>) -> Self {
        Self {
            channel: channel.into(),
            publication,
            base,
            plain: Frames::default(),
            whole: Frames::default(),
            difference: OnceLock::new(),
            delta: Frames::default(),
        }
    }

    /// The publication as it was published.
    #[must_use]
    pub const fn publication(&self) -> &Publication {
        &self.publication
    }

    /// A frame with the push of it.
    ///
    /// # Errors
    /// The framing is JSON and the data are not.
    pub fn frame(&self, framing: Framing, form: Form) -> Result<Bytes, NotJson> {
        // Without a JSON string around them, data that are whole are plain.
        let form = if form == Form::Whole && framing == Framing::Protobuf { Form::Plain } else { form };
        match form {
            Form::Plain => self.plain.frame(framing, || self.encode(framing, self.publication.clone())),
            Form::Whole => self.whole.frame(framing, || self.encode_whole(framing)),
            Form::Delta => match self.difference() {
                Some(difference) => self.delta.frame(framing, || {
                    // The client would find out, after it has applied the delta.
                    if framing == Framing::Json && !is_json(&self.publication.data) {
                        return Err(NotJson);
                    }
                    let publication = delta::with_delta(&self.publication, difference.clone());
                    self.encode(framing, delta::in_form(framing, publication)?)
                }),
                None => self.frame(framing, Form::Whole),
            },
        }
    }

    fn encode_whole(&self, framing: Framing) -> Result<Bytes, NotJson> {
        self.encode(framing, delta::in_form(framing, self.publication.clone())?)
    }

    fn encode(&self, framing: Framing, publication: Publication) -> Result<Bytes, NotJson> {
        framing.encode(&Reply::publication(self.channel.as_str(), publication))
    }

    /// The same for both framings.
    fn difference(&self) -> Option<&Bytes> {
        let difference = self.difference.get_or_init(|| {
            let base = self.base.as_ref().filter(|_| !self.publication.removed)?;
            fossil::create(base, &self.publication.data).map(Bytes::from)
        });
        difference.as_ref()
    }
}

impl Frames {
    fn frame(
        &self,
        framing: Framing,
        encode: impl FnOnce() -> Result<Bytes, NotJson>,
    ) -> Result<Bytes, NotJson> {
        let frame = match framing {
            Framing::Json => &self.json,
            Framing::Protobuf => &self.protobuf,
        };
        frame.get_or_init(encode).clone()
    }
}
