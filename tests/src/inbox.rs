//! A receiver of alerts that keeps what it gets, and answers as it is told.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::hook::{Request, Service};

/// A receiver, until dropped.
#[derive(Debug)]
pub struct Inbox {
    /// Where it listens.
    pub address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    _service: Service,
}

#[derive(Debug, Default)]
struct Kept {
    posts: Vec<(u16, Request)>,
    answers: BTreeMap<String, VecDeque<u16>>,
}

impl Inbox {
    /// Listens on a port of its own; takes everything (202) unless told otherwise.
    pub async fn start(address: Ipv4Addr) -> Self {
        let kept = Arc::<Mutex<Kept>>::default();
        let shared = Arc::clone(&kept);
        let service = Service::start(address, move |request| {
            let mut kept = lock(&shared);
            let status = kept.answers.get_mut(&request.path).and_then(VecDeque::pop_front).unwrap_or(202);
            kept.posts.push((status, request));
            std::future::ready(status)
        });
        let service = service.await;
        Self { address: service.address, kept, _service: service }
    }

    /// The next requests to this path are answered so, one after the other.
    pub fn answer(&self, path: &str, statuses: impl IntoIterator<Item = u16>) {
        lock(&self.kept).answers.entry(path.to_owned()).or_default().extend(statuses);
    }

    /// Answers to this path that were announced and not given are not given any more.
    pub fn forgive(&self, path: &str) {
        lock(&self.kept).answers.remove(path);
    }

    /// What came to this path so far, each with the answer.
    #[must_use]
    pub fn posts(&self, path: &str) -> Vec<(u16, Request)> {
        lock(&self.kept).posts.iter().filter(|(_, request)| request.path == path).cloned().collect()
    }

    /// Of those, what was taken.
    #[must_use]
    pub fn taken(&self, path: &str) -> Vec<Request> {
        let posts = self.posts(path).into_iter();
        posts.filter(|(status, _)| (200..300).contains(status)).map(|(_, request)| request).collect()
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
