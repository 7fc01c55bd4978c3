#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use async_trait::async_trait;
use sealwire_proto::ocsp::Status;

use super::*;
use crate::revocation::fetch::Reply;
use crate::revocation::subject::subjects;
use crate::revocation::test_ca::{OCSP, TestCa, anchors, asked};

/// A responder that reads requests as one does; told whether it was a POST.
struct Responder<F> {
    respond: F,
    asked: Mutex<Vec<&'static str>>,
}

#[async_trait]
impl<F: Fn(&OcspRequest, bool) -> Result<Reply, FetchError> + Send + Sync> Fetch for Responder<F> {
    async fn fetch(&self, request: Request<'_>) -> Result<Reply, FetchError> {
        assert!(request.body.is_none_or(|(kind, _)| kind == REQUEST_TYPE));
        self.asked.lock().unwrap().push(if request.body.is_some() { "POST" } else { "GET" });
        (self.respond)(&asked(&request), request.body.is_some())
    }
}

struct Case {
    ca: TestCa,
    leaf: CertificateDer<'static>,
    question: Question,
}

impl Case {
    fn new(serial: u64) -> Self {
        let ca = TestCa::root("ca");
        let leaf = ca.leaf(serial, Some(OCSP), &[]);
        let subject = subjects(std::slice::from_ref(&leaf), &anchors(&[&ca])).remove(0);
        let question =
            Question { subject: Arc::new(subject), nonce: [5; NONCE_BYTES], timeout: Duration::from_secs(1) };
        Self { ca, leaf, question }
    }

    async fn ask(
        &self,
        respond: impl Fn(&OcspRequest, bool) -> Result<Reply, FetchError> + Send + Sync,
    ) -> (Result<Answer, String>, Vec<&'static str>) {
        let responder = Responder { respond, asked: Mutex::default() };
        let answer = ask(&self.question, &responder, Timestamp::now()).await;
        (answer, responder.asked.into_inner().unwrap())
    }

    fn response(&self, nonce: Option<&[u8]>) -> Vec<u8> {
        // Lifetimes of answer and nonce are one.
        let mut answer = sealwire_proto::ocsp::testing::Answer::good(
            &self.leaf,
            &self.ca.der,
            Timestamp::now().as_second(),
        );
        answer.nonce = nonce;
        answer.signed(|message| self.ca.sign(message))
    }
}

fn reply(body: Vec<u8>) -> Result<Reply, FetchError> {
    Ok(Reply { content_type: Some(RESPONSE_TYPE.to_owned()), body })
}

#[tokio::test]
async fn a_short_question_goes_by_get_and_names_the_certificate() {
    // Serials with and without a high bit are encoded as they stand in the certificate.
    for serial in [7, 0xff00_0000_0000_0001] {
        let case = Case::new(serial);
        let (answer, asked) = case
            .ask(|request, _| {
                let id = &request.tbs_request.request_list[0].req_cert;
                let (_, leaf) = X509Certificate::from_der(&case.leaf).unwrap();
                let plain = crate::revocation::subject::without_sign_byte;
                assert_eq!(plain(id.serial_number.as_bytes()), plain(leaf.raw_serial()));
                assert_eq!(request.nonce().unwrap().0.as_bytes(), [5; NONCE_BYTES]);
                // One's own nonce comes back.
                reply(case.response(Some(request.nonce().unwrap().0.as_bytes())))
            })
            .await;
        let answer = answer.unwrap();
        assert_eq!(
            (answer.verified.status, answer.url.as_str(), &asked[..]),
            (Status::Good, OCSP, &["GET"][..])
        );
    }
}

#[tokio::test]
async fn post_where_get_brings_nothing() {
    let case = Case::new(7);
    let useless: [fn() -> Result<Reply, FetchError>; 3] = [
        || Err(FetchError::Status(http::StatusCode::METHOD_NOT_ALLOWED)),
        || reply(b"nonsense".to_vec()),
        || Ok(Reply { content_type: Some("text/html".to_owned()), body: Vec::new() }),
    ];
    for useless in useless {
        let (answer, asked) =
            case.ask(|_, post| if post { reply(case.response(None)) } else { useless() }).await;
        assert_eq!((answer.is_ok(), &asked[..]), (true, &["GET", "POST"][..]));
    }
    // Nobody is there: asking in another way does not help.
    let (answer, asked) = case.ask(|_, _| Err(FetchError::Unreachable("refused".to_owned()))).await;
    assert_eq!((answer, &asked[..]), (Err(format!("{OCSP} cannot be reached: refused")), &["GET"][..]));
}

#[tokio::test]
async fn an_answer_without_a_nonce_is_taken_one_with_another_is_not() {
    let case = Case::new(7);
    let (answer, _) = case.ask(|_, _| reply(case.response(None))).await;
    assert_eq!(answer.unwrap().verified.nonce, None);
    let (answer, _) = case.ask(|_, _| reply(case.response(Some(&[6; 32])))).await;
    assert!(answer.unwrap_err().contains("a replay"));
}

#[tokio::test]
async fn an_answer_of_somebody_else_is_not_believed() {
    let case = Case::new(7);
    let other = TestCa::root("ca");
    let now = Timestamp::now();
    for response in
        [other.ocsp(&case.leaf, now, |_| ()), case.ca.ocsp(&case.ca.leaf(8, None, &[]), now, |_| ())]
    {
        let (answer, asked) = case.ask(|_, _| reply(response.clone())).await;
        assert!(answer.unwrap_err().contains("gives no usable answer"));
        assert_eq!(asked, ["GET", "POST"]);
    }
}

#[tokio::test]
async fn the_next_responder_is_asked_when_one_fails() {
    let mut case = Case::new(7);
    let mut subject = (*case.question.subject).clone();
    subject.responders.insert(0, format!("{OCSP}/down"));
    case.question.subject = Arc::new(subject);
    let net = crate::revocation::test_ca::TestNet::default();
    net.fail(&format!("{OCSP}/down"));
    // The base64 of every request begins with an M: a SEQUENCE.
    net.serve(&format!("{OCSP}/M"), case.response(None));
    let answer = ask(&case.question, &net, Timestamp::now()).await;
    assert_eq!(answer.unwrap().url, OCSP);
}

#[test]
fn long_questions_do_not_fit_into_a_url() {
    assert_eq!(get_url("http://o.test/", b"\xfb\xff").unwrap(), "http://o.test/%2B%2F8%3D");
    assert!(get_url("http://o.test", &[0; 150]).is_some());
    assert!(get_url("http://o.test", &[0; 200]).is_none());
}
