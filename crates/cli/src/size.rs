//! Numbers of bytes as people write and read them.

/// Parses `1000`, `64K`, `64KiB` (binary) or `64kB` (decimal), likewise with M and G, as `head -c` does.
pub(crate) fn parse(text: &str) -> Result<u64, &'static str> {
    const FORM: &str = "a size is a number of bytes, with K, M or G for powers of 1024";
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| FORM)?;
    let (base, power) = match unit {
        "" => (1, 0),
        "K" | "k" | "KiB" => (1024, 1),
        "M" | "MiB" => (1024, 2),
        "G" | "GiB" => (1024, 3),
        "kB" | "KB" => (1000, 1),
        "MB" => (1000, 2),
        "GB" => (1000, 3),
        _ => return Err(FORM),
    };
    number.checked_mul(u64::pow(base, power)).ok_or("that is more than there can be")
}

/// A size or a rate with a decimal unit.
pub(crate) fn human(bytes: f64) -> String {
    match bytes {
        b if b >= 1e9 => format!("{:.2} GB", b / 1e9),
        b if b >= 1e6 => format!("{:.1} MB", b / 1e6),
        b if b >= 1e3 => format!("{:.1} kB", b / 1e3),
        b => format!("{b:.0} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_as_those_of_head_do() {
        for (text, bytes) in
            [("0", 0), ("1000", 1000), ("64K", 65_536), ("50M", 52_428_800), ("2kB", 2000)]
        {
            assert_eq!(parse(text), Ok(bytes));
        }
        for text in ["", "K", "-1", "1.5M", "1T", "1 M", "99999999999G"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_print_with_a_unit() {
        assert_eq!(human(999.0), "999 bytes");
        assert_eq!(human(1500.0), "1.5 kB");
        assert_eq!(human(2.5e9), "2.50 GB");
    }
}
