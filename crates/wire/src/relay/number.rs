//! Chat numbers: identities of the `deployed` dialect in decimal digits.
//!
//! A number has a head digit for the two highest bits of the identity's first byte, and 81 digits in
//! base 9 for the rest. The digit 5 is not among the nine: fives can be put in anywhere and do not
//! change who is meant.

use alloc::string::String;

use super::Identity;

/// Digits of a number, without fives.
pub const LEN: usize = 82;

/// Digits that a short number has of its number.
pub const SHORT_LEN: usize = 12;

const HEADS: &[u8; 4] = b"2346";
const DIGITS: &[u8; 9] = b"012346789";

/// The number of an identity, [`LEN`] digits.
#[must_use]
pub fn encode(identity: &Identity) -> String {
    let mut rest = *identity.as_bytes();
    let mut number = [HEADS[usize::from(rest[0] >> 6)]; LEN];
    rest[0] <<= 2;
    for digit in number[1..].iter_mut().rev() {
        *digit = DIGITS[divide(&mut rest)];
    }
    number.map(char::from).iter().collect()
}

/// The identity of a number, with or without fives in it.
///
/// Digits before the head that cannot be one are passed over, as the relays in the field do it.
///
/// # Errors
/// Text that no identity is encoded as.
pub fn decode(number: &str) -> Result<Identity, InvalidNumber> {
    let head = |digit: u8| HEADS.iter().position(|&head| head == digit);
    let digits = number.as_bytes();
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(InvalidNumber);
    }
    let start = digits.iter().position(|&digit| head(digit).is_some()).ok_or(InvalidNumber)?;
    let mut digits = digits[start..].iter().copied().filter(|&digit| digit != b'5');
    let head = digits.next().and_then(head).ok_or(InvalidNumber)?;
    let (mut rest, mut count) = ([0; Identity::LEN], 0);
    for digit in digits {
        let digit = DIGITS.iter().position(|&it| it == digit).ok_or(InvalidNumber)?;
        append(&mut rest, digit).ok_or(InvalidNumber)?;
        count += 1;
    }
    if count != LEN - 1 || rest[0] & 0b11 != 0 {
        return Err(InvalidNumber);
    }
    rest[0] = (head as u8) << 6 | rest[0] >> 2;
    Identity::try_from(rest).map_err(|_| InvalidNumber)
}

/// A number with a short number, one of several that an identity may get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// [`encode`]d, with fives.
    pub number: String,
    /// The beginning of it, [`SHORT_LEN`] digits and fives before them.
    pub short: String,
}

/// What an identity may be called, in the order in which a relay tries whether it is free.
///
/// From the second on, fives stand before the short number and before what follows it, one more each
/// time. The last short number is the whole number, without any.
pub fn candidates(identity: &Identity) -> impl Iterator<Item = Candidate> + use<> {
    let number = encode(identity);
    (0..=LEN - SHORT_LEN).map(move |count| {
        if count == LEN - SHORT_LEN {
            return Candidate { number: number.clone(), short: number.clone() };
        }
        let fives = "5".repeat(count);
        let (short, tail) = number.split_at(SHORT_LEN);
        let short = [&fives, short].concat();
        Candidate { number: [&short, &fives, tail].concat(), short }
    })
}

/// No identity has this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no chat number")]
pub struct InvalidNumber;

/// Divides a big-endian integer by nine, for the remainder.
fn divide(integer: &mut [u8; Identity::LEN]) -> usize {
    integer.iter_mut().fold(0, |remainder, byte| {
        let dividend = remainder << 8 | usize::from(*byte);
        *byte = (dividend / 9) as u8;
        dividend % 9
    })
}

/// Multiplies a big-endian integer by nine and adds a digit; `None` where it overflows.
fn append(integer: &mut [u8; Identity::LEN], digit: usize) -> Option<()> {
    let carry = integer.iter_mut().rev().fold(digit, |carry, byte| {
        let product = 9 * usize::from(*byte) + carry;
        *byte = product as u8;
        product >> 8
    });
    (carry == 0).then_some(())
}
