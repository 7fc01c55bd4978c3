//! Which stream and which subject a channel has. Other services may use it: docs/sync.md tells it, and it never changes.

use crate::broker::rules::Kind;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The token of a subject for what has no key.
const NO_KEY: &str = "-";

/// Names within one deployment.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
    partitions: u16,
}

impl Names {
    pub(super) fn new(prefix: &str, partitions: u16) -> Self {
        Self { prefix: prefix.to_owned(), partitions: partitions.max(1) }
    }

    pub(super) fn partitions(&self) -> u16 {
        self.partitions
    }

    /// The stream of a partition.
    pub(super) fn stream(&self, partition: u16) -> String {
        format!("{}_{partition:02}", self.prefix.replace('.', "_").to_uppercase())
    }

    /// All subjects of a partition.
    pub(super) fn all(&self, partition: u16) -> String {
        format!("{}.{partition}.>", self.prefix)
    }

    /// The partition of a channel: FNV-1a of its name, modulo their count.
    pub(super) fn partition(&self, channel: &str) -> u16 {
        let hash = channel.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        (hash % u64::from(self.partitions)) as u16
    }

    /// What all subjects of a channel begin with.
    fn channel(&self, kind: Kind, channel: &str) -> String {
        let letter = match kind {
            Kind::Stream => 's',
            Kind::Value => 'v',
            Kind::Map => 'm',
        };
        format!("{}.{}.{letter}.{}", self.prefix, self.partition(channel), base32(channel))
    }

    /// The subject of a publication.
    pub(super) fn subject(&self, kind: Kind, channel: &str, key: Option<&str>) -> String {
        let key = key.map_or_else(|| NO_KEY.to_owned(), |key| format!("k{}", base32(key)));
        format!("{}.{key}", self.channel(kind, channel))
    }

    /// All subjects of a channel.
    pub(super) fn filter(&self, kind: Kind, channel: &str) -> String {
        format!("{}.*", self.channel(kind, channel))
    }

    /// The channel and the key of a subject; `None`: it is none of ours.
    pub(super) fn parse(&self, subject: &str) -> Option<(Kind, String, Option<String>)> {
        let mut tokens = subject.strip_prefix(&*self.prefix)?.strip_prefix('.')?.split('.');
        let _partition = tokens.next()?;
        let kind = match tokens.next()? {
            "s" => Kind::Stream,
            "v" => Kind::Value,
            "m" => Kind::Map,
            _ => return None,
        };
        let channel = read_base32(tokens.next()?)?;
        let key = match tokens.next()? {
            NO_KEY => None,
            key => Some(read_base32(key.strip_prefix('k')?)?),
        };
        tokens.next().is_none().then_some((kind, channel, key))
    }
}

/// RFC 4648 section 6, in lower case and without padding: fit for subjects, whatever the name.
pub(super) fn base32(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 8 / 5 + 1);
    let (mut bits, mut count) = (0_u32, 0);
    let mut push = |bits: u32| encoded.push(char::from(ALPHABET[(bits & 31) as usize]));
    for byte in text.bytes() {
        bits = (bits & 31) << 8 | u32::from(byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            push(bits >> count);
        }
    }
    if count > 0 {
        push(bits << (5 - count));
    }
    encoded
}

/// The inverse of [`base32`]; `None`: that is none.
pub(super) fn read_base32(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len() * 5 / 8);
    let (mut bits, mut count) = (0_u32, 0);
    for letter in encoded.bytes() {
        let value = ALPHABET.iter().position(|it| *it == letter)?;
        bits = (bits & 0xff) << 5 | u32::try_from(value).ok()?;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    (base32(&text) == encoded).then_some(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base32_is_that_of_rfc_4648() {
        for (text, encoded) in
            [("", ""), ("f", "my"), ("fo", "mzxq"), ("foob", "mzxw6yq"), ("foobar", "mzxw6ytboi")]
        {
            assert_eq!(base32(text), encoded);
        }
        for wrong in ["m", "MY", "mz", "m1", "my======"] {
            assert_eq!(read_base32(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn subjects_never_change() {
        let names = Names::new("acme.sw", 16);
        assert_eq!(names.subject(Kind::Stream, "chat", None), "acme.sw.11.s.mnugc5a.-");
        assert_eq!(names.subject(Kind::Map, "chat", Some("a")), "acme.sw.11.m.mnugc5a.kme");
        assert_eq!(names.filter(Kind::Map, "chat"), "acme.sw.11.m.mnugc5a.*");
        assert_eq!((names.stream(6), names.all(11)), ("ACME_SW_06".into(), "acme.sw.11.>".into()));
    }

    proptest! {
        #[test]
        fn subjects_tell_channel_and_key(channel in any::<String>(), key in prop::option::of(any::<String>())) {
            let names = Names::new("sw", 7);
            for kind in [Kind::Stream, Kind::Value, Kind::Map] {
                let subject = names.subject(kind, &channel, key.as_deref());
                prop_assert!(subject.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)));
                prop_assert_eq!(names.parse(&subject), Some((kind, channel.clone(), key.clone())));
            }
        }
    }
}
