//! Publications from one session to another: what was acknowledged must come, once and in order.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::Value;

use crate::session::Session;
use crate::world::World;

/// One publishes, the other listens.
#[derive(Debug)]
pub struct Talk {
    publisher: Session,
    subscriber: Session,
    published: Vec<Value>,
}

impl Talk {
    /// Both connected and subscribed.
    ///
    /// # Panics
    /// When the node does not let them in.
    pub async fn begin(world: &World, tls: &Arc<ClientConfig>) -> Self {
        let mut subscriber = Session::open(world.node_address(), Arc::clone(tls)).await.unwrap();
        subscriber.subscribe("c").await.unwrap();
        let publisher = Session::open(world.node_address(), Arc::clone(tls)).await.unwrap();
        Self { publisher, subscriber, published: Vec::new() }
    }

    /// Publishes; tells the error, if it is refused.
    ///
    /// # Panics
    /// When the session breaks.
    pub async fn publish(&mut self, data: Value) -> Option<Value> {
        let id = self.publisher.publish("c", data.clone()).await.unwrap();
        loop {
            let reply = self.publisher.next().await.unwrap();
            if reply["id"] == id {
                let error = reply.get("error").cloned();
                if error.is_none() {
                    self.published.push(data);
                }
                return error;
            }
        }
    }

    /// All that was acknowledged has come, once and in order; what else came are notices.
    ///
    /// # Panics
    /// When something else came, or nothing.
    pub async fn all_has_come(&mut self) -> Vec<Value> {
        let (mut came, mut notices) = (Vec::new(), Vec::new());
        while came.len() < self.published.len() {
            let push = self.subscriber.next().await.unwrap()["push"].take();
            match push.get("pub") {
                Some(publication) => came.push(publication["data"].clone()),
                None => notices.push(push["message"]["data"]["breaker"].clone()),
            }
        }
        assert_eq!(came, self.published);
        self.published.clear();
        notices
    }
}
