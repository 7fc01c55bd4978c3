use bytes::Bytes;

use crate::wire::v1::*;
use crate::wire::{Broadcast, Form, Framing, NotJson, fossil, replies};

const OLD: &[u8] = br#"{"position":{"x":1,"y":2},"name":"a name that stays the same"}"#;
const NEW: &[u8] = br#"{"position":{"x":1,"y":3},"name":"a name that stays the same"}"#;

fn broadcast(data: &'static [u8], base: Option<&'static [u8]>) -> Broadcast {
    let publication = Publication { data: Bytes::from_static(data), offset: 5, ..Publication::default() };
    Broadcast::new("c", publication, base.map(Bytes::from_static))
}

fn publication(framing: Framing, frame: &[u8]) -> Publication {
    match replies(framing, frame).unwrap().remove(0).answer {
        Some(reply::Answer::Push(Push { event: Some(push::Event::Pub(publication)), .. })) => publication,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_form_is_encoded_once_and_shared() {
    let broadcast = broadcast(NEW, Some(OLD));
    for framing in [Framing::Json, Framing::Protobuf] {
        for form in [Form::Plain, Form::Whole, Form::Delta] {
            let (one, two) =
                (broadcast.frame(framing, form).unwrap(), broadcast.frame(framing, form).unwrap());
            assert_eq!(one.as_ptr(), two.as_ptr(), "{framing:?} {form:?}");
        }
    }
    let plain = broadcast.frame(Framing::Protobuf, Form::Plain).unwrap();
    assert_eq!(plain.as_ptr(), broadcast.frame(Framing::Protobuf, Form::Whole).unwrap().as_ptr());
}

#[test]
fn clients_make_the_data_out_of_every_form() {
    let broadcast = broadcast(NEW, Some(OLD));
    let read = |framing, form| publication(framing, &broadcast.frame(framing, form).unwrap());
    assert_eq!(read(Framing::Json, Form::Plain).data, NEW);
    assert_eq!(read(Framing::Protobuf, Form::Plain).data, NEW);
    let whole = read(Framing::Json, Form::Whole);
    assert!(!whole.delta);
    assert_eq!(serde_json::from_slice::<String>(&whole.data).unwrap().as_bytes(), NEW);

    let delta = read(Framing::Json, Form::Delta);
    assert!(delta.delta && delta.offset == 5);
    let text: String = serde_json::from_slice(&delta.data).unwrap();
    assert_eq!(fossil::apply(OLD, text.as_bytes(), 1000).unwrap(), NEW);
    let delta = read(Framing::Protobuf, Form::Delta);
    assert_eq!(delta.data, text.as_bytes(), "one delta for both framings");
}

#[test]
fn without_a_smaller_delta_it_is_whole() {
    for broadcast in [broadcast(NEW, None), broadcast(b"[1]", Some(OLD))] {
        for framing in [Framing::Json, Framing::Protobuf] {
            let frame = broadcast.frame(framing, Form::Delta).unwrap();
            assert_eq!(frame.as_ptr(), broadcast.frame(framing, Form::Whole).unwrap().as_ptr());
            assert!(!publication(framing, &frame).delta);
        }
    }
}

#[test]
fn a_removal_is_no_delta() {
    let publication_of = Publication { key: "k".into(), removed: true, ..Publication::default() };
    let broadcast = Broadcast::new("c", publication_of.clone(), Some(Bytes::from_static(OLD)));
    for framing in [Framing::Json, Framing::Protobuf] {
        let frame = broadcast.frame(framing, Form::Delta).unwrap();
        assert_eq!(publication(framing, &frame), publication_of);
    }
}

#[test]
fn what_is_not_json_is_an_error_for_json_alone() {
    // Of the second there is a delta.
    for data in [b"\x00\xff", &OLD[1..]] {
        let broadcast = broadcast(data, Some(OLD));
        for form in [Form::Plain, Form::Whole, Form::Delta] {
            assert_eq!(broadcast.frame(Framing::Json, form), Err(NotJson));
            let read = publication(Framing::Protobuf, &broadcast.frame(Framing::Protobuf, form).unwrap());
            let made =
                if read.delta { fossil::apply(OLD, &read.data, 1000).unwrap() } else { read.data.to_vec() };
            assert_eq!(made, data);
        }
    }
}

#[test]
fn many_may_ask_at_once() {
    let broadcast = broadcast(NEW, Some(OLD));
    let frames: Vec<usize> = std::thread::scope(|scope| {
        let ask = || broadcast.frame(Framing::Json, Form::Delta).unwrap().as_ptr() as usize;
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(frames.iter().all(|frame| *frame == frames[0]));
}
