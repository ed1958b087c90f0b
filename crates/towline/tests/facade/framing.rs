//! Which session a datagram belongs to, told by peers that send what no endpoint of ours would.

use bytes::Bytes;
use towline::transport::memory::{MemoryAddress, MemoryNetwork, MemoryReceiver, MemorySender};
use towline::transport::{DatagramSender, Transmit, Transport};
use towline::{ConnectError, Endpoint, EndpointBuilder, Framing, Mtu, Tag};
use towline_wire::data::{Codec, FrameId, SegmentHeader};
use towline_wire::start::{
    Capabilities, Cbor, Challenge, Message, SessionEstablished, StartSession,
};
use towline_wire::{DATA_VERSION, Dialect, START_VERSION, split_tag};

use crate::support::{Gate, MS, MemoryEndpoint, MemorySession, SECOND, accept, target};

const DIALECT: Dialect = Dialect::Rfc0007;
const ENDPOINT: MemoryAddress = MemoryAddress(1);
const PEERS: [MemoryAddress; 2] = [MemoryAddress(2), MemoryAddress(3)];

/// An endpoint, and peers that send what the test says.
struct Scripted {
    endpoint: MemoryEndpoint,
    framing: Framing,
    /// What the endpoint sends.
    gate: Gate,
    peers: [(MemorySender, MemoryReceiver); 2],
}

impl Scripted {
    fn tagged() -> Self {
        Self::new(Endpoint::builder(), Framing::Tagged)
    }

    fn bare() -> Self {
        Self::new(Endpoint::builder(), Framing::Bare)
    }

    fn new(builder: EndpointBuilder, framing: Framing) -> Self {
        let (network, gate) = (MemoryNetwork::new(), Gate::default());
        let transport = gate.in_front_of(network.bind(ENDPOINT).unwrap());
        let endpoint = builder.framing(framing).over(transport).unwrap();
        gate.copy();
        let peers = PEERS.map(|address| network.bind(address).unwrap().split());
        Self { endpoint, framing, gate, peers }
    }

    async fn send(&mut self, peer: usize, datagram: &[u8]) {
        self.send_all(peer, &[datagram]).await;
    }

    /// The endpoint receives all of them at once.
    async fn send_all(&mut self, peer: usize, datagrams: &[&[u8]]) {
        for datagram in datagrams {
            self.peers[peer].0.send(&Transmit::datagram(ENDPOINT, datagram)).await.unwrap();
        }
        tokio::time::sleep(MS).await;
    }

    async fn send_start(&mut self, peer: usize, message: &Message) {
        let datagram = self.frame_start(message);
        self.send(peer, &datagram).await;
    }

    fn frame_start(&self, message: &Message) -> Vec<u8> {
        let mut datagram = match self.framing {
            Framing::Tagged => Tag::START.to_bytes().to_vec(),
            Framing::Bare => Vec::new(),
        };
        message.encode(DIALECT, &mut datagram).unwrap();
        datagram
    }

    /// The endpoint asks a peer for a session, which grants it under the id.
    async fn connect(&mut self, peer: usize, id: &Cbor) -> Result<MemorySession, ConnectError> {
        self.connect_with(peer, id, &[]).await
    }

    /// The endpoint asks a peer for a session, which grants it under the id and sends its first data
    /// right behind.
    async fn connect_with(
        &mut self,
        peer: usize,
        id: &Cbor,
        data: &[&[u8]],
    ) -> Result<MemorySession, ConnectError> {
        let endpoint = self.endpoint.clone();
        let connecting =
            tokio::spawn(async move { endpoint.connect(PEERS[peer], &target()).await });
        tokio::time::sleep(MS).await;
        let (_, request) = self.gate.copies().pop().unwrap();
        let message = match self.framing {
            Framing::Tagged => split(&request).1,
            Framing::Bare => request.into(),
        };
        let Message::StartSession(StartSession { challenge, .. }) =
            Message::decode(DIALECT, message).unwrap()
        else {
            panic!("no request")
        };
        let grant = SessionEstablished { challenge, session_id: id.clone() };
        let grant = self.frame_start(&Message::SessionEstablished(grant));
        let mut datagrams = vec![&grant[..]];
        datagrams.extend(data);
        self.send_all(peer, &datagrams).await;
        connecting.await.unwrap()
    }
}

/// The tag and the message of a datagram.
fn split(datagram: &[u8]) -> (Tag, Bytes) {
    split_tag(Bytes::copy_from_slice(datagram)).unwrap()
}

/// The first frame of a session.
fn segment(data: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    let codec = Codec::new(DIALECT, Mtu::new(1400).unwrap());
    codec.encode_segment(SegmentHeader::single(FrameId::FIRST), data, &mut message).unwrap();
    message
}

//= docs/spec/framing.md#session-tags
//= type=test
//# An initiator MUST give up a granted session whose id is no integer from 15 to 2^61 - 1.
#[tokio::test(start_paused = true)]
async fn a_session_whose_id_is_no_tag_is_given_up() {
    for id in [Cbor::new(&14), Cbor::new(&(1_u64 << 61)), Cbor::new(&-15), Cbor::new("15")] {
        let id = id.unwrap();
        let result = Scripted::tagged().connect(0, &id).await;
        let Err(ConnectError::UnusableSessionId(unusable)) = result else { panic!("{result:?}") };
        assert_eq!(unusable, id);
    }
}

//= docs/spec/framing.md#session-tags
//= type=test
//# An initiator MUST give up a granted session whose id another of its sessions with the same peer
//# has.
#[tokio::test(start_paused = true)]
async fn a_session_whose_id_is_taken_is_given_up() {
    let mut scripted = Scripted::tagged();
    let id = Cbor::new(&15).unwrap();
    let _first = scripted.connect(0, &id).await.unwrap();
    let result = scripted.connect(0, &id).await;
    assert!(matches!(result, Err(ConnectError::UnusableSessionId(_))), "{result:?}");
}

//= docs/spec/framing.md#demultiplexing
//= type=test
//# A receiver MUST find the session of a message by the address of its sender and its tag together.
#[tokio::test(start_paused = true)]
async fn sessions_of_the_same_tag_with_two_peers_are_kept_apart() {
    let mut scripted = Scripted::tagged();
    let id = Cbor::new(&15).unwrap();
    let mut first = scripted.connect(0, &id).await.unwrap();
    let mut second = scripted.connect(1, &id).await.unwrap();
    for (peer, data) in [(1, b"two"), (0, b"one")] {
        let datagram = [&Tag::FIRST_SESSION.to_bytes()[..], &segment(data)].concat();
        scripted.send(peer, &datagram).await;
    }
    assert_eq!(first.recv_frame().await.unwrap().unwrap().into_bytes(), "one");
    assert_eq!(second.recv_frame().await.unwrap().unwrap().into_bytes(), "two");
}

#[tokio::test(start_paused = true)]
async fn data_in_one_batch_with_the_grant_is_the_session_s() {
    let data = [&Tag::FIRST_SESSION.to_bytes()[..], &segment(b"early")].concat();
    let mut scripted = Scripted::tagged();
    let id = Cbor::new(&15).unwrap();
    let mut session = scripted.connect_with(0, &id, &[&data]).await.unwrap();
    assert_eq!(session.recv_frame().await.unwrap().unwrap().into_bytes(), "early");
}

//= docs/spec/framing.md#tagged
//= type=test
//# A sender MUST write an 8-byte big-endian tag before the message in each datagram.
//= docs/spec/framing.md#tag-ranges
//= type=test
//# A sender MUST put every message of the Start protocol under tag 1.
//= docs/spec/framing.md#session-tags
//= type=test
//# A sender MUST put every message of the Data protocol under the tag whose number is the id of its
//# session.
#[tokio::test(start_paused = true)]
async fn start_is_under_tag_one_and_data_under_the_session_s_own() {
    let mut scripted = Scripted::tagged();
    let tag = Tag::new(0x0123_4567_89ab_cdef).unwrap();
    let mut session = scripted.connect(0, &Cbor::new(&tag.get()).unwrap()).await.unwrap();
    session.send_frame(Bytes::from_static(b"data")).await.unwrap();
    // Long enough for keep-alives and retransmissions.
    tokio::time::sleep(10 * SECOND).await;
    let sent = scripted.gate.copies();
    let tags = |version| {
        let messages = sent.iter().map(|(_, datagram)| split(datagram));
        let tags = messages.filter(move |(_, message)| message[0] == version);
        tags.map(|(tag, _)| tag).collect::<Vec<_>>()
    };
    let (start, data) = (tags(START_VERSION), tags(DATA_VERSION));
    assert!(start.len() > 2 && start.iter().all(|&tag| tag == Tag::START), "{start:?}");
    assert!(data.len() > 1 && data.iter().all(|&found| found == tag), "{data:?}");
}

//= docs/spec/framing.md#tagged
//= type=test
//# An endpoint MUST NOT count the tag as a part of the message when it compares that with the MTU
//# `C`.
#[tokio::test(start_paused = true)]
async fn the_mtu_does_not_count_the_tag() {
    let builder = Endpoint::builder().mtu(Mtu::new(500).unwrap());
    let mut scripted = Scripted::new(builder, Framing::Tagged);
    let mut session = scripted.connect(0, &Cbor::new(&15).unwrap()).await.unwrap();
    session.send_frame(Bytes::from(vec![7; 1000])).await.unwrap();
    tokio::time::sleep(MS).await;
    let longest = scripted.gate.copies().iter().map(|(_, datagram)| datagram.len()).max();
    assert_eq!(longest, Some(500 + Tag::LEN));
}

//= docs/spec/framing.md#bare
//= type=test
//# In bare framing an initiator MUST accept a session id that is any CBOR item.
#[tokio::test(start_paused = true)]
async fn any_item_is_a_session_id_in_bare_framing() {
    for id in [Cbor::new(&14), Cbor::new("a name"), Cbor::new(&[1, 2, 3])] {
        Scripted::bare().connect(0, &id.unwrap()).await.unwrap();
    }
}

//= docs/spec/framing.md#bare
//= type=test
//# In bare framing a receiver MUST ignore a datagram whose first byte is the version of neither
//# protocol.
#[tokio::test(start_paused = true)]
async fn a_version_of_neither_protocol_is_ignored_in_bare_framing() {
    let mut scripted = Scripted::bare();
    let _session = scripted.connect(0, &Cbor::new("a name").unwrap()).await.unwrap();
    for version in [0x00, 0x03, 0xff] {
        let mut datagram = segment(b"data");
        datagram[0] = version;
        scripted.send(0, &datagram).await;
    }
    assert_eq!(scripted.endpoint.stats().await.unwrap().ignored_datagrams, 3);
}

/// The entry's keep-alive may be lost, and data is as good.
//= docs/spec/start.md#half-open
//= type=test
//# A responder MUST take any valid message of the session from its peer, of either protocol, for
//# life.
#[tokio::test(start_paused = true)]
async fn data_confirms_a_session() {
    let mut scripted = Scripted::bare();
    let mut listener = scripted.endpoint.listen().unwrap();
    let request = StartSession {
        challenge: Challenge(7),
        capabilities: Capabilities::RELIABLE,
        additional_data: 0,
        target: target().to_cbor(DIALECT),
    };
    scripted.send_start(0, &Message::StartSession(request)).await;
    let _session = accept(&mut listener).await;
    scripted.send(0, &segment(b"life")).await;
    assert_eq!(scripted.endpoint.stats().await.unwrap().responder.confirmed, 1);
}
