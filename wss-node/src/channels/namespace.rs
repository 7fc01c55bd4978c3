//! What a channel is and who may do what there, by the namespace that its name begins with. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use crate::auth::Action;
use crate::broker::rules::{Kind, Rules};
use crate::config::{DEFAULT_NAMESPACE, Durability, NamespaceConfig, Namespaces};

/// What stands between the namespace and the rest of a channel's name.
const SEPARATOR: char = ':';

/// A namespace, ready for use.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) config: NamespaceConfig,
    /// The same with every call to a broker.
    pub(crate) rules: Arc<Rules>,
}

impl Namespace {
    fn new(config: NamespaceConfig) -> Arc<Self> {
        let rules = Arc::new(config.rules());
        Arc::new(Self { config, rules })
    }

    pub(crate) fn kind(&self) -> Kind {
        self.config.kind
    }

    pub(crate) fn durability(&self) -> Durability {
        self.config.durability
    }

    /// Whether publications have places that clients can come back to.
    pub(crate) fn has_history(&self) -> bool {
        self.config.history > 0
    }

    /// Whether its subscribers are told who comes and goes on other nodes, too.
    pub(crate) fn tells_other_nodes(&self) -> bool {
        self.config.join_leave && self.durability() == Durability::Cluster
    }

    /// Whether a user may do something on a channel. `user` is empty for those of whom nothing is known: `{user}` stands
    /// for none of them.
    pub(crate) fn allows(&self, action: Action, channel: &str, user: &str) -> bool {
        let patterns = match action {
            Action::Publish => &self.config.publish,
            // Who may not listen may not look back or around either.
            Action::Subscribe | Action::History | Action::Presence => &self.config.subscribe,
        };
        patterns.iter().any(|pattern| matches(pattern, channel, user))
    }
}

fn matches(pattern: &str, channel: &str, user: &str) -> bool {
    const USER: &str = "{user}";
    let (fixed, is_open) = pattern.strip_suffix('*').map_or((pattern, false), |fixed| (fixed, true));
    // A user's name that holds the separator could reach into another's channels.
    if fixed.contains(USER) && (user.is_empty() || user.contains(SEPARATOR)) {
        return false;
    }
    let mut rest = channel;
    for (position, part) in fixed.split(USER).enumerate() {
        let after_user = if position == 0 { Some(rest) } else { rest.strip_prefix(user) };
        let Some(after) = after_user.and_then(|rest| rest.strip_prefix(part)) else { return false };
        rest = after;
    }
    is_open || rest.is_empty()
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Catalogue {
    named: HashMap<String, Arc<Namespace>>,
    /// Of every channel, when none is named.
    every: Option<Arc<Namespace>>,
}

impl Catalogue {
    pub(crate) fn new(namespaces: &Namespaces) -> Self {
        let named = namespaces.iter().map(|(name, config)| (name.clone(), Namespace::new(config.clone())));
        let every = namespaces.is_empty().then(|| Namespace::new(NamespaceConfig::default()));
        Self { named: named.collect(), every }
    }

    /// That of a channel, by the name that clients give it (without a tenant's prefix).
    pub(crate) fn of(&self, channel: &str) -> Option<&Arc<Namespace>> {
        if self.every.is_some() {
            return self.every.as_ref();
        }
        let name = channel.split_once(SEPARATOR).map_or(DEFAULT_NAMESPACE, |(name, _)| name);
        self.named.get(name)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Namespace>> {
        self.named.values().chain(&self.every)
    }

    /// Whether one of them wants this.
    pub(crate) fn wants(&self, durability: Durability) -> bool {
        self.all().any(|namespace| namespace.durability() == durability)
    }

    /// Whether nodes are to tell each other who comes and goes.
    pub(crate) fn tells_other_nodes(&self) -> bool {
        self.all().any(|namespace| namespace.tells_other_nodes())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_what_they_say_and_no_other_user() {
        for (pattern, channel, user, expected) in [
            ("*", "anything", "", true),
            ("news", "news", "", true),
            ("news", "newsletter", "", false),
            ("news*", "newsletter", "", true),
            ("orders:{user}", "orders:ann", "ann", true),
            ("orders:{user}", "orders:anna", "ann", false),
            ("orders:{user}", "orders:", "", false),
            ("orders:{user}:*", "orders:ann:7", "ann", true),
            ("orders:{user}:*", "orders:ann", "ann", false),
            ("orders:{user}:*", "orders:bob:7", "ann", false),
            ("orders:{user}:*", "orders:ann:bob:7", "ann:bob", false),
            ("talk:{user}:{user}", "talk:ann:ann", "ann", true),
        ] {
            assert_eq!(matches(pattern, channel, user), expected, "{pattern} {channel} {user}");
        }
    }

    #[test]
    fn a_channel_has_the_namespace_that_its_name_begins_with() {
        let none = Catalogue::new(&Namespaces::new());
        assert!(none.of("a").is_some() && none.of("b:c").is_some());
        let config = NamespaceConfig { history: 7, ..NamespaceConfig::default() };
        let some = Catalogue::new(&Namespaces::from([("orders".to_owned(), config)]));
        assert_eq!(some.of("orders:1").unwrap().rules.history, 7);
        for unknown in ["orders", "ordersx:1", "other:1", ":1", ""] {
            assert!(some.of(unknown).is_none(), "{unknown}");
        }
    }
}
