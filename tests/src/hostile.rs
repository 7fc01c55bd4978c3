//! An ACME CA of our own that can be told to misbehave: wholly, at one point, or in what it issues. It counts what
//! it is asked. Signatures are not checked (Pebble does that); nonces are.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::hook::Request;
use crate::world::World;

mod issue;

pub use issue::{CrlSays, INTERMEDIATE, Leaf, Level, Urls};

/// What the CA can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// `GET /dir`
    Directory,
    /// `HEAD` of a nonce.
    Nonce,
    /// A new account, or one for a known key.
    NewAccount,
    /// The account itself.
    Account,
    /// The orders of the account.
    Orders,
    /// A new order.
    NewOrder,
    /// An order's state.
    Order,
    /// Issue it.
    Finalize,
    /// The chain.
    Certificate,
    /// Renewal information (RFC 9773).
    RenewalInfo,
    /// Nothing that it knows.
    Other,
}

/// How it misbehaves.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answers this instead.
    Instead(Answer),
    /// Does what it is asked, and answers this.
    AfterDoing(Answer),
    /// Does what it is asked, and hangs up.
    CutAfterDoing,
    /// Does what it is asked, and answers with these members replaced.
    With(Value),
    /// Does what it is asked, and adds a header to the answer.
    Header(&'static str, String),
    /// Answers one byte a second.
    Drip,
}

/// An answer: status, headers, body.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers beside the nonce.
    pub headers: Vec<(&'static str, String)>,
    /// Usually JSON.
    pub body: String,
}

impl Answer {
    /// A problem document.
    #[must_use]
    pub fn problem(status: u16, kind: &str, detail: &str) -> Self {
        let body = json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail});
        Self {
            status,
            headers: vec![("Content-Type", "application/problem+json".into())],
            body: body.to_string(),
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn json(status: u16, body: &Value) -> Self {
        Self { status, headers: vec![("Content-Type", "application/json".into())], body: body.to_string() }
    }
}

/// The CA.
#[derive(Debug)]
pub struct Hostile {
    /// TOML of an issuer named "hostile".
    pub issuer: String,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Inner {
    base: String,
    signer: issue::Signer,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<(Point, usize, Fault)>,
    seen: Vec<Point>,
    nonces: BTreeSet<String>,
    /// Stands before the path of every URL but those of directory and account.
    prefix: String,
    accounts: usize,
    /// The newest account is forgotten.
    lost: bool,
    orders: Vec<Order>,
    leaf: Leaf,
    window: Option<Value>,
}

#[derive(Clone, Debug)]
struct Order {
    identifiers: Value,
    replaces: Value,
    chain: Option<String>,
}

impl Hostile {
    /// Starts it on port 14002 of the world.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(world: &World) -> Self {
        Self::start_naming(world, &Urls::default()).await
    }

    /// The same; what it issues names these URLs.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start_naming(world: &World, urls: &Urls) -> Self {
        let address = (world.address, 14002);
        let listener =
            TcpListener::bind(address).await.unwrap_or_else(|error| panic!("{address:?}: {error}"));
        let signer = issue::Signer::new(urls);
        let roots = world.write("hostile-root.pem", &signer.root_pem());
        let base = format!("http://{}:{}", address.0, address.1);
        let issuer = format!(
            "[acme.hostile]\ndirectory = \"{base}/dir\"\nterms_of_service_agreed = true\ntimeout = \"8s\"\n\
             trust_roots = \"{}\"\n",
            roots.display()
        );
        let inner = Arc::new(Inner { base, signer, state: Mutex::default() });
        let serving = Arc::clone(&inner);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let inner = Arc::clone(&serving);
                // A client that goes away early is no matter.
                tokio::spawn(async move { inner.serve(stream).await.ok() });
            }
        });
        Self { issuer, inner, task }
    }

    /// Misbehaves at a point, so many times.
    pub fn fault(&self, point: Point, times: usize, fault: Fault) {
        self.inner.state().faults.push((point, times, fault));
    }

    /// What is issued from now on.
    pub fn issue(&self, leaf: Leaf) {
        self.inner.state().leaf = leaf;
    }

    /// A CRL (DER) of one of its CAs, for an hour.
    #[must_use]
    pub fn crl(&self, says: &CrlSays<'_>) -> Vec<u8> {
        self.inner.signer.crl(says)
    }

    /// Offers renewal information; as JSON, `suggestedWindow` and all.
    pub fn renewal_info(&self, window: Value) {
        self.inner.state().window = Some(window);
    }

    /// From now on all is well.
    pub fn heal(&self) {
        let mut state = self.inner.state();
        state.faults.clear();
        state.leaf = Leaf::default();
    }

    /// All URLs but those of directory and account are others from now on.
    pub fn move_to(&self, prefix: &str) {
        self.inner.state().prefix = prefix.to_owned();
    }

    /// Forgets its accounts; a new one may be made.
    pub fn lose_accounts(&self) {
        self.inner.state().lost = true;
    }

    /// How often it was asked.
    #[must_use]
    pub fn count(&self, point: Point) -> usize {
        self.inner.state().seen.iter().filter(|seen| **seen == point).count()
    }

    /// How many requests there were in all.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.inner.state().seen.len()
    }

    /// How many orders it has.
    #[must_use]
    pub fn orders(&self) -> usize {
        self.inner.state().orders.len()
    }

    /// How many accounts it has.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.inner.state().accounts
    }
}

fn gone() -> Answer {
    Answer::problem(400, "accountDoesNotExist", "there is no such account")
}

/// What becomes of a connection.
enum Reply {
    Answer(Answer),
    Drip(Answer),
    Cut,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let request = Request::read(&mut stream).await?;
        let (answer, drip) = match self.reply(&request) {
            Reply::Answer(answer) => (answer, false),
            Reply::Drip(answer) => (answer, true),
            Reply::Cut => return Ok(()),
        };
        let nonce = format!("nonce-{:016x}", rand());
        self.state().nonces.insert(nonce.clone());
        let mut head = format!(
            "HTTP/1.1 {} X\r\nReplay-Nonce: {nonce}\r\nContent-Length: {}\r\nConnection: close\r\n",
            answer.status,
            answer.body.len()
        );
        for (name, value) in &answer.headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).await?;
        if request.head.first().is_some_and(|line| line.starts_with("HEAD ")) {
            return Ok(());
        }
        if drip {
            for byte in answer.body.bytes() {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            return Ok(());
        }
        stream.write_all(answer.body.as_bytes()).await?;
        stream.shutdown().await
    }

    fn reply(&self, request: &Request) -> Reply {
        let mut state = self.state();
        let path = request.path.as_str();
        let own = match path {
            "/dir" => "",
            path if path.starts_with("/account/") => path,
            path => path.strip_prefix(state.prefix.as_str()).unwrap_or(""),
        };
        let id = own.rsplit('/').next().and_then(|id| id.parse().ok()).unwrap_or(0);
        let point = if path == "/dir" { Point::Directory } else { point_of(own) };
        state.seen.push(point);
        let jws = |part: &str| -> Value {
            let text = request.body[part].as_str().unwrap_or_default();
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
            serde_json::from_slice(&bytes).unwrap_or_default()
        };
        if let Some(nonce) = jws("protected")["nonce"].as_str()
            && !state.nonces.remove(nonce)
        {
            return Reply::Answer(Answer::problem(400, "badNonce", "not one of mine"));
        }
        let fault = state.faults.iter().position(|(at, times, _)| *at == point && *times > 0);
        let fault = fault.map(|index| {
            let (_, times, fault) = &mut state.faults[index];
            *times = times.saturating_sub(1);
            fault.clone()
        });
        if let Some(Fault::Instead(answer)) = fault {
            return Reply::Answer(answer);
        }
        let mut answer = self.plainly(&mut state, point, id, &jws("payload"));
        match fault {
            Some(Fault::AfterDoing(instead)) => Reply::Answer(instead),
            Some(Fault::CutAfterDoing) => Reply::Cut,
            Some(Fault::Drip) => Reply::Drip(answer),
            Some(Fault::Header(name, value)) => Reply::Answer(answer.header(name, value)),
            Some(Fault::With(members)) => {
                let mut body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
                if let (Some(body), Some(members)) = (body.as_object_mut(), members.as_object()) {
                    body.extend(members.clone());
                }
                answer.body = body.to_string();
                Reply::Answer(answer)
            }
            Some(Fault::Instead(_)) | None => Reply::Answer(answer),
        }
    }

    /// As a good CA whose orders need no challenge.
    fn plainly(&self, state: &mut State, point: Point, id: usize, payload: &Value) -> Answer {
        let base = format!("{}{}", self.base, state.prefix);
        let url = |path: &str| format!("{base}/{path}");
        let open = [Point::Directory, Point::Nonce, Point::NewAccount, Point::RenewalInfo, Point::Other];
        if state.lost && !open.contains(&point) {
            return gone();
        }
        match point {
            Point::Directory => {
                let mut directory = json!({
                    "newNonce": url("nonce"), "newAccount": url("new-account"), "newOrder": url("new-order"),
                    "meta": {"profiles": {"classic": "90 days"}},
                });
                if state.window.is_some() {
                    directory["renewalInfo"] = url("ari").into();
                }
                Answer::json(200, &directory)
            }
            Point::Nonce => Answer { status: 200, ..Answer::default() },
            Point::NewAccount => {
                let new = state.accounts == 0 || std::mem::take(&mut state.lost);
                if new && payload["onlyReturnExisting"] == true {
                    state.lost = true;
                    return gone();
                }
                state.accounts += usize::from(new);
                let location = format!("{}/account/{}", self.base, state.accounts);
                Answer::json(if new { 201 } else { 200 }, &json!({"status": "valid"}))
                    .header("Location", location)
            }
            Point::Account => Answer::json(200, &json!({"status": "valid", "orders": url("orders")})),
            Point::Orders => {
                let orders: Vec<_> = (0..state.orders.len()).map(|id| url(&format!("order/{id}"))).collect();
                Answer::json(200, &json!({"orders": orders}))
            }
            Point::NewOrder => {
                let id = state.orders.len();
                let location = url(&format!("order/{id}"));
                let (identifiers, replaces) = (payload["identifiers"].clone(), payload["replaces"].clone());
                state.orders.push(Order { identifiers, replaces, chain: None });
                Answer::json(201, &self.order(state, id)).header("Location", location)
            }
            Point::Order if id < state.orders.len() => Answer::json(200, &self.order(state, id)),
            Point::Finalize if id < state.orders.len() => {
                let csr = payload["csr"].as_str().unwrap_or_default();
                let csr = BASE64_URL_SAFE_NO_PAD.decode(csr).unwrap_or_default();
                state.orders[id].chain = Some(self.signer.chain(&csr, &state.leaf));
                let location = url(&format!("order/{id}"));
                Answer::json(200, &self.order(state, id)).header("Location", location)
            }
            Point::Certificate => match state.orders.get(id).and_then(|order| order.chain.clone()) {
                Some(body) => {
                    let kind = ("Content-Type", "application/pem-certificate-chain".to_owned());
                    Answer { status: 200, headers: vec![kind], body }
                }
                None => Answer { status: 404, ..Answer::default() },
            },
            Point::RenewalInfo => {
                Answer::json(200, &state.window.clone().unwrap_or_default()).header("Retry-After", "21600")
            }
            Point::Order | Point::Finalize | Point::Other => Answer { status: 404, ..Answer::default() },
        }
    }

    fn order(&self, state: &State, id: usize) -> Value {
        let url = |what: &str| format!("{}{}/{what}/{id}", self.base, state.prefix);
        let order = &state.orders[id];
        let mut body = json!({
            "status": if order.chain.is_some() { "valid" } else { "ready" },
            "identifiers": order.identifiers, "authorizations": [], "finalize": url("finalize"),
        });
        if !order.replaces.is_null() {
            body["replaces"] = order.replaces.clone();
        }
        if order.chain.is_some() {
            body["certificate"] = url("certificate").into();
        }
        body
    }
}

fn point_of(path: &str) -> Point {
    match path.split('/').nth(1).unwrap_or_default() {
        "nonce" => Point::Nonce,
        "new-account" => Point::NewAccount,
        "account" => Point::Account,
        "orders" => Point::Orders,
        "new-order" => Point::NewOrder,
        "order" => Point::Order,
        "finalize" => Point::Finalize,
        "certificate" => Point::Certificate,
        "ari" => Point::RenewalInfo,
        _ => Point::Other,
    }
}

/// Nonces need only be different.
fn rand() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
