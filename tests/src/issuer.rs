//! Somebody who issues tokens: signs them with a key that can be exchanged, serves its key set and a token endpoint, and
//! answers questions about opaque tokens. It counts what it is asked, and can be told to misbehave.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::hook::Request;

/// How it behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mood {
    /// As it should.
    Good,
    /// It answers with this status.
    Status(u16),
    /// Its answers are 200 and no JSON.
    Rubbish,
    /// Its answers never end.
    Huge,
    /// It takes this long.
    Slow(Duration),
    /// It sends everybody elsewhere.
    Elsewhere(String),
}

/// A running issuer. Its client is `node` with the secret `p:w`.
#[derive(Debug)]
pub struct Issuer {
    /// Where it listens.
    pub address: SocketAddr,
    own: Arc<Own>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Own {
    key: Mutex<(String, EcdsaKeyPair)>,
    mood: Mutex<Mood>,
    /// What is said of opaque tokens; others are not active.
    opaque: Mutex<HashMap<String, Value>>,
    /// Claims of what the token endpoint gives out, and how many seconds it is good for.
    offer: Mutex<(Value, i64)>,
    fetches: AtomicU32,
    questions: AtomicU32,
    tokens: AtomicU32,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn new_key(kid: &str) -> (String, EcdsaKeyPair) {
    (kid.to_owned(), EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Issuer {
    /// Listens on a port of its own.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn start(address: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let own = Arc::new(Own {
            key: Mutex::new(new_key("key-1")),
            mood: Mutex::new(Mood::Good),
            opaque: Mutex::default(),
            offer: Mutex::new((json!({}), 600)),
            fetches: AtomicU32::new(0),
            questions: AtomicU32::new(0),
            tokens: AtomicU32::new(0),
        });
        let serving = Arc::clone(&own);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let own = Arc::clone(&serving);
                // A client that goes away early is no matter.
                tokio::spawn(async move { own.serve(stream).await.ok() });
            }
        });
        Self { address, own, task }
    }

    /// The URL of an endpoint: `jwks`, `introspect` or `token`.
    #[must_use]
    pub fn url(&self, endpoint: &str) -> String {
        format!("http://{}/{endpoint}", self.address)
    }

    /// Behaves so from now on.
    pub fn behave(&self, mood: Mood) {
        *locked(&self.own.mood) = mood;
    }

    /// Signs with a new key from now on; the old one is not in the set any more.
    pub fn rotate(&self, kid: &str) {
        *locked(&self.own.key) = new_key(kid);
    }

    /// A token for `ann` with more claims, good for so many seconds.
    #[must_use]
    pub fn token(&self, claims: &Value, seconds: i64) -> String {
        self.own.token(claims, seconds)
    }

    /// What it says of an opaque token.
    pub fn knows(&self, token: &str, answer: Value) {
        locked(&self.own.opaque).insert(token.to_owned(), answer);
    }

    /// What the token endpoint gives out.
    pub fn offers(&self, claims: Value, seconds: i64) {
        *locked(&self.own.offer) = (claims, seconds);
    }

    /// How often its key set was fetched.
    #[must_use]
    pub fn fetches(&self) -> u32 {
        self.own.fetches.load(Ordering::SeqCst)
    }

    /// How often it was asked about a token.
    #[must_use]
    pub fn questions(&self) -> u32 {
        self.own.questions.load(Ordering::SeqCst)
    }

    /// How many tokens the endpoint has given out.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        self.own.tokens.load(Ordering::SeqCst)
    }
}

impl Own {
    fn token(&self, claims: &Value, seconds: i64) -> String {
        let mut all = json!({"sub": "ann", "exp": OffsetDateTime::now_utc().unix_timestamp() + seconds});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let (kid, key) = &*locked(&self.key);
        let header = json!({"alg": "ES256", "kid": kid});
        let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", encode(header.to_string()), encode(all.to_string()));
        let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    fn set(&self) -> Value {
        let (kid, key) = &*locked(&self.key);
        let point = key.public_key().as_ref();
        let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        json!({"keys": [
            {"kty": "oct", "k": "c2VjcmV0", "kid": "of-no-use"},
            {"kty": "EC", "use": "sig", "crv": "P-256", "kid": kid, "x": part(1..33), "y": part(33..65)},
        ]})
    }

    fn said_of(&self, request: &Request) -> Option<Value> {
        let expected = format!("Basic {}", STANDARD.encode("node:p%3Aw"));
        (request.header("authorization") == Some(&expected)).then_some(())?;
        let form = String::from_utf8(request.bytes.clone()).ok()?;
        let token = form.split('&').find_map(|pair| pair.strip_prefix("token="))?;
        Some(locked(&self.opaque).get(token).cloned().unwrap_or_else(|| json!({"active": false})))
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let request = Request::read(&mut stream).await?;
        let (counter, answer) = match request.path.as_str() {
            "/jwks" => (&self.fetches, Some(self.set().to_string())),
            "/introspect" => (&self.questions, self.said_of(&request).map(|said| said.to_string())),
            _ => {
                let (claims, seconds) = locked(&self.offer).clone();
                (&self.tokens, Some(self.token(&claims, seconds)))
            }
        };
        counter.fetch_add(1, Ordering::SeqCst);
        let mood = locked(&self.mood).clone();
        let (status, more, body) = match (mood, answer) {
            (Mood::Status(status), _) => (status, String::new(), String::new()),
            (Mood::Rubbish, _) => (200, String::new(), "<html>back soon</html>".to_owned()),
            (Mood::Elsewhere(url), _) => (302, format!("Location: {url}\r\n"), String::new()),
            (Mood::Huge, _) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"keys\":[").await?;
                loop {
                    stream.write_all(&[b' '; 4096]).await?;
                }
            }
            (_, None) => (401, String::new(), String::new()),
            (Mood::Slow(time), Some(body)) => {
                tokio::time::sleep(time).await;
                (200, String::new(), body)
            }
            (Mood::Good, Some(body)) => (200, String::new(), body),
        };
        let length = body.len();
        let reply = format!(
            "HTTP/1.1 {status} X\r\n{more}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        stream.write_all(reply.as_bytes()).await
    }
}
