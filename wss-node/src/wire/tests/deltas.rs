use std::collections::HashMap;

use bytes::Bytes;

use crate::wire::v1::Publication;
use crate::wire::{Framing, Kind, NotJson, catch_up, fossil, whole};

fn state(n: usize) -> Bytes {
    format!(r#"{{"n":{n},"text":"the very same text in each of them, é","more":[1,2,3,4,5,6]}}"#).into()
}

fn publication(key: &str, n: usize) -> Publication {
    Publication { key: key.into(), data: state(n), offset: n as u64, ..Publication::default() }
}

/// What a client has after it took these, by key; and how many were deltas.
fn taken(framing: Framing, publications: &[Publication]) -> (HashMap<String, Bytes>, usize) {
    let mut held: HashMap<String, Bytes> = HashMap::new();
    let mut deltas = 0;
    for publication in publications {
        if publication.removed {
            held.remove(&publication.key);
            continue;
        }
        let data = match framing {
            Framing::Json => serde_json::from_slice::<String>(&publication.data).unwrap().into_bytes(),
            Framing::Protobuf => publication.data.to_vec(),
        };
        let data = if publication.delta {
            deltas += 1;
            fossil::apply(&held[&publication.key], &data, 1000).unwrap()
        } else {
            data
        };
        held.insert(publication.key.clone(), data.into());
    }
    (held, deltas)
}

#[test]
fn a_stream_is_a_chain_of_deltas() {
    for framing in [Framing::Json, Framing::Protobuf] {
        let mut publications: Vec<_> = (1..=5).map(|n| publication("", n)).collect();
        catch_up(framing, Kind::Stream, &mut publications).unwrap();
        assert!(!publications[0].delta);
        let (held, deltas) = taken(framing, &publications);
        assert_eq!((&held[""], deltas), (&state(5), 4));
    }
}

#[test]
fn a_map_has_a_chain_for_each_key() {
    for framing in [Framing::Json, Framing::Protobuf] {
        let removed = Publication { key: "a".into(), removed: true, ..Publication::default() };
        let mut publications = vec![
            publication("a", 1),
            publication("b", 2),
            publication("a", 3),
            removed,
            publication("a", 4),
            publication("b", 5),
        ];
        catch_up(framing, Kind::Map, &mut publications).unwrap();
        let is_delta: Vec<_> = publications.iter().map(|publication| publication.delta).collect();
        assert_eq!(is_delta, [false, false, true, false, false, true]);
        let (held, _) = taken(framing, &publications);
        assert_eq!(held, [("a".to_owned(), state(4)), ("b".to_owned(), state(5))].into());
    }
}

#[test]
fn pages_of_state_are_strings_in_json_and_bytes_in_protobuf() {
    let mut page = vec![publication("a", 1)];
    whole(Framing::Protobuf, &mut page).unwrap();
    assert_eq!(page, [publication("a", 1)]);
    whole(Framing::Json, &mut page).unwrap();
    assert_eq!(serde_json::from_slice::<String>(&page[0].data).unwrap().as_bytes(), state(1));
}

#[test]
fn what_is_not_json_stops_json_alone() {
    let broken = || vec![Publication { data: Bytes::from_static(b"{"), ..Publication::default() }];
    assert_eq!(catch_up(Framing::Json, Kind::Stream, &mut broken()), Err(NotJson));
    assert_eq!(whole(Framing::Json, &mut broken()), Err(NotJson));
    let mut publications = broken();
    catch_up(Framing::Protobuf, Kind::Stream, &mut publications).unwrap();
    assert_eq!(publications, broken());
}
