//! An official client in a process of its own, driven line by line (tests/clients): it does what it is told, and tells
//! what an application would see.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::Process;
use crate::tools;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whose client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// npm `centrifuge`, in Node.
    JavaScript,
    /// PyPI `centrifuge-python`.
    Python,
}

/// A process with any number of clients, by name.
#[derive(Debug)]
pub struct Sdk {
    process: Process,
    next: u64,
    /// Lines that were read.
    read: usize,
    answers: HashMap<u64, Value>,
    events: Vec<Value>,
    /// How far the events of each kind were looked at.
    heard: HashMap<String, usize>,
}

impl Sdk {
    /// Starts it; `None` if it is not installed (never in CI).
    #[must_use]
    pub fn start(maker: Maker, url: &str, root: &Path) -> Option<Self> {
        let clients = tools::repository().join("tests/clients");
        let mut command = match maker {
            Maker::JavaScript => {
                let node = tools::find("node")?;
                tools::find("js/node_modules/centrifuge")?;
                let mut command = Command::new(node);
                command.arg(clients.join("js/channels.mjs")).arg(tools::dir().join("js"));
                command
            }
            Maker::Python => {
                let mut command = Command::new(tools::find("python/bin/python")?);
                command.arg(clients.join("python/channels.py"));
                command
            }
        };
        command.args(["--url", url, "--ca"]).arg(root);
        let process = Process::start(&format!("{maker:?}"), &mut command);
        let (answers, events, heard) = (HashMap::new(), Vec::new(), HashMap::new());
        Some(Self { process, next: 1, read: 0, answers, events, heard })
    }

    /// Tells it to do something and does not wait; gives back the number of the order.
    pub fn order(&mut self, what: &str, mut with: Value) -> u64 {
        let id = self.next;
        self.next += 1;
        with["id"] = id.into();
        with["do"] = what.into();
        self.process.say(&with.to_string());
        id
    }

    /// Takes in what was told since.
    fn read(&mut self) {
        let lines = self.process.lines_after(self.read);
        self.read += lines.len();
        // What is no JSON is for whoever reads the log of a failure.
        for told in lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            match told["re"].as_u64() {
                Some(id) => drop(self.answers.insert(id, told)),
                None => self.events.push(told),
            }
        }
    }

    /// Reads until there is what is looked for.
    fn until<T>(&mut self, what: &str, mut find: impl FnMut(&mut Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            self.read();
            if let Some(found) = find(self) {
                return found;
            }
            assert!(Instant::now() < end, "not told within {PATIENCE:?}: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for what became of an order.
    ///
    /// # Errors
    /// What the client said: `{"code", "message"}`.
    ///
    /// # Panics
    /// When it says nothing.
    pub fn answer(&mut self, id: u64) -> Result<Value, Value> {
        let mut told = self.until(&format!("the end of order {id}"), |sdk| sdk.answers.remove(&id));
        match told.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(told["ok"].take()),
        }
    }

    /// Tells it to do something and waits.
    ///
    /// # Errors
    /// As [`Sdk::answer`].
    pub fn ask(&mut self, what: &str, with: Value) -> Result<Value, Value> {
        let id = self.order(what, with);
        self.answer(id)
    }

    /// The same, when it must succeed.
    ///
    /// # Panics
    /// When it does not.
    pub fn does(&mut self, what: &str, with: Value) -> Value {
        let told = with.to_string();
        self.ask(what, with).unwrap_or_else(|error| panic!("{what} {told}: {error}"))
    }

    /// Waits for the next event of a client, of one of these kinds, that was not given back yet: events of other kinds
    /// are passed over, those of these kinds come one by one and in order.
    ///
    /// # Panics
    /// When there is none, with all that was told.
    pub fn event(&mut self, client: &str, kinds: &[&str]) -> Value {
        let name = format!("{client} {kinds:?}");
        self.until(&name, |sdk| {
            let at = sdk.heard.entry(name.clone()).or_default();
            while let Some(told) = sdk.events.get(*at) {
                *at += 1;
                if told["client"] == client && kinds.iter().any(|kind| told["ev"] == *kind) {
                    return Some(told.clone());
                }
            }
            None
        })
    }

    /// The data of the next publications of a client, that many.
    pub fn publications(&mut self, client: &str, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.event(client, &["publication"])["data"].take()).collect()
    }

    /// All events of a client of a kind so far.
    pub fn events(&mut self, client: &str, kind: &str) -> Vec<Value> {
        self.all_events(client).into_iter().filter(|told| told["ev"] == kind).collect()
    }

    /// All events of a client so far.
    pub fn all_events(&mut self, client: &str) -> Vec<Value> {
        self.read();
        self.events.iter().filter(|told| told["client"] == client).cloned().collect()
    }

    /// Connects a client and waits until it is; gives back its id.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn connect(&mut self, client: &str, with: Value) -> String {
        let mut with = with;
        with["client"] = client.into();
        self.does("connect", with);
        self.event(client, &["connected"])["id"].as_str().unwrap_or_default().to_owned()
    }

    /// Subscribes a client and waits until it is; gives back what it was told.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn subscribe(&mut self, client: &str, channel: &str, kind: &str, options: &Value) -> Value {
        self.does(
            "subscribe",
            json!({ "client": client, "channel": channel, "kind": kind, "options": options }),
        );
        self.event(client, &["subscribed"])
    }
}
