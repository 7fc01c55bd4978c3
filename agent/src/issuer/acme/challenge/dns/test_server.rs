//! A DNS server for tests: one zone on loopback, UDP and TCP, updates that must be signed.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::rdata::tsig::{TsigAlgorithm, TsigError};
use hickory_proto::rr::rdata::{A, CNAME, NS, SOA, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType, TSigResponseContext, TSigner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[derive(Clone)]
pub(in super::super) struct TestServer(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    zone: Name,
    records: Mutex<BTreeMap<Name, Vec<RData>>>,
    signer: Option<TSigner>,
    /// TXT questions that are answered with nothing, as if the record had not arrived yet.
    lag: AtomicUsize,
    txt_questions: AtomicUsize,
    /// UDP answers say that they do not fit.
    truncates: bool,
}

impl TestServer {
    pub(in super::super) async fn start(zone: &str, key: Option<(&str, TsigAlgorithm, &[u8])>) -> Self {
        Self::with(zone, key, false).await
    }

    pub(in super::super) async fn with(
        zone: &str,
        key: Option<(&str, TsigAlgorithm, &[u8])>,
        truncates: bool,
    ) -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let signer = key.map(|(name, algorithm, key)| {
            TSigner::new(key.to_vec(), algorithm, Name::from_ascii(name).unwrap(), 300).unwrap()
        });
        let server = Self(Arc::new(Inner {
            address: tcp.local_addr().unwrap(),
            zone: Name::from_ascii(zone).unwrap(),
            records: Mutex::default(),
            signer,
            lag: AtomicUsize::new(0),
            txt_questions: AtomicUsize::new(0),
            truncates,
        }));
        tokio::spawn(server.clone().serve_udp(udp));
        tokio::spawn(server.clone().serve_tcp(tcp));
        server
    }

    pub(in super::super) fn address(&self) -> SocketAddr {
        self.0.address
    }

    pub(in super::super) fn txt(&self, name: &str, value: &str) {
        self.add(name, RData::TXT(TXT::new(vec![value.to_owned()])));
    }

    pub(in super::super) fn cname(&self, name: &str, to: &str) {
        self.add(name, RData::CNAME(CNAME(Name::from_ascii(to).unwrap())));
    }

    /// Says that `server` at 127.0.0.1 has the zone.
    pub(in super::super) fn name_server(&self, server: &str) {
        self.add(&self.0.zone.to_ascii(), RData::NS(NS(Name::from_ascii(server).unwrap())));
        self.add(server, RData::A(A::new(127, 0, 0, 1)));
    }

    pub(in super::super) fn add(&self, name: &str, data: RData) {
        let name = Name::from_ascii(name).unwrap();
        self.0.records.lock().unwrap().entry(name).or_default().push(data);
    }

    pub(in super::super) fn lag(&self, questions: usize) {
        self.0.lag.store(questions, Ordering::SeqCst);
    }

    pub(in super::super) fn txt_questions(&self) -> usize {
        self.0.txt_questions.load(Ordering::SeqCst)
    }

    /// The TXT values at a name, in alphabetical order.
    pub(in super::super) fn values(&self, name: &str) -> Vec<String> {
        let mut values: Vec<String> = self
            .data(&Name::from_ascii(name).unwrap(), RecordType::TXT)
            .iter()
            .map(|data| match data {
                RData::TXT(text) => String::from_utf8(text.txt_data.concat()).unwrap(),
                _ => unreachable!(),
            })
            .collect();
        values.sort();
        values
    }

    fn data(&self, name: &Name, kind: RecordType) -> Vec<RData> {
        let records = self.0.records.lock().unwrap();
        let all = records.get(&name.to_lowercase()).cloned().unwrap_or_default();
        all.into_iter().filter(|data| data.record_type() == kind).collect()
    }

    async fn serve_udp(self, socket: UdpSocket) {
        let mut buffer = vec![0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let mut reply = self.reply(&buffer[..length]);
            if self.0.truncates {
                let mut message = Message::from_vec(&reply).unwrap();
                message.metadata.truncation = true;
                message.answers.clear();
                reply = message.to_vec().unwrap();
            }
            socket.send_to(&reply, peer).await.unwrap();
        }
    }

    async fn serve_tcp(self, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let server = self.clone();
            // A client that goes away early is no matter.
            tokio::spawn(async move { server.serve_stream(stream).await.ok() });
        }
    }

    async fn serve_stream(self, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let length = stream.read_u16().await?;
            let mut request = vec![0; length.into()];
            stream.read_exact(&mut request).await?;
            let reply = self.reply(&request);
            stream.write_u16(reply.len().try_into().unwrap()).await?;
            stream.write_all(&reply).await?;
        }
    }

    fn reply(&self, bytes: &[u8]) -> Vec<u8> {
        let request = Message::from_vec(bytes).unwrap();
        let mut reply = Message::response(request.id, request.op_code);
        reply.queries = request.queries.clone();
        let mut mac = None;
        if let (Some(signer), Some(signature)) = (&self.0.signer, request.signature()) {
            match signer.verify_message_byte(bytes, None, true) {
                Ok((verified, _, times)) if times.contains(&now()) => mac = Some(verified),
                _ => {
                    reply.metadata.response_code = ResponseCode::NotAuth;
                    let context = if signature.name == *signer.signer_name() {
                        TSigResponseContext::bad_signature(request.id, now(), signer.clone())
                    } else {
                        TSigResponseContext::unknown_key(request.id, now(), signature.name.clone())
                    };
                    let signature = context.sign(&reply.to_vec().unwrap()).unwrap();
                    assert!(matches!(signature.data.error, Some(TsigError::BadSig | TsigError::BadKey)));
                    reply.set_signature(signature);
                    return reply.to_vec().unwrap();
                }
            }
        }
        match request.op_code {
            OpCode::Update if self.0.signer.is_some() && mac.is_none() => {
                reply.metadata.response_code = ResponseCode::Refused;
            }
            OpCode::Update => reply.metadata.response_code = self.update(&request),
            _ => self.answer(&request, &mut reply),
        }
        if let (Some(signer), Some(mac)) = (&self.0.signer, mac) {
            let context = TSigResponseContext::new(request.id, now(), signer.clone(), mac, None);
            let signature = context.sign(&reply.to_vec().unwrap()).unwrap();
            reply.set_signature(signature);
        }
        reply.to_vec().unwrap()
    }

    fn update(&self, request: &Message) -> ResponseCode {
        if request.queries[0].name() != &self.0.zone {
            return ResponseCode::NotAuth;
        }
        let mut records = self.0.records.lock().unwrap();
        for record in &request.authorities {
            let set = records.entry(record.name.to_lowercase()).or_default();
            match record.dns_class {
                DNSClass::IN if !set.contains(&record.data) => set.push(record.data.clone()),
                DNSClass::IN => {}
                DNSClass::NONE => set.retain(|data| *data != record.data),
                _ => return ResponseCode::FormErr,
            }
        }
        ResponseCode::NoError
    }

    fn answer(&self, request: &Message, reply: &mut Message) {
        let (mut name, kind) = (request.queries[0].name().clone(), request.queries[0].query_type());
        if kind == RecordType::TXT {
            self.0.txt_questions.fetch_add(1, Ordering::SeqCst);
            let waits = self.0.lag.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |lag| lag.checked_sub(1));
            if waits.is_ok() {
                return;
            }
        }
        // A resolver follows aliases; those that lead in a circle it gives up on.
        for _ in 0..8 {
            let Some(RData::CNAME(target)) = self.data(&name, RecordType::CNAME).first().cloned() else {
                break;
            };
            reply.add_answer(Record::from_rdata(name, 1, RData::CNAME(target.clone())));
            name = target.0;
            if kind == RecordType::CNAME {
                return;
            }
        }
        let data = self.data(&name, kind);
        reply.add_answers(data.into_iter().map(|data| Record::from_rdata(name.clone(), 1, data)));
        let soa = SOA::new(Name::root(), Name::root(), 1, 1, 1, 1, 1);
        let soa = Record::from_rdata(self.0.zone.clone(), 1, RData::SOA(soa));
        if kind == RecordType::SOA && name == self.0.zone {
            reply.add_answer(soa);
        } else if reply.answers.is_empty() && self.0.zone.zone_of(&name) {
            reply.add_authority(soa);
        } else if !self.0.zone.zone_of(&name) && reply.answers.is_empty() {
            reply.metadata.response_code = ResponseCode::Refused;
        }
    }
}
