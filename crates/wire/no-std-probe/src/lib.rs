//! Builds only while towline-wire does without the standard library.
//!
//! There is one panic handler in a program. This crate defines it, and so does `std`: as soon as any
//! crate below this one links `std`, the compiler refuses the second (E0152, "found duplicate lang
//! item `panic_impl`"). So the check needs no bare-metal target, only that of the host.
#![no_std]

extern crate alloc;

use alloc::vec::Vec;

use towline_wire::data::{Codec, FrameId, SegmentHeader};
use towline_wire::relay::{deployed, number};
use towline_wire::start::{Capabilities, Cbor, Challenge, Message, StartSession};
use towline_wire::{Dialect, Mtu};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// A session request, a segment and a question to the relay, encoded: all features, and the generic code
/// of CBOR and protobuf, at work.
pub fn encode(mtu: Mtu, target: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let request = Message::StartSession(StartSession {
        challenge: Challenge(1),
        capabilities: Capabilities::RELIABLE,
        additional_data: 0,
        target: Cbor::new(target).ok()?,
    });
    request.encode(Dialect::Rfc0007, &mut out).ok()?;
    let codec = Codec::new(Dialect::Rfc0007, mtu);
    codec.encode_segment(SegmentHeader::single(FrameId::FIRST), b"data", &mut out).ok()?;
    let login = deployed::Login::decode(out.clone().into()).ok()?;
    let identity = login.address?.identity_key[..].try_into().ok()?;
    let question =
        deployed::FindChatNumberByShortNumber { short_number: number::encode(&identity) };
    let payload = deployed::Payload::FindChatNumberByShortNumber(question);
    deployed::Message { sequence: 1, payload: Some(payload) }.encode(&mut out).ok()?;
    Some(out)
}
