//! What the present state of a channel is, by its kind. Pure.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::publication::Publication;
use super::rules::Kind;

/// Bytes that an entry of a map takes besides its publication.
const ENTRY_BYTES: usize = 96;

/// The present state.
#[derive(Debug)]
pub(crate) enum State {
    Stream,
    Value(Option<Arc<Publication>>),
    Map(Entries),
}

/// The entries of a map, by key; and by offset, which is their order by age.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    by_key: BTreeMap<Arc<str>, Arc<Publication>>,
    by_offset: BTreeMap<u64, Arc<str>>,
}

impl State {
    pub(crate) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Stream => Self::Stream,
            Kind::Value => Self::Value(None),
            Kind::Map => Self::Map(Entries::default()),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Stream => Kind::Stream,
            Self::Value(_) => Kind::Value,
            Self::Map(_) => Kind::Map,
        }
    }

    /// Takes in the next publication; gives back the one that it takes the place of.
    pub(crate) fn apply(&mut self, publication: &Arc<Publication>) -> Option<Arc<Publication>> {
        match self {
            Self::Stream => None,
            Self::Value(current) => current.replace(Arc::clone(publication)),
            Self::Map(entries) => entries.apply(publication),
        }
    }

    /// Whether this very publication is part of the state.
    pub(crate) fn holds(&self, publication: &Publication) -> bool {
        match self {
            Self::Stream => false,
            Self::Value(current) => {
                current.as_ref().is_some_and(|current| current.offset == publication.offset)
            }
            Self::Map(entries) => entries.by_offset.contains_key(&publication.offset),
        }
    }

    /// The entry of a key; `None` also for the other kinds.
    pub(crate) fn entry(&self, key: &str) -> Option<&Arc<Publication>> {
        let Self::Map(entries) = self else { return None };
        entries.by_key.get(key)
    }

    /// How many keys are set.
    pub(crate) fn keys(&self) -> usize {
        let Self::Map(entries) = self else { return 0 };
        entries.by_key.len()
    }

    /// What the entries count for besides their publications.
    pub(crate) fn overhead_bytes(&self) -> usize {
        self.keys() * ENTRY_BYTES
    }

    /// All of it.
    pub(crate) fn publications(&self) -> Box<dyn Iterator<Item = &Arc<Publication>> + '_> {
        match self {
            Self::Stream => Box::new(std::iter::empty()),
            Self::Value(current) => Box::new(current.iter()),
            Self::Map(entries) => Box::new(entries.by_key.values()),
        }
    }
}

impl Entries {
    fn apply(&mut self, publication: &Arc<Publication>) -> Option<Arc<Publication>> {
        let key: &str = publication.key.as_deref()?;
        let former = if publication.removed {
            self.by_key.remove(key)
        } else {
            let key: Arc<str> = key.into();
            self.by_offset.insert(publication.offset, Arc::clone(&key));
            self.by_key.insert(key, Arc::clone(publication))
        };
        if let Some(former) = &former {
            self.by_offset.remove(&former.offset);
        }
        former
    }

    /// Entries after a key, by key.
    pub(crate) fn after<'a>(
        &'a self,
        key: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Publication>> + use<'a> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_key.range::<str, _>((from, Bound::Unbounded)).map(|(_, entry)| entry)
    }

    /// Entries that were set longest ago come first.
    pub(crate) fn by_age(&self) -> impl Iterator<Item = &Arc<Publication>> {
        self.by_offset.values().filter_map(|key| self.by_key.get(key))
    }
}
