use proptest::collection::vec;
use proptest::prelude::*;

use crate::wire::fossil::{ApplyError, MAX_BYTES, apply, create};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The sums were computed by the applier of centrifuge-python.
#[test]
fn the_form_is_that_of_fossil() {
    let base = br#"{"cursor":{"x":100,"y":200},"name":"somebody with a name"}"#;
    let target = br#"{"cursor":{"x":117,"y":200},"name":"somebody with a name"}"#;
    // 58 bytes: 16 from the start, two that are new, 40 from 18 on.
    assert_eq!(text(&create(base, target).unwrap()), "v\nG@0,2:17d@I,3POX4W;");
    assert_eq!(apply(b"", b"5\n5:abcde36ObD_;", 5).unwrap(), b"abcde");
    assert_eq!(apply(b"x", b"0\n0;", 0).unwrap(), b"");
    // It runs over, and the last word is one byte.
    let ones = [&b"9\n9:"[..], &[0xff; 8], b"\x01~~~z;"].concat();
    assert_eq!(apply(b"", &ones, 9).unwrap().len(), 9);
}

#[test]
fn what_would_not_be_smaller_is_nothing() {
    for (base, target) in [
        (&b""[..], &b""[..]),
        (b"abc", b"abc"),
        (b"", b"something that was not there before at all"),
        (b"1234567890123456", b"something that was not there before at all"),
    ] {
        assert_eq!(create(base, target), None, "{}", text(target));
    }
    let large = vec![b'x'; MAX_BYTES + 1];
    assert_eq!(create(&large, b"xxxxxxxxxxxxxxxxxxxxxxxxxxx"), None);
    assert_eq!(create(b"xxxxxxxxxxxxxxxxxxxxxxxxxxx", &large), None);
    let most = &large[1..];
    assert!(create(most, most).unwrap().len() < 20);
}

#[test]
fn moved_and_repeated_parts_are_found() {
    let parts: Vec<String> =
        (0..40).map(|n| format!("part number {n} has {} of its own; ", n * n * 7919)).collect();
    let base = parts.concat();
    let moved: String = parts[20..].iter().chain(&parts[..20]).map(String::as_str).collect();
    let inserted = format!("{}new{}{}", parts[..7].concat(), parts[7..].concat(), parts[3]);
    for target in [moved, inserted, parts[5].repeat(30), parts[30..].concat()] {
        let delta = create(base.as_bytes(), target.as_bytes()).unwrap();
        assert_eq!(apply(base.as_bytes(), &delta, 1 << 20).unwrap(), target.as_bytes());
        assert!(delta.len() < target.len() / 6, "{} of {}", delta.len(), target.len());
    }
}

#[test]
fn deltas_of_text_are_text() {
    // Neighbours among these share their first byte or two, so that common parts end within characters.
    let characters = ["é", "è", "ü", "日", "旦", "旧", "😀", "😁", "a"];
    let write =
        |seed: usize| -> String { (0..300).map(|n| characters[(n * n / 7 + n * seed / 50) % 9]).collect() };
    let mut deltas = 0;
    for seed in 0..60 {
        let (base, target) = (write(seed), write(seed + 1));
        if let Some(delta) = create(base.as_bytes(), target.as_bytes()) {
            deltas += 1;
            assert!(std::str::from_utf8(&delta).is_ok(), "{seed}");
            assert_eq!(apply(base.as_bytes(), &delta, 10_000).unwrap(), target.as_bytes());
        }
    }
    assert!(deltas > 20, "{deltas}");
}

#[test]
fn bad_deltas_are_errors() {
    use ApplyError::*;
    let base = b"hello, world";
    for (delta, expected) in [
        (&b""[..], Malformed),
        (b"5", Malformed),
        (b"5\n", Malformed),
        (b"\n0;", Malformed),
        (b"5\n5@0", Malformed),
        (b"5\n5@0,", Malformed),
        (b"5\n5@0;", Malformed),
        (b"5\n5@9,0;", OutOfBase),
        (b"5\n5@~~~~~,0;", OutOfBase),
        (b"5\n9:hello", Malformed),
        (b"5\n6@0,0;", Malformed),
        (b"5\n4@0,0;", Malformed),
        (b"5\n5@0,0;", Checksum),
        (b"5\n5!0,0;", Malformed),
        (b"~~~~~~~\n", Malformed),
        (b"~~~~~\n0;", TooLarge),
    ] {
        assert_eq!(apply(base, delta, 100), Err(expected), "{}", text(delta));
    }
}

/// Texts that repeat themselves, so that every piece has many places to look at.
#[test]
fn adversarial_texts_take_no_longer_than_their_size_allows() {
    let size = MAX_BYTES / 4;
    let noise = |mut state: u64, symbols: u64| -> Vec<u8> {
        let next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            b'a' + ((state >> 33) % symbols) as u8
        };
        std::iter::repeat_with(next).take(size).collect()
    };
    let almost: Vec<u8> = b"aaaaaaaaaaaaaaab".iter().copied().cycle().take(size).collect();
    let other: Vec<u8> = b"aaaaaaaab".iter().copied().cycle().take(size).collect();
    let texts = [vec![b'a'; size], almost, other, noise(1, 2), noise(2, 2), noise(3, 26), noise(4, 26)];
    for base in &texts {
        for target in &texts {
            let start = std::time::Instant::now();
            let delta = create(base, target);
            // Squared time would be four thousand million steps.
            assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
            if let Some(delta) = delta {
                assert!(apply(base, &delta, size).unwrap() == *target);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_delta_makes_its_target(pieces in vec("[ab]{0,20}|\\PC{0,9}", 1..12), order in vec(any::<usize>(), 0..20)) {
        let base = pieces.concat();
        let target: String = order.iter().map(|at| pieces[at % pieces.len()].as_str()).collect();
        if let Some(delta) = create(base.as_bytes(), target.as_bytes()) {
            prop_assert!(delta.len() < target.len());
            prop_assert!(std::str::from_utf8(&delta).is_ok());
            prop_assert_eq!(apply(base.as_bytes(), &delta, target.len()).unwrap(), target.as_bytes());
        }
    }

    #[test]
    fn bytes_of_any_kind_too(base in vec(0u8..4, 0..300), edits in vec((any::<usize>(), any::<u8>()), 0..6)) {
        let mut target = base.clone();
        for (at, byte) in edits {
            if !target.is_empty() {
                let at = at % target.len();
                target.splice(at..at, [byte; 3]);
            }
        }
        if let Some(delta) = create(&base, &target) {
            prop_assert_eq!(apply(&base, &delta, target.len()).unwrap(), target);
        }
    }

    #[test]
    fn applying_anything_does_not_panic(base in vec(any::<u8>(), 0..50), delta in "[0-9a-z~@,:;\n]{0,40}") {
        let _ = apply(&base, delta.as_bytes(), 1 << 16);
    }
}
