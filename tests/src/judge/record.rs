//! What the judge is told.

use std::fmt;

/// All that was seen in one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Who published.
    pub publishers: Vec<Publisher>,
    /// Who read: subscribers, and whoever read the log.
    pub readers: Vec<Reader>,
    /// Whether what is acknowledged outlives everything that happened: its epoch must not change.
    pub lasting: bool,
}

impl Record {
    /// All that was acknowledged, to whomever.
    pub fn acknowledged(&self) -> impl Iterator<Item = &Acknowledged> {
        self.publishers.iter().flat_map(|publisher| &publisher.acknowledged)
    }
}

/// A publisher, who publishes one after the other: each is tried again until it is acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publisher {
    /// Its name.
    pub name: String,
    /// It has tried the payloads 1 to this.
    pub tried: u64,
    /// What it was told, in that order.
    pub acknowledged: Vec<Acknowledged>,
}

/// A reader, and what it saw in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reader {
    /// Its name.
    pub name: String,
    /// What it saw.
    pub seen: Vec<Seen>,
}

/// Something that a reader sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It begins here: what comes after this place is for it.
    Began(Place),
    /// A publication came.
    Publication(Entry),
    /// It came back and was told that nothing is missing: what it had missed, up to the top.
    Recovered {
        /// Where the channel was.
        top: Place,
        /// Since the reader's place.
        missed: Vec<Entry>,
    },
    /// It came back and was told that something is missing, and where it is now.
    Lost {
        /// Where the channel was.
        top: Place,
    },
}

/// A place in a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Of the channel.
    pub epoch: String,
    /// From 1; 0 is before the first.
    pub offset: u64,
}

/// A publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub offset: u64,
    /// What.
    pub payload: Payload,
}

/// The `n`th payload of a publisher.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Payload {
    /// Its name.
    pub publisher: String,
    /// From 1.
    pub n: u64,
}

/// What a publisher was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// What it had published.
    pub payload: Payload,
    /// Where it is.
    pub place: Place,
}

impl Payload {
    /// The inverse of its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (publisher, n) = text.rsplit_once('.')?;
        Some(Self { publisher: publisher.to_owned(), n: n.parse().ok()? })
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.publisher, self.n)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch, self.offset)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.payload, self.offset)
    }
}

impl fmt::Display for Acknowledged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} acknowledged at {}", self.payload, self.place)
    }
}
