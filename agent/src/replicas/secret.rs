//! A Secret as it was read, and what to make of it. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::contents::Contents;

/// The term of the leader that wrote it.
const TERM: &str = "sealwire.dev/term";
/// Of what that leader wrote: whoever edits by hand does not set it.
const DIGEST: &str = "sealwire.dev/digest";

/// The object; what is not ours is kept as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Secret {
    metadata: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Hidden::is_empty")]
    data: Hidden,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Base64 of files; not for logs.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Hidden(BTreeMap<String, String>);

impl Hidden {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::ops::Deref for Hidden {
    type Target = BTreeMap<String, String>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What a Secret has to say to somebody who holds `ours`.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was just made, and nobody wrote it.
    Empty,
    /// What we have.
    Same,
    /// What a leader wrote, and we do not have.
    Other(Contents),
    /// Not what a leader wrote: somebody edited it. It may be usable all the same.
    Edited(Option<Contents>, String),
}

impl Secret {
    /// As the API server numbers its versions.
    #[must_use]
    pub fn version(&self) -> &str {
        self.metadata.get("resourceVersion").and_then(Value::as_str).unwrap_or_default()
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.get("annotations")?.get(key)?.as_str()
    }

    /// The term of who wrote it; 0: nobody.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.annotation(TERM).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// What it says.
    #[must_use]
    pub fn judge(&self, ours: &Contents) -> Verdict {
        let written = self.annotation(DIGEST);
        if self.data.is_empty() && written.is_none() {
            return Verdict::Empty;
        }
        match Contents::decode(&self.data) {
            Err(why) => Verdict::Edited(None, why),
            Ok(contents) if written != Some(contents.digest().as_str()) => {
                Verdict::Edited(Some(contents), "it does not hold what the leader wrote".to_owned())
            }
            Ok(contents) if contents == *ours => Verdict::Same,
            Ok(contents) => Verdict::Other(contents),
        }
    }

    /// Whether it holds `contents`, written in this `term`.
    #[must_use]
    pub fn holds(&self, contents: &Contents, term: u64) -> bool {
        self.term() == term && self.judge(contents) == Verdict::Same
    }

    /// The same object with other contents, written in `term`; based on the version that was read.
    #[must_use]
    pub fn with(mut self, contents: &Contents, term: u64) -> Self {
        let annotations = self.metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
        if !annotations.is_object() {
            *annotations = Value::Object(Map::new());
        }
        annotations[TERM] = term.to_string().into();
        annotations[DIGEST] = contents.digest().into();
        self.data = Hidden(contents.encode());
        self
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fresh() -> Secret {
        serde_json::from_value(json!({
            "kind": "Secret", "apiVersion": "v1", "type": "Opaque",
            "metadata": {"name": "x", "resourceVersion": "5", "labels": {"a": "b"}, "annotations": {"other": "1"}},
        }))
        .unwrap()
    }

    fn contents(text: &str) -> Contents {
        let mut contents = Contents::default();
        contents.insert("tls.key", text.as_bytes().to_vec());
        contents
    }

    #[test]
    fn a_new_one_is_empty_and_what_is_written_is_the_same() {
        let ours = contents("key");
        assert_eq!(fresh().judge(&ours), Verdict::Empty);
        let written = fresh().with(&ours, 3);
        assert_eq!((written.judge(&ours), written.term()), (Verdict::Same, 3));
        assert!(written.holds(&ours, 3) && !written.holds(&ours, 4) && !written.holds(&contents("else"), 3));
        assert_eq!(written.judge(&contents("else")), Verdict::Other(ours));
    }

    #[test]
    fn what_is_not_ours_is_kept() {
        let written = serde_json::to_value(fresh().with(&contents("key"), 3)).unwrap();
        assert_eq!(written["type"], "Opaque");
        assert_eq!(written["metadata"]["labels"]["a"], "b");
        assert_eq!(written["metadata"]["annotations"]["other"], "1");
        assert_eq!(written["metadata"]["resourceVersion"], "5");
    }

    #[test]
    fn an_edit_is_seen_whatever_it_is() {
        let ours = contents("key");
        let mut value = serde_json::to_value(fresh().with(&ours, 3)).unwrap();
        let judge = |value: &Value| serde_json::from_value::<Secret>(value.clone()).unwrap().judge(&ours);
        value["data"]["tls.key"] = "b3RoZXI=".into();
        assert!(matches!(judge(&value), Verdict::Edited(Some(_), _)));
        value["data"]["tls.key"] = "%".into();
        assert!(matches!(judge(&value), Verdict::Edited(None, why) if why.contains("tls.key")));
        value["data"] = json!({});
        assert!(matches!(judge(&value), Verdict::Edited(Some(_), _)), "emptied is edited");
    }

    #[test]
    fn keys_do_not_reach_logs() {
        let text = format!("{:?}", fresh().with(&contents("key"), 3));
        assert!(text.contains("tls.key") && !text.contains("a2V5"), "{text}");
    }
}
