//! Publications with deltas, of texts and bytes that make them hard.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use wss_node::wire::v1::Publication;
use wss_node::wire::{Broadcast, Form, Framing, replies};

/// States of channels, one after the other, as a subscriber with deltas gets them.
pub(crate) struct Chains {
    /// JSON as all peers write it.
    texts: Vec<Vec<Bytes>>,
    bytes: Vec<Vec<Bytes>>,
}

impl Chains {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut texts: Vec<Vec<Bytes>> = (0..20).map(|_| documents(&mut random)).collect();
        texts.push(hostile());
        let bytes = (0..20).map(|_| blocks(&mut random)).collect();
        Self { texts, bytes }
    }

    fn of(&self, framing: Framing) -> Vec<&Vec<Bytes>> {
        match framing {
            Framing::Json => self.texts.iter().collect(),
            Framing::Protobuf => self.texts.iter().chain(&self.bytes).collect(),
        }
    }

    pub(crate) fn frames(&self, framing: Framing) -> Value {
        let (mut whole, mut deltas) = (0, 0);
        let mut frame = |before: Option<&Bytes>, data: &Bytes| {
            let publication = Publication { data: data.clone(), ..Default::default() };
            let form = if before.is_some() { Form::Delta } else { Form::Whole };
            let frame = Broadcast::new("c", publication, before.cloned()).frame(framing, form).unwrap();
            let read = replies(framing, &frame).unwrap();
            *(if format!("{read:?}").contains("delta: true") { &mut deltas } else { &mut whole }) += 1;
            STANDARD.encode(frame)
        };
        let mut chain = |states: &Vec<Bytes>| -> Value {
            let before = std::iter::once(None).chain(states.iter().map(Some));
            before.zip(states).map(|(before, data)| frame(before, data)).collect()
        };
        let frames = self.of(framing).into_iter().map(&mut chain).collect();
        assert!(deltas > 150 && whole > 20, "both are tried: {deltas} deltas, {whole} whole");
        frames
    }

    pub(crate) fn told(&self, framing: Framing) -> Value {
        let told = |data: &Bytes| match framing {
            Framing::Json => Value::String(String::from_utf8(data.to_vec()).unwrap()),
            Framing::Protobuf => Value::String(STANDARD.encode(data)),
        };
        self.of(framing).into_iter().map(|states| states.iter().map(told).collect::<Value>()).collect()
    }
}

/// Characters that share their first bytes, that JSON escapes, and that commands of a delta are made of.
const CHARACTERS: [&str; 20] = [
    "é", "è", "ü", "日", "旦", "旧", "😀", "😁", "a", "b", "\"", "\\", "\n", "\u{1}", "\u{7f}", "@", ",",
    ":", ";", "\u{2028}",
];

fn text(random: &mut fastrand::Rng, length: usize) -> String {
    (0..random.usize(..=length)).map(|_| random.choice(CHARACTERS).unwrap()).collect()
}

fn documents(random: &mut fastrand::Rng) -> Vec<Bytes> {
    let mut parts: Vec<String> = (0..random.usize(1..30)).map(|_| text(random, 40)).collect();
    let states = (0..12).map(|_| {
        for _ in 0..random.usize(..3) {
            let (at, other) = (random.usize(..parts.len()), random.usize(..parts.len()));
            match random.u8(..4) {
                0 => parts[at] = text(random, 40),
                1 => parts.swap(at, other),
                2 => parts.insert(at, parts[other].clone()),
                _ => parts[at].insert_str(0, CHARACTERS[other % 20]),
            }
        }
        json!(parts).to_string().into()
    });
    states.collect()
}

/// Texts that repeat themselves, one that is a delta, and one that is nothing.
fn hostile() -> Vec<Bytes> {
    let texts = [
        "a".repeat(20_000),
        format!("{}b{}", "a".repeat(10_000), "a".repeat(10_000)),
        "ab".repeat(9_000),
        "aaaaaaab".repeat(2_500),
        "é".repeat(10_000),
        format!("{}è{}", "é".repeat(5_000), "é".repeat(5_000)),
        "v\nG@0,2:17d@I,3POX4W;".repeat(9),
        "v\nG@0,2:17d@I,3POX4X;".repeat(9),
        String::new(),
        "\u{0}".repeat(500),
        format!("{}\u{1}", "\u{0}".repeat(499)),
    ];
    texts.iter().map(|text| json!(text).to_string().into()).collect()
}

fn blocks(random: &mut fastrand::Rng) -> Vec<Bytes> {
    let symbols = random.choice([2u8, 4, 255]).unwrap();
    let mut state: Vec<u8> = (0..random.usize(1..3_000)).map(|_| random.u8(..symbols)).collect();
    let states = (0..12).map(|_| {
        let (from, to) = (random.usize(..state.len()), random.usize(..state.len()));
        match random.u8(..3) {
            0 => state.rotate_left(from),
            1 => state[from.min(to)..from.max(to)].reverse(),
            _ => state[from] ^= 0x80,
        }
        Bytes::from(state.clone())
    });
    states.collect()
}
