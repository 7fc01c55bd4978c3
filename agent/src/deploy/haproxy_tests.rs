#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use super::super::testing::generation;
use super::*;

struct Fixture {
    dir: tempfile::TempDir,
    target: Haproxy,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime { socket: dir.path().join("admin.sock"), timeout: Duration::from_secs(10) };
    let pem_file = dir.path().join("web.pem");
    let target = Haproxy { pem_file, readers: Readers(None), runtime, turn: Arc::default() };
    Fixture { dir, target }
}

impl Fixture {
    /// An HAProxy that gives these answers, one for each connection; gives back the first words it was asked.
    fn answers(&self, answers: &'static [&'static str]) -> JoinHandle<Vec<String>> {
        let listener = UnixListener::bind(&self.target.runtime.socket).unwrap();
        tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut heard = Vec::new();
                loop {
                    let mut buffer = [0; 4096];
                    let length = stream.read(&mut buffer).await.unwrap();
                    heard.extend_from_slice(&buffer[..length]);
                    let text = String::from_utf8_lossy(&heard);
                    let payload = text.contains("<<\n");
                    if length == 0
                        || (payload && text.ends_with("\n\n"))
                        || (!payload && text.ends_with('\n'))
                    {
                        break;
                    }
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
                let text = String::from_utf8(heard).unwrap();
                asked.push(text.split_whitespace().take(3).collect::<Vec<_>>().join(" "));
            }
            asked
        })
    }

    fn on_disk(&self) -> Vec<u8> {
        std::fs::read(self.dir.path().join("web.pem")).unwrap_or_default()
    }
}

#[tokio::test]
async fn it_is_set_written_and_committed() {
    let fixture = fixture();
    let asked =
        fixture.answers(&["Transaction created for certificate x!\n\n", "Committing x.\nSuccess!\n\n"]);
    let one = generation(1);
    fixture.target.apply(&one).await.unwrap();
    assert_eq!(asked.await.unwrap(), ["set ssl cert", "commit ssl cert"]);
    assert_eq!(fixture.on_disk(), combined(&one).as_bytes());
    assert!(fixture.target.holds(&one) && !fixture.target.holds(&generation(1)));
}

#[tokio::test]
async fn what_haproxy_refuses_is_aborted_and_not_written() {
    let fixture = fixture();
    let asked = fixture.answers(&["unable to load private key\n\n", "Transaction aborted\n"]);
    let error = fixture.target.apply(&generation(1)).await.unwrap_err();
    assert!(error.contains("set ssl cert: unable to load private key"), "{error}");
    assert_eq!(asked.await.unwrap(), ["set ssl cert", "abort ssl cert"]);
    assert_eq!(fixture.on_disk(), b"");
}

#[tokio::test]
async fn a_commit_that_fails_is_aborted_and_the_file_is_as_before() {
    let fixture = fixture();
    std::fs::write(fixture.dir.path().join("web.pem"), "old").unwrap();
    let asked =
        fixture.answers(&["Transaction updated for certificate x!\n", "Can't commit x!\n", "aborted\n"]);
    let error = fixture.target.apply(&generation(1)).await.unwrap_err();
    assert!(error.contains("Can't commit x!") && error.contains("is as before"), "{error}");
    assert_eq!(asked.await.unwrap(), ["set ssl cert", "commit ssl cert", "abort ssl cert"]);
    assert_eq!(fixture.on_disk(), b"old");
}

#[tokio::test]
async fn one_that_is_down_finds_the_new_one_when_it_starts() {
    let fixture = fixture();
    let one = generation(1);
    let error = fixture.target.apply(&one).await.unwrap_err();
    assert!(error.contains("cannot talk to HAProxy") && error.contains("for when HAProxy starts"), "{error}");
    assert_eq!(fixture.on_disk(), combined(&one).as_bytes());
}

#[test]
fn the_pem_is_of_one_piece() {
    let pem = combined(&generation(1));
    assert!(!pem.contains("\n\n"), "an empty line would end the command");
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n") && pem.ends_with("-----END PRIVATE KEY-----\n"));
    assert!(crate::store::key_from_pem(pem.as_bytes()).is_ok());
}
