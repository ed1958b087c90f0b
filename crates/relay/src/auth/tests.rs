use curve25519_dalek::constants::EIGHT_TORSION;
use towline_wire::relay::BASE32;

use super::*;

/// By the wire reference: an X25519 key whose Edwards form has the sign bit 0.
const POSITIVE: [&str; 3] = [
    "aa0b2e25e932841b6aa4cafa6b8d04f1b7a06deda4b4e2b2725606986e6fc328",
    "0a340a20aa0b2e25e932841b6aa4cafa6b8d04f1b7a06deda4b4e2b2725606986e6fc328121000112233445566778899aabbccddeeff1220000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    "745875e13887a00be73761dc510de511a6f2735ebc99f75b4b8cc8dac5b2349819477ad8c0c1563aa3c4c1e3e8ad4883e4397554edd4f5bac51fdbc42ed39e01",
];
/// And one with the sign bit 1.
const NEGATIVE: [&str; 3] = [
    "744853a68b0d91177a7872092159ab5a9143c97e3c0e625af92145c10d4ef649",
    "0a340a20744853a68b0d91177a7872092159ab5a9143c97e3c0e625af92145c10d4ef649121000112233445566778899aabbccddeeff1220000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    "3d1a77a00fb716ff384c7c7b321897428148739e2f3ec5d6d5c2af35dc64e6f973347069aea949d42a25df78e99b50d56609db9888a6db8aac3bebac66bc1c87",
];
const DEVICE: &str = "00112233445566778899aabbccddeeff";

/// The nonce of the vectors.
fn challenge() -> Challenge {
    Challenge(std::array::from_fn(|at| at as u8))
}

fn bytes(hex: &str) -> Bytes {
    hex::decode(hex).unwrap().into()
}

fn vector([_, login, signature]: [&str; 3]) -> AuthResponse {
    AuthResponse { login: bytes(login), signature: bytes(signature) }
}

fn deployed_login(identity: &[u8], device: &[u8], nonce: &[u8]) -> Bytes {
    let copy = Bytes::copy_from_slice;
    let address = deployed::Address { identity_key: copy(identity), device_id: copy(device) };
    let mut login = Vec::new();
    let message = deployed::Login { address: Some(address), nonce: copy(nonce) };
    message.encode(&mut login).unwrap();
    login.into()
}

fn seed_login(user: &[u8], device_id: u32, nonce: &[u8]) -> Bytes {
    let address = seed::Address { user_id: Bytes::copy_from_slice(user), device_id };
    let mut login = Vec::new();
    let message = seed::Login { address: Some(address), nonce: Bytes::copy_from_slice(nonce) };
    message.encode(&mut login).unwrap();
    login.into()
}

/// Keys whose Edwards forms have either sign.
fn keys() -> [Key; 2] {
    [0, 0x80].map(|sign| {
        let mut keys = (0..=255).map(|seed| Key::new(&[seed; 32]));
        keys.find(|key| key.user_id().key()[31] & 0x80 == sign).unwrap()
    })
}

#[test]
fn the_vectors_of_both_signs_log_in() {
    for vector_of in [POSITIVE, NEGATIVE] {
        let identity = Identity::try_from(&bytes(vector_of[0])[..]).unwrap();
        let device = Device::try_from(bytes(DEVICE)).unwrap();
        let address = challenge().verify_deployed(&vector(vector_of));
        assert_eq!(address, Ok(Address::new(identity, device)));
    }
}

#[test]
fn a_key_is_the_identity_that_clients_in_the_field_make_of_it() {
    let text = "jkrbbfgym19yz79saxym4mfqxbhzxtndf9r98m76upcxkgyr83cs54x5asgry4x6czscwkakgw476q7mudzgsug1kqrd83t466n1w4e";
    let secret = BASE32.decode(text.as_bytes()).unwrap();
    let identity = Key::new(secret[..32].try_into().unwrap()).identity();
    assert_eq!(identity.to_string(), "rfu2495fqazzpq1e3xkj1skmr9785hwbxggpr17ut1htj4h9nhyy");
}

#[test]
fn keys_of_both_signs_log_in_with_either_dialect() {
    let challenge = Challenge::random().unwrap();
    for key in keys() {
        let login = deployed_login(key.identity().as_bytes(), b"phone", challenge.as_bytes());
        let device = Device::try_from(Bytes::from("phone")).unwrap();
        let address = challenge.verify_deployed(&key.answer_deployed(login));
        assert_eq!(address, Ok(Address::new(key.identity(), device)));

        let login = seed_login(key.user_id().as_bytes(), 7, challenge.as_bytes());
        let address = challenge.verify_seed(&key.answer_seed(login));
        assert_eq!(address, Ok(Address::new(key.user_id(), Device::from(7))));
    }
}

#[test]
fn a_random_key_logs_in() {
    let (key, challenge) = (Key::random().unwrap(), Challenge::random().unwrap());
    let login = deployed_login(key.identity().as_bytes(), b"", challenge.as_bytes());
    assert!(challenge.verify_deployed(&key.answer_deployed(login)).is_ok());
}

#[test]
fn no_two_challenges_are_alike() {
    let challenges = [(); 2].map(|()| *Challenge::random().unwrap().as_bytes());
    assert_ne!(challenges[0], challenges[1]);
}

/// Every way to change one bit.
fn changed(bytes: &Bytes) -> impl Iterator<Item = Bytes> {
    (0..8 * bytes.len()).map(|bit| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes.into()
    })
}

/// Holds an answer that is right against a verdict, with every bit of it changed.
fn refuses_changes(answer: &AuthResponse, verdict: impl Fn(&AuthResponse) -> bool) {
    assert!(verdict(answer));
    for login in changed(&answer.login) {
        let answer = AuthResponse { login, ..answer.clone() };
        assert!(!verdict(&answer), "{}", hex::encode(&answer.login));
    }
    for signature in changed(&answer.signature) {
        let answer = AuthResponse { signature, ..answer.clone() };
        assert!(!verdict(&answer), "{}", hex::encode(&answer.signature));
    }
}

#[test]
fn a_changed_bit_anywhere_is_refused_in_the_deployed_dialect() {
    for vector_of in [POSITIVE, NEGATIVE] {
        refuses_changes(&vector(vector_of), |it| challenge().verify_deployed(it).is_ok());
    }
}

#[test]
fn a_changed_bit_anywhere_is_refused_in_the_seed_dialect() {
    let [key, _] = keys();
    let login = seed_login(key.user_id().as_bytes(), 7, challenge().as_bytes());
    let answer = key.answer_seed(login);
    refuses_changes(&answer, |it| challenge().verify_seed(it).is_ok());
}

#[test]
fn the_answer_to_another_challenge_is_refused() {
    let [key, _] = keys();
    let other = Challenge::random().unwrap();
    for nonce in [&other.0[..], &challenge().0[..31], &[]] {
        let login = deployed_login(key.identity().as_bytes(), b"phone", nonce);
        let refused = challenge().verify_deployed(&key.answer_deployed(login));
        assert_eq!(refused, Err(Refusal::Nonce));
        let login = seed_login(key.user_id().as_bytes(), 7, nonce);
        assert_eq!(challenge().verify_seed(&key.answer_seed(login)), Err(Refusal::Nonce));
    }
}

#[test]
fn a_key_cannot_log_in_as_another() {
    let [key, other] = keys();
    let login = deployed_login(other.identity().as_bytes(), b"phone", challenge().as_bytes());
    let refused = challenge().verify_deployed(&key.answer_deployed(login));
    assert_eq!(refused, Err(Refusal::Signature));
    let login = seed_login(other.user_id().as_bytes(), 7, challenge().as_bytes());
    assert_eq!(challenge().verify_seed(&key.answer_seed(login)), Err(Refusal::Signature));
}

#[test]
fn signatures_of_other_lengths_are_refused() {
    for length in [0, 63, 65] {
        let signature = Bytes::from(vec![0; length]);
        let answer = AuthResponse { signature, ..vector(POSITIVE) };
        let refused = challenge().verify_deployed(&answer);
        assert_eq!(refused, Err(Refusal::SignatureLength(length)));
    }
}

#[test]
fn a_login_without_an_address_is_refused() {
    let mut login = Vec::new();
    let nonce = Bytes::copy_from_slice(challenge().as_bytes());
    deployed::Login { address: None, nonce }.encode(&mut login).unwrap();
    let answer = AuthResponse { login: login.into(), ..vector(POSITIVE) };
    assert_eq!(challenge().verify_deployed(&answer), Err(Refusal::NoAddress));
    assert_eq!(challenge().verify_seed(&answer), Err(Refusal::NoAddress));
}

#[test]
fn bytes_that_are_no_login_are_refused() {
    let answer = AuthResponse { login: Bytes::from_static(b"\x0a\x7f"), ..vector(POSITIVE) };
    assert!(matches!(challenge().verify_deployed(&answer), Err(Refusal::Malformed(_))));
    assert!(matches!(challenge().verify_seed(&answer), Err(Refusal::Malformed(_))));
}

#[test]
fn identities_and_devices_that_cannot_be_are_refused() {
    let [key, _] = keys();
    let nonce = challenge();
    for identity in [&[1; 31][..], &[1; 33], &[0xff; 32], &[]] {
        let login = deployed_login(identity, b"phone", nonce.as_bytes());
        let refused = nonce.verify_deployed(&key.answer_deployed(login));
        assert!(matches!(refused, Err(Refusal::Identity(_))), "{refused:?}");
    }
    for user in [&[5; 32][..], &[4; 33], &[]] {
        let login = seed_login(user, 7, nonce.as_bytes());
        let refused = nonce.verify_seed(&key.answer_seed(login));
        assert!(matches!(refused, Err(Refusal::Identity(_))), "{refused:?}");
    }
    let login = deployed_login(key.identity().as_bytes(), &[0; 256], nonce.as_bytes());
    let refused = nonce.verify_deployed(&key.answer_deployed(login));
    assert_eq!(refused, Err(Refusal::Device(DeviceTooLong(256))));
}

/// A signature that plain Ed25519 takes for one by some small-order key: R is the neutral point and s
/// is 0. `sign` goes into the highest bit.
fn forged(sign: u8) -> Bytes {
    let mut signature = [0; 64];
    (signature[0], signature[63]) = (1, sign << 7);
    Bytes::copy_from_slice(&signature)
}

#[test]
fn keys_of_small_order_are_refused_in_the_deployed_dialect() {
    for point in EIGHT_TORSION {
        let login = deployed_login(&point.to_montgomery().0, b"phone", challenge().as_bytes());
        for sign in [0, 1] {
            let answer = AuthResponse { login: login.clone(), signature: forged(sign) };
            assert_eq!(challenge().verify_deployed(&answer), Err(Refusal::SmallOrder));
        }
    }
}

#[test]
fn keys_of_small_order_are_refused_in_the_seed_dialect() {
    for point in EIGHT_TORSION {
        let user = UserId::new(point.compress().as_bytes());
        let login = seed_login(user.as_bytes(), 7, challenge().as_bytes());
        let answer = AuthResponse { login, signature: forged(0) };
        assert_eq!(challenge().verify_seed(&answer), Err(Refusal::SmallOrder));
    }
}

#[test]
fn a_key_that_is_no_point_is_refused() {
    // u = -1 and u = 2 are on the twist; y = 2 is on neither.
    let mut minus_one = [0xff; 32];
    (minus_one[0], minus_one[31]) = (0xec, 0x7f);
    let mut two = [0; 32];
    two[0] = 2;
    for key in [minus_one, two] {
        let login = deployed_login(&key, b"phone", challenge().as_bytes());
        let answer = AuthResponse { login, signature: forged(0) };
        assert_eq!(challenge().verify_deployed(&answer), Err(Refusal::NoPoint));
    }
    let login = seed_login(UserId::new(&two).as_bytes(), 7, challenge().as_bytes());
    let answer = AuthResponse { login, signature: forged(0) };
    assert_eq!(challenge().verify_seed(&answer), Err(Refusal::NoPoint));
}

#[test]
fn debug_keeps_secrets_to_itself() {
    assert_eq!(format!("{:?}", challenge()), "Challenge(..)");
    let key = Key::new(&[7; 32]);
    assert_eq!(format!("{key:?}"), format!("Key({})", key.identity()));
}
