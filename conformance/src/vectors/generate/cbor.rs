//! CBOR items (RFC 8949): what they are, and what they are not.

/// An item in hexadecimal and in diagnostic notation.
type Noted = (&'static str, String, String);

/// Items in the encoding that RFC 8949 prefers (4.1): whoever encodes their value writes them so.
pub(super) fn preferred() -> Vec<Noted> {
    let fixed = [
        ("unsigned-0", "00", "0"),
        ("unsigned-23", "17", "23"),
        ("unsigned-24", "1818", "24"),
        ("unsigned-255", "18ff", "255"),
        ("unsigned-256", "190100", "256"),
        ("unsigned-65535", "19ffff", "65535"),
        ("unsigned-65536", "1a00010000", "65536"),
        ("unsigned-32-bits", "1affffffff", "4294967295"),
        ("unsigned-33-bits", "1b0000000100000000", "4294967296"),
        ("unsigned-first-tag", "0f", "15"),
        ("unsigned-last-tag", "1b1fffffffffffffff", "2305843009213693951"),
        ("unsigned-64-bits", "1bffffffffffffffff", "18446744073709551615"),
        ("negative-1", "20", "-1"),
        ("negative-24", "37", "-24"),
        ("negative-25", "3818", "-25"),
        ("negative-64-bits", "3bffffffffffffffff", "-18446744073709551616"),
        ("bytes-empty", "40", "h''"),
        ("bytes-10", "4aabcdefabcdefabcdefab", "h'abcdefabcdefabcdefab'"),
        ("text-empty", "60", r#""""#),
        ("text-two-byte-character", "62c3bc", "\"\u{fc}\""),
        ("text-four-byte-character", "64f0908591", "\"\u{10151}\""),
        ("text-quoted", "62225c", r#""\"\\""#),
        ("array-empty", "80", "[]"),
        ("array", "8301820203820405", "[1, [2, 3], [4, 5]]"),
        ("map-empty", "a0", "{}"),
        ("map", "a26161016162820203", r#"{"a": 1, "b": [2, 3]}"#),
        ("map-of-other-keys", "a3012020f58041ff", "{1: -1, -1: true, []: h'ff'}"),
        ("tag-0", "c06a323031332d30332d3231", r#"0("2013-03-21")"#),
        ("tag-bignum", "c249010000000000000000", "2(h'010000000000000000')"),
        ("tag-64-bits", "dbffffffffffffffff00", "18446744073709551615(0)"),
        ("false", "f4", "false"),
        ("true", "f5", "true"),
        ("null", "f6", "null"),
        ("undefined", "f7", "undefined"),
        ("simple-16", "f0", "simple(16)"),
        ("simple-32", "f820", "simple(32)"),
        ("simple-255", "f8ff", "simple(255)"),
        ("float-16", "f93e00", "1.5"),
        ("float-16-infinite", "f97c00", "Infinity"),
        ("float-16-nan", "f97e00", "NaN"),
        ("float-32", "fa47c35000", "100000.0"),
        ("float-64", "fb3ff199999999999a", "1.1"),
    ];
    let mut items: Vec<_> = fixed.into_iter().map(noted).collect();
    let letters = "a".repeat(24);
    items.push(("bytes-24", format!("5818{}", "ab".repeat(24)), format!("h'{}'", "ab".repeat(24))));
    items.push(("text-24", format!("7818{}", "61".repeat(24)), format!("\"{letters}\"")));
    items.push((
        "text-256",
        format!("790100{}", "61".repeat(256)),
        format!("\"{}\"", "a".repeat(256)),
    ));
    items.push((
        "array-24",
        format!("9818{}", "00".repeat(24)),
        format!("[{}]", ["0"; 24].join(", ")),
    ));
    items.extend(nested(16, ["nesting-16-arrays", "nesting-16-maps", "nesting-16-tags"]));
    items.push((
        "nesting-16-array-empty",
        format!("{}80", "81".repeat(15)),
        format!("{}[]{}", "[".repeat(15), "]".repeat(15)),
    ));
    items
}

/// Items that have a shorter encoding: well-formed, and understood as they are.
pub(super) fn not_preferred() -> Vec<Noted> {
    let fixed = [
        ("wide-8", "1800", "0"),
        ("wide-16", "190000", "0"),
        ("wide-32", "1a00000000", "0"),
        ("wide-64", "1b0000000000000000", "0"),
        ("wide-negative", "3800", "-1"),
        ("wide-bytes", "580101", "h'01'"),
        ("wide-text", "7b000000000000000161", r#""a""#),
        ("wide-array", "980100", "[0]"),
        ("wide-map", "ba000000010001", "{0: 1}"),
        ("wide-tag", "d80400", "4(0)"),
        ("wide-float", "fa3fc00000", "1.5"),
        ("indefinite-bytes", "5f4101420203ff", "(_ h'01', h'0203')"),
        ("indefinite-bytes-empty", "5fff", "(_ )"),
        ("indefinite-text", "7f657374726561646d696e67ff", r#"(_ "strea", "ming")"#),
        ("indefinite-text-empty", "7fff", "(_ )"),
        ("indefinite-array", "9f018202039f0405ffff", "[_ 1, [2, 3], [_ 4, 5]]"),
        ("indefinite-array-empty", "9fff", "[_ ]"),
        ("indefinite-map", "bf61610161629f0203ffff", r#"{_ "a": 1, "b": [_ 2, 3]}"#),
        ("indefinite-map-empty", "bfff", "{_ }"),
    ];
    let mut items: Vec<_> = fixed.into_iter().map(noted).collect();
    items.push((
        "indefinite-nesting-16",
        format!("{}00{}", "9f".repeat(16), "ff".repeat(16)),
        format!("{}0{}", "[_ ".repeat(16), "]".repeat(16)),
    ));
    // The chunks of a string are no level of nesting.
    items.push((
        "indefinite-bytes-within-16",
        format!("{}5f4100ff", "81".repeat(16)),
        format!("{}(_ h'00'){}", "[".repeat(16), "]".repeat(16)),
    ));
    items
}

/// Bytes that begin no item, whatever follows.
pub(super) const INVALID: [(&str, &str); 36] = [
    ("reserved-info-28", "1c"),
    ("reserved-info-29", "1d"),
    ("reserved-info-30", "1e"),
    ("reserved-info-negative", "3c"),
    ("reserved-info-bytes", "5d"),
    ("reserved-info-text", "7e"),
    ("reserved-info-array", "9c"),
    ("reserved-info-map", "bd"),
    ("reserved-info-tag", "de"),
    ("reserved-info-simple", "fc"),
    ("indefinite-unsigned", "1f"),
    ("indefinite-negative", "3f"),
    ("indefinite-tag", "df00ff"),
    ("break", "ff"),
    ("break-in-array", "81ff"),
    ("break-in-map", "a1ff"),
    ("break-in-map-amid-pair", "a100ff"),
    ("break-in-indefinite-map-amid-pair", "bf00ff"),
    ("break-in-indefinite-map-amid-second-pair", "bf000102ff"),
    ("break-in-tag", "c0ff"),
    ("break-in-array-in-indefinite-array", "9f81ffff"),
    ("text-chunk-of-bytes", "5f6161ff"),
    ("bytes-chunk-of-text", "7f4161ff"),
    ("number-as-chunk", "5f00ff"),
    ("chunks-within-chunks", "5f5f4101ffff"),
    ("text-not-utf8", "61ff"),
    ("text-overlong", "62c0af"),
    ("text-surrogate", "63eda080"),
    ("text-beyond-unicode", "64f4908080"),
    ("text-half-a-character", "61c3"),
    ("text-character-across-chunks", "7f61c361bcff"),
    ("text-not-utf8-in-array", "820061fe"),
    ("simple-0-in-two-bytes", "f800"),
    ("simple-24-in-two-bytes", "f818"),
    ("simple-20-in-two-bytes", "f814"),
    ("simple-31-in-two-bytes", "f81f"),
];

/// Items that end too soon.
pub(super) const TRUNCATED: [(&str, &str); 27] = [
    ("nothing", ""),
    ("head-8", "18"),
    ("head-16", "1900"),
    ("head-32", "1a000000"),
    ("head-64", "1b00000000000000"),
    ("bytes", "41"),
    ("bytes-one-short", "44010203"),
    ("text-one-short", "6261"),
    ("array", "8201"),
    ("array-in-array", "82018200"),
    ("map-key", "a1"),
    ("map-value", "a101"),
    ("tag", "c4"),
    ("simple", "f8"),
    ("float-16", "f93e"),
    ("float-32", "fa47c350"),
    ("float-64", "fb3ff19999999999"),
    ("indefinite-bytes", "5f4101"),
    ("indefinite-text", "7f6161"),
    ("indefinite-array", "9f01"),
    ("indefinite-map", "bf0001"),
    ("bytes-of-64-bits", "5bffffffffffffffff"),
    ("text-of-64-bits", "7bffffffffffffffff"),
    ("array-of-64-bits", "9bffffffffffffffff"),
    ("map-of-2-pow-63", "bb800000000000000000"),
    ("map-of-64-bits", "bbffffffffffffffff"),
    ("indefinite-arrays", "9f9f9f"),
];

/// Items that nest one level deeper than is understood.
pub(super) fn too_deep() -> Vec<(&'static str, String)> {
    let mut items: Vec<_> = nested(17, ["nesting-17-arrays", "nesting-17-maps", "nesting-17-tags"])
        .into_iter()
        .map(|(name, hex, _)| (name, hex))
        .collect();
    items.push(("nesting-17-array-empty", format!("{}80", "81".repeat(16))));
    items.push(("nesting-17-map-empty", format!("{}a0", "81".repeat(16))));
    items.push(("nesting-17-indefinite", format!("{}00{}", "9f".repeat(17), "ff".repeat(17))));
    items
}

/// Arrays in arrays, maps as values of maps, and tags of tags around a zero.
fn nested(depth: usize, names: [&'static str; 3]) -> Vec<Noted> {
    let around = |open: &str, before: &str, after: &str| {
        let hex = format!("{}00", open.repeat(depth));
        (hex, format!("{}0{}", before.repeat(depth), after.repeat(depth)))
    };
    let levels = [around("81", "[", "]"), around("a100", "{0: ", "}"), around("c4", "4(", ")")];
    names.into_iter().zip(levels).map(|(name, (hex, text))| (name, hex, text)).collect()
}

fn noted((name, hex, notation): (&'static str, &str, &str)) -> Noted {
    (name, hex.to_owned(), notation.to_owned())
}
