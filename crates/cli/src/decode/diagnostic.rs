//! CBOR items in diagnostic notation (RFC 8949, section 8).
//!
//! Written from the bytes themselves, so that nothing is lost that a value in memory would not hold:
//! indefinite lengths, simple values, tags.

use std::fmt::Write;

use towline_wire::start::Cbor;

/// The item in diagnostic notation.
pub(super) fn print(item: &Cbor) -> String {
    let mut printer = Printer { bytes: item.as_bytes(), out: String::new() };
    // An item has been checked to be well-formed and not to nest deep; what cannot be printed is shown as it is.
    match printer.item() {
        Some(()) => printer.out,
        None => format!("<<h'{}'>>", hex::encode(item.as_bytes())),
    }
}

struct Printer<'a> {
    bytes: &'a [u8],
    out: String,
}

/// The head of an item: its major type, the low five bits, and the argument if there is one.
struct Head {
    major: u8,
    info: u8,
    argument: Option<u64>,
}

const BREAK: u8 = 0xff;

impl Printer<'_> {
    fn item(&mut self) -> Option<()> {
        let head = self.head()?;
        match (head.major, head.argument) {
            (0, Some(value)) => self.put(format_args!("{value}")),
            (1, Some(value)) => self.put(format_args!("{}", -1 - i128::from(value))),
            (2 | 3, Some(length)) => self.string(head.major, length),
            (2 | 3, None) => self.chunks(head.major),
            (4, length) => self.items('[', ']', length, Self::item),
            (5, length) => self.items('{', '}', length, Self::pair),
            (6, Some(tag)) => {
                self.put(format_args!("{tag}("))?;
                self.item()?;
                self.put(format_args!(")"))
            }
            (7, Some(value)) => self.simple(head.info, value),
            _ => None,
        }
    }

    fn pair(&mut self) -> Option<()> {
        self.item()?;
        self.out.push_str(": ");
        self.item()
    }

    /// The items up to a length, or up to a break.
    fn items(
        &mut self,
        open: char,
        close: char,
        length: Option<u64>,
        item: fn(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.out.push(open);
        if length.is_none() {
            self.out.push_str("_ ");
        }
        let mut printed = 0;
        while !self.is_end(length, printed) {
            if printed > 0 {
                self.out.push_str(", ");
            }
            item(self)?;
            printed += 1;
        }
        self.out.push(close);
        Some(())
    }

    fn chunks(&mut self, major: u8) -> Option<()> {
        self.out.push_str("(_ ");
        let mut printed = 0;
        while !self.is_end(None, printed) {
            if printed > 0 {
                self.out.push_str(", ");
            }
            let length = self.head()?.argument?;
            self.string(major, length)?;
            printed += 1;
        }
        self.out.push(')');
        Some(())
    }

    /// Whether all is printed; takes the break if that is what ends it.
    fn is_end(&mut self, length: Option<u64>, printed: u64) -> bool {
        match (length, self.bytes) {
            (Some(length), _) => printed == length,
            (None, [BREAK, rest @ ..]) => {
                self.bytes = rest;
                true
            }
            (None, _) => false,
        }
    }

    fn string(&mut self, major: u8, length: u64) -> Option<()> {
        let bytes = self.take(usize::try_from(length).ok()?)?;
        if major == 2 {
            let text = hex::encode(bytes);
            return self.put(format_args!("h'{text}'"));
        }
        // The notation takes its strings from JSON.
        let text = serde_json::to_string(std::str::from_utf8(bytes).ok()?).ok()?;
        self.put(format_args!("{text}"))
    }

    fn simple(&mut self, info: u8, value: u64) -> Option<()> {
        match (info, value) {
            (..=24, 20) => self.put(format_args!("false")),
            (..=24, 21) => self.put(format_args!("true")),
            (..=24, 22) => self.put(format_args!("null")),
            (..=24, 23) => self.put(format_args!("undefined")),
            (..=24, value) => self.put(format_args!("simple({value})")),
            (25, bits) => self.float(half(bits as u16)),
            (26, bits) => self.float(f64::from(f32::from_bits(bits as u32))),
            (_, bits) => self.float(f64::from_bits(bits)),
        }
    }

    fn float(&mut self, value: f64) -> Option<()> {
        if value.is_nan() {
            self.put(format_args!("NaN"))
        } else if value.is_infinite() {
            self.put(format_args!("{}Infinity", if value < 0.0 { "-" } else { "" }))
        } else {
            // Always with a point or an exponent, to tell a float from an integer.
            self.put(format_args!("{value:?}"))
        }
    }

    fn head(&mut self) -> Option<Head> {
        let initial = *self.take(1)?.first()?;
        let (major, info) = (initial >> 5, initial & 0x1f);
        let argument = match info {
            0..=23 => Some(u64::from(info)),
            24..=27 => {
                let bytes = self.take(1 << (info - 24))?;
                Some(bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
            }
            31 => None,
            _ => return None,
        };
        Some(Head { major, info, argument })
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let (taken, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(taken)
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) -> Option<()> {
        self.out.write_fmt(text).ok()
    }
}

/// A half-precision float (RFC 8949, appendix D).
fn half(bits: u16) -> f64 {
    let exponent = i32::from(bits >> 10 & 0x1f);
    let mantissa = f64::from(bits & 0x3ff);
    let value = match exponent {
        0 => mantissa * f64::powi(2.0, -24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (mantissa + 1024.0) * f64::powi(2.0, exponent - 25),
    };
    if bits & 0x8000 == 0 { value } else { -value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples of RFC 8949, appendix A, and what this protocol carries.
    #[test]
    fn items_print_as_in_the_rfc() {
        for (bytes, text) in [
            ("00", "0"),
            ("1bffffffffffffffff", "18446744073709551615"),
            ("20", "-1"),
            ("3bffffffffffffffff", "-18446744073709551616"),
            ("c249010000000000000000", "2(h'010000000000000000')"),
            ("f90000", "0.0"),
            ("f98000", "-0.0"),
            ("f93c00", "1.0"),
            ("f93e00", "1.5"),
            ("f97bff", "65504.0"),
            ("f90001", "5.960464477539063e-8"),
            ("f90400", "6.103515625e-5"),
            ("f9c400", "-4.0"),
            ("fa47c35000", "100000.0"),
            ("fb3ff199999999999a", "1.1"),
            ("fb7e37e43c8800759c", "1e300"),
            ("f97c00", "Infinity"),
            ("f97e00", "NaN"),
            ("f9fc00", "-Infinity"),
            ("f4", "false"),
            ("f5", "true"),
            ("f6", "null"),
            ("f7", "undefined"),
            ("f0", "simple(16)"),
            ("f8ff", "simple(255)"),
            ("c074323031332d30332d32315432303a30343a30305a", "0(\"2013-03-21T20:04:00Z\")"),
            ("40", "h''"),
            ("4401020304", "h'01020304'"),
            ("60", "\"\""),
            ("62225c", r#""\"\\""#),
            ("62c3bc", "\"ü\""),
            ("80", "[]"),
            ("8301820203820405", "[1, [2, 3], [4, 5]]"),
            ("a0", "{}"),
            ("a201020304", "{1: 2, 3: 4}"),
            ("a26161016162820203", r#"{"a": 1, "b": [2, 3]}"#),
            ("5f42010243030405ff", "(_ h'0102', h'030405')"),
            ("7f657374726561646d696e67ff", r#"(_ "strea", "ming")"#),
            ("9fff", "[_ ]"),
            ("9f018202039f0405ffff", "[_ 1, [2, 3], [_ 4, 5]]"),
            ("bf61610161629f0203ffff", r#"{_ "a": 1, "b": [_ 2, 3]}"#),
            (
                "a16955647053747265616da165506c61696ea1624970a162563482840a0102031835",
                r#"{"UdpStream": {"Plain": {"Ip": {"V4": [[10, 1, 2, 3], 53]}}}}"#,
            ),
            ("4aabcdefabcdefabcdefab", "h'abcdefabcdefabcdefab'"),
        ] {
            let item = Cbor::from_bytes(hex::decode(bytes).unwrap().into()).unwrap();
            assert_eq!(print(&item), text);
        }
    }
}
