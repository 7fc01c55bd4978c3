use crate::wire::v1::*;
use crate::wire::{Limits, ReplyError, check};

const BAD: Result<(), ReplyError> = Err(ReplyError::BAD_REQUEST);
const LONG: Result<(), ReplyError> = Err(ReplyError::LIMIT_EXCEEDED);

const LIMITS: Limits =
    Limits { channel_bytes: 4, name_bytes: 4, token_bytes: 4, entries: 2, filter_nodes: 4 };

/// The request of a command in JSON, checked against narrow limits.
fn checked(request: &str) -> Result<(), ReplyError> {
    let command: Command = serde_json::from_str(&format!("{{{request}}}")).unwrap();
    check(&command.request.unwrap(), &LIMITS)
}

#[test]
fn requests_are_checked_for_form_and_size() {
    let filter = |filter: &str| format!(r#""subscribe":{{"channel":"c","tf":{filter}}}"#);
    let cases: Vec<(String, Result<(), ReplyError>)> = [
        (r#""connect":{}"#, Ok(())),
        (r#""connect":{"token":"four","name":"js","subs":{"a":{},"b":{}},"headers":{"a":"b"}}"#, Ok(())),
        (r#""connect":{"token":"five5"}"#, LONG),
        (r#""connect":{"name":"five5"}"#, LONG),
        (r#""connect":{"subs":{"a":{},"b":{},"c":{}}}"#, LONG),
        (r#""connect":{"subs":{"":{}}}"#, BAD),
        (r#""connect":{"subs":{"a":{"token":"five5"}}}"#, LONG),
        (r#""connect":{"headers":{"five5":""}}"#, LONG),
        (r#""connect":{"headers":{"a":"five5"}}"#, LONG),
        (r#""subscribe":{"channel":"four","recover":true,"epoch":"e","offset":9,"delta":"fossil"}"#, Ok(())),
        (r#""subscribe":{}"#, BAD),
        (r#""subscribe":{"channel":"five5"}"#, LONG),
        (r#""subscribe":{"channel":"ééé"}"#, LONG),
        (r#""subscribe":{"channel":"c","epoch":"five5"}"#, LONG),
        (r#""subscribe":{"channel":"c","delta":"xd3"}"#, BAD),
        (r#""subscribe":{"channel":"c","type":5}"#, BAD),
        (r#""subscribe":{"channel":"c","type":1,"phase":2,"limit":100,"cursor":"k"}"#, Ok(())),
        (r#""subscribe":{"channel":"c","type":1,"phase":3}"#, BAD),
        (r#""subscribe":{"channel":"c","type":1,"phase":-1}"#, BAD),
        (r#""subscribe":{"channel":"c","type":1,"limit":-1}"#, BAD),
        (r#""subscribe":{"channel":"c","phase":1}"#, BAD),
        (r#""subscribe":{"channel":"c","cursor":"k"}"#, BAD),
        (r#""unsubscribe":{"channel":"c"}"#, Ok(())),
        (r#""unsubscribe":{}"#, BAD),
        (r#""publish":{"channel":"c","data":null}"#, Ok(())),
        (r#""publish":{"channel":"c"}"#, BAD),
        (r#""publish":{"data":1}"#, BAD),
        (r#""publish":{"channel":"c","data":1,"key":"k"}"#, BAD),
        (r#""publish":{"channel":"c","data":1,"removed":true}"#, BAD),
        (r#""publish":{"channel":"c","data":1,"type":1}"#, BAD),
        (r#""publish":{"channel":"c","data":1,"type":2,"key":"k"}"#, BAD),
        (r#""publish":{"channel":"c","data":1,"type":1,"key":"k"}"#, Ok(())),
        (r#""publish":{"channel":"c","type":1,"key":"k"}"#, BAD),
        (r#""publish":{"channel":"c","type":1,"key":"five5","removed":true}"#, LONG),
        (r#""publish":{"channel":"c","type":1,"key":"k","removed":true}"#, Ok(())),
        (r#""presence":{"channel":"c"}"#, Ok(())),
        (r#""presence":{}"#, BAD),
        (r#""presence_stats":{"channel":"five5"}"#, LONG),
        (r#""history":{"channel":"c","limit":-1,"since":{"offset":1,"epoch":"e"}}"#, Ok(())),
        (r#""history":{"channel":"c","limit":-2}"#, BAD),
        (r#""history":{"channel":"c","since":{"epoch":"five5"}}"#, LONG),
        (r#""rpc":{}"#, Ok(())),
        (r#""rpc":{"method":"five5"}"#, LONG),
        (r#""ping":{}"#, Ok(())),
        (r#""send":{}"#, Ok(())),
        (r#""refresh":{"token":"t"}"#, Ok(())),
        (r#""refresh":{}"#, BAD),
        (r#""refresh":{"token":"five5"}"#, LONG),
        (r#""sub_refresh":{"channel":"c","token":"t"}"#, Ok(())),
        (r#""sub_refresh":{"channel":"c"}"#, BAD),
        (
            r#""sub_refresh":{"channel":"c","type":1,"track":[{"signature":"s","items":[{"key":"k"}]}]}"#,
            Ok(()),
        ),
        (r#""sub_refresh":{"channel":"c","type":1}"#, BAD),
        (r#""sub_refresh":{"channel":"c","type":1,"track":[{"items":[{},{}]}]}"#, LONG),
        (r#""sub_refresh":{"channel":"c","type":1,"track":[{"items":[{"key":"five5"}]}]}"#, LONG),
        (r#""sub_refresh":{"channel":"c","type":2,"untrack":["k"]}"#, Ok(())),
        (r#""sub_refresh":{"channel":"c","type":2,"untrack":["a","b","c"]}"#, LONG),
        (r#""sub_refresh":{"channel":"c","type":3}"#, BAD),
    ]
    .map(|(request, expected)| (request.to_owned(), expected))
    .into_iter()
    .chain([
        (filter(r#"{"key":"k","cmp":"eq","val":"v"}"#), Ok(())),
        (filter(r#"{"key":"k","cmp":"like"}"#), BAD),
        (filter(r#"{"key":"five5","cmp":"ex"}"#), LONG),
        (filter(r#"{"op":"and","nodes":[{"cmp":"ex"},{"cmp":"nex"},{"cmp":"eq"}]}"#), Ok(())),
        (filter(r#"{"op":"and","nodes":[{"cmp":"ex"},{"cmp":"nex"},{"cmp":"eq","val":"five5"}]}"#), LONG),
        (filter(r#"{"op":"or","nodes":[{"cmp":"ex"},{"cmp":"nex"},{"cmp":"eq"},{"cmp":"eq"}]}"#), LONG),
        (filter(r#"{"key":"k","cmp":"in","vals":["a","b","c","d"]}"#), LONG),
        (filter(r#"{"op":"and"}"#), BAD),
        (filter(r#"{"op":"not","nodes":[{"cmp":"ex"},{"cmp":"ex"}]}"#), BAD),
        (filter(r#"{"op":"xor","nodes":[{"cmp":"ex"}]}"#), BAD),
        (filter(r#"{"cmp":"eq","nodes":[{"cmp":"ex"}]}"#), BAD),
    ])
    .collect();
    for (request, expected) in cases {
        assert_eq!(checked(&request), expected, "{request}");
    }
}
