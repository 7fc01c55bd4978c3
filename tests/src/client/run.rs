//! The client at work: connect, serve, lose, pause, again.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use wss_node::wire::v1::{ConnectRequest, Push, Reply, SubscribeResult, UnsubscribeRequest};
use wss_node::wire::{Answer, Disconnect, Event as Pushed, Framing, Unsubscribed};

use super::link::{Link, LinkError};
use super::subscription::Subscription;
use super::{Event, Order, Settings};

/// Subscribing again after a refusal that may pass.
const AGAIN: Duration = Duration::from_millis(100);
/// An error with which SDKs do not give up although it is not temporary: a new token is asked for.
const TOKEN_EXPIRED: u32 = 109;

/// Why a connection is over.
enum Over {
    Lost {
        code: Option<u16>,
        reason: String,
    },
    Ended {
        code: u32,
        reason: String,
    },
    /// Nobody wants it any more.
    Dropped,
}

impl From<LinkError> for Over {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Closed { code, reason } => {
                let disconnect = Disconnect { code, reason: "" };
                if disconnect.reconnects() {
                    Self::Lost { code: Some(code), reason }
                } else {
                    Self::Ended { code: code.into(), reason }
                }
            }
            LinkError::Broken(error) => error.into(),
        }
    }
}

impl From<anyhow::Error> for Over {
    fn from(error: anyhow::Error) -> Self {
        Self::Lost { code: None, reason: format!("{error:#}") }
    }
}

impl From<tokio::time::error::Elapsed> for Over {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self::Lost { code: None, reason: "no answer in time".to_owned() }
    }
}

/// What an answer is for.
enum Asked {
    Subscribe(String),
    Call(oneshot::Sender<Answer>),
    Nothing,
}

pub(super) struct Run {
    settings: Settings,
    orders: mpsc::UnboundedReceiver<Order>,
    events: mpsc::UnboundedSender<Event>,
    subscriptions: BTreeMap<String, Subscription>,
    /// When each is to be asked for again.
    again: BTreeMap<String, Instant>,
    asked: HashMap<u32, Asked>,
    next_id: u32,
    /// No ping for so long: the connection is lost.
    silence: Duration,
    random: fastrand::Rng,
}

impl Run {
    pub(super) fn new(
        settings: Settings,
        orders: mpsc::UnboundedReceiver<Order>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let random = fastrand::Rng::with_seed(settings.seed);
        let silence = settings.timeout;
        let (subscriptions, again, asked) = (BTreeMap::new(), BTreeMap::new(), HashMap::new());
        Self { settings, orders, events, subscriptions, again, asked, next_id: 1, silence, random }
    }

    pub(super) async fn run(mut self) {
        let mut pause = self.settings.first_pause;
        for attempt in 0.. {
            let address = self.settings.addresses[attempt % self.settings.addresses.len()];
            let over = match self.connect(address).await {
                Ok(mut link) => {
                    pause = self.settings.first_pause;
                    match self.serve(&mut link).await {
                        Ok(never) => match never {},
                        Err(over) => over,
                    }
                }
                Err(over) => over,
            };
            // Whoever waits for an answer learns that there is none.
            self.asked.clear();
            match over {
                Over::Lost { code, reason } => {
                    if code == Some(Disconnect::STATE_INVALIDATED.code) {
                        self.subscriptions.values_mut().for_each(Subscription::forget);
                    }
                    self.tell(Event::Lost { code, reason });
                }
                Over::Ended { code, reason } => return self.tell(Event::Ended { code, reason }),
                Over::Dropped => return,
            }
            tokio::time::sleep(pause.mul_f64(self.random.f64())).await;
            pause = (pause * 2).min(self.settings.longest_pause);
        }
    }

    fn tell(&self, event: Event) {
        // A test that ends does not listen any more.
        let _ = self.events.send(event);
    }

    async fn connect(&mut self, address: std::net::SocketAddr) -> Result<Link, Over> {
        let Settings { tls, framing, timeout: limit, token, .. } = self.settings.clone();
        let mut link = timeout(limit, Link::open(address, tls, framing)).await??;
        let id = self.id(Asked::Nothing);
        let connect = ConnectRequest { token, name: "sealwire-tests".to_owned(), ..Default::default() };
        link.send(id, connect.into()).await?;
        let reply = timeout(limit, link.next()).await??;
        match reply.answer {
            Some(Answer::Connect(result)) => {
                self.silence = Duration::from_secs(result.ping.into()) + limit;
                self.tell(Event::Connected(result.into()));
            }
            Some(Answer::Error(error)) if error.temporary || error.code == TOKEN_EXPIRED => {
                return Err(Over::Lost { code: None, reason: error.message });
            }
            Some(Answer::Error(error)) => {
                return Err(Over::Ended { code: error.code, reason: error.message });
            }
            other => return Err(anyhow::anyhow!("the answer to connect is {other:?}").into()),
        }
        let channels: Vec<_> = self.subscriptions.keys().cloned().collect();
        self.again.clear();
        for channel in channels {
            self.subscribe(&mut link, &channel).await?;
        }
        Ok(link)
    }

    async fn serve(&mut self, link: &mut Link) -> Result<std::convert::Infallible, Over> {
        loop {
            let due = self.again.iter().min_by_key(|(_, due)| **due);
            let due = due.map(|(channel, due)| (channel.clone(), *due));
            tokio::select! {
                reply = timeout(self.silence, link.next()) => self.reply(link, reply??).await?,
                order = self.orders.recv() => match order {
                    Some(order) => timeout(self.settings.timeout, self.order(link, order)).await??,
                    None => return Err(Over::Dropped),
                },
                () = async { tokio::time::sleep_until(due.as_ref().map_or_else(Instant::now, |due| due.1)).await },
                    if due.is_some() =>
                {
                    if let Some((channel, _)) = due {
                        self.again.remove(&channel);
                        self.subscribe(link, &channel).await?;
                    }
                }
            }
        }
    }

    fn id(&mut self, asked: Asked) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        self.asked.insert(id, asked);
        id
    }

    async fn subscribe(&mut self, link: &mut Link, channel: &str) -> Result<(), Over> {
        let Some(subscription) = self.subscriptions.get(channel) else { return Ok(()) };
        let request = subscription.request();
        let id = self.id(Asked::Subscribe(channel.to_owned()));
        Ok(link.send(id, request.into()).await?)
    }

    async fn order(&mut self, link: &mut Link, order: Order) -> Result<(), Over> {
        match order {
            Order::Subscribe { channel, wishes } => {
                self.subscriptions.insert(channel.clone(), Subscription::new(&channel, wishes));
                self.subscribe(link, &channel).await
            }
            Order::Unsubscribe { channel } => {
                self.subscriptions.remove(&channel);
                self.again.remove(&channel);
                let id = self.id(Asked::Nothing);
                Ok(link.send(id, UnsubscribeRequest { channel }.into()).await?)
            }
            // Whoever asked has given up while there was no connection.
            Order::Call { answer, .. } if answer.is_closed() => Ok(()),
            Order::Call { request, answer } => {
                let id = self.id(Asked::Call(answer));
                Ok(link.send(id, *request).await?)
            }
        }
    }

    async fn reply(&mut self, link: &mut Link, reply: Reply) -> Result<(), Over> {
        match (reply.id, reply.answer) {
            (0, None) => Ok(timeout(self.settings.timeout, link.pong()).await??),
            (0, Some(Answer::Push(push))) => self.push(push),
            (id, Some(answer)) => match self.asked.remove(&id) {
                Some(Asked::Call(asker)) => {
                    // It may have given up.
                    let _ = asker.send(answer);
                    Ok(())
                }
                Some(Asked::Subscribe(channel)) => self.subscribed(channel, answer),
                Some(Asked::Nothing) => Ok(()),
                None => Err(anyhow::anyhow!("an answer to nothing, or a second one: {id} {answer:?}").into()),
            },
            (id, None) => Err(anyhow::anyhow!("an empty answer to {id}").into()),
        }
    }

    fn framing(&self) -> Framing {
        self.settings.framing
    }

    fn subscribed(&mut self, channel: String, answer: Answer) -> Result<(), Over> {
        let framing = self.framing();
        match answer {
            Answer::Subscribe(mut result) => {
                // It was ended meanwhile.
                let Some(subscription) = self.subscriptions.get_mut(&channel) else { return Ok(()) };
                let missed = subscription.subscribed(framing, &mut result)?;
                self.tell_subscribed(&channel, result, missed);
                Ok(())
            }
            Answer::Error(error) if error.temporary || error.code == TOKEN_EXPIRED => {
                self.again.insert(channel, Instant::now() + AGAIN.mul_f64(1.0 + self.random.f64()));
                Ok(())
            }
            Answer::Error(error) => {
                self.subscriptions.remove(&channel);
                self.tell(Event::Unsubscribed { channel, code: error.code, reason: error.message });
                Ok(())
            }
            other => Err(anyhow::anyhow!("the answer to subscribe is {other:?}").into()),
        }
    }

    fn tell_subscribed(
        &self,
        channel: &str,
        result: SubscribeResult,
        missed: Vec<wss_node::wire::v1::Publication>,
    ) {
        let count = missed.len();
        self.tell(Event::Subscribed { channel: channel.to_owned(), result: result.into(), missed: count });
        for publication in missed {
            self.tell(Event::Publication { channel: channel.to_owned(), publication: publication.into() });
        }
    }

    fn push(&mut self, Push { channel, event, .. }: Push) -> Result<(), Over> {
        let framing = self.framing();
        match event {
            Some(Pushed::Pub(publication)) => {
                // One that was under way when the subscription ended.
                let Some(subscription) = self.subscriptions.get_mut(&channel) else { return Ok(()) };
                let publication = subscription.publication(framing, publication)?;
                self.tell(Event::Publication { channel, publication: publication.into() });
            }
            Some(Pushed::Join(join)) => {
                self.tell(Event::Joined { channel, info: join.info.unwrap_or_default() });
            }
            Some(Pushed::Leave(leave)) => {
                self.tell(Event::Left { channel, info: leave.info.unwrap_or_default() });
            }
            Some(Pushed::Message(message)) => {
                self.tell(Event::Message(serde_json::from_slice(&message.data).unwrap_or_default()));
            }
            Some(Pushed::Unsubscribe(told)) => {
                self.tell(Event::Unsubscribed {
                    channel: channel.clone(),
                    code: told.code,
                    reason: told.reason,
                });
                let code = Unsubscribed { code: told.code, reason: "" };
                match self.subscriptions.get_mut(&channel) {
                    Some(subscription) if code.resubscribes() => {
                        if told.code == Unsubscribed::STATE_INVALIDATED.code {
                            subscription.forget();
                        }
                        self.again.insert(channel, Instant::now());
                    }
                    _ => drop(self.subscriptions.remove(&channel)),
                }
            }
            _ => {}
        }
        Ok(())
    }
}
