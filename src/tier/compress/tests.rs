use super::*;
use proptest::prelude::*;

const ON: Packing = Packing { compress: true, dictionary: 0 };
const READ_ONLY: Packing = Packing { compress: false, dictionary: 0 };

fn codec() -> Codec {
    Codec::new(3, 32, 1 << 20, [].into())
}

fn json(i: usize) -> String {
    format!(
        r#"{{"id":{i},"name":"customer-{}","email":"c{i}@example.org","active":{},"balance":{}.25,"tags":["a{}","b"]}}"#,
        i * 7919 % 1000,
        i.is_multiple_of(3),
        i * 31,
        i % 17
    )
}

/// What home keeps, and what is read from it.
fn round(codec: &Codec, value: &[u8], packing: Packing) -> (Vec<u8>, Vec<u8>) {
    let stored = codec.encode(value, packing).unwrap_or_else(|| value.to_vec());
    let read = codec.decode(&stored).expect("readable").bytes().to_vec();
    (stored, read)
}

#[test]
fn values_come_back_and_long_ones_take_less() {
    let codec = codec();
    for n in [0, 1, 31, 32, 33, 500, 100_000] {
        let value = b"abcdefgh".repeat(n.max(1))[..n].to_vec();
        let (stored, read) = round(&codec, &value, ON);
        assert_eq!(read, value);
        assert_eq!(stored.len() < value.len(), n >= 32, "{n}: {}", stored.len());
        assert_eq!(round(&codec, &value, READ_ONLY), (value.clone(), value));
    }
}

#[test]
fn what_would_be_taken_for_ours_is_escaped_and_nothing_else() {
    let codec = codec();
    let twice = seal(ESCAPED, &seal(ESCAPED, b""));
    for value in [seal(ESCAPED, b"a"), seal(PACKED, b"\0\x05abc"), seal(PACKED, b""), twice] {
        for packing in [ON, READ_ONLY] {
            let (stored, read) = round(&codec, &value, packing);
            assert_eq!((&stored[8..], &read), (&*value, &value));
        }
    }
    for value in
        [&b""[..], b"\xff", b"\xffs", b"\xfesz", b"plain", b"\xffsz", b"\xffsz\0", b"\xffsz\0\xffsz\0"]
    {
        assert_eq!(codec.encode(value, ON), None, "{}", value.escape_ascii());
        assert_eq!(codec.decode(value), Ok(Value::Plain(value)), "{}", value.escape_ascii());
    }
}

#[test]
fn what_only_looks_like_ours_is_a_plain_value() {
    let codec = codec();
    let packed = codec.encode(&[b'x'; 100], ON).expect("compressed");
    for at in 0..packed.len() {
        let mut bent = packed.clone();
        bent[at] ^= 1;
        assert_eq!(codec.decode(&bent), Ok(Value::Plain(&bent[..])), "{at}");
        assert_eq!(codec.decode(&packed[..at]), Ok(Value::Plain(&packed[..at])), "{at}");
    }
    let padded = [&packed[..], b"\0"].concat();
    assert_eq!(codec.decode(&padded), Ok(Value::Plain(&padded)));
    for rest in [&b""[..], b"\x80\x80", b"\0\x7f", b"\0\x05abc", b"\0\x09123456789"] {
        let stored = seal(PACKED, rest);
        assert_eq!(codec.decode(&stored), Ok(Value::Plain(&stored)), "{}", rest.escape_ascii());
    }
}

/// What was stored by others, and earlier, is still read.
#[test]
fn the_sums_are_fixed() {
    assert_eq!(seal(ESCAPED, b""), b"\xffsz\x003/\x09\xaf");
    assert_eq!(seal(ESCAPED, b"abc"), b"\xffsz\x00\x5c\x0f\xe91abc");
    assert_eq!(seal(PACKED, b"0123456789abcdefg"), b"\xffsz\x01@6\xb1\x820123456789abcdefg");
}

#[test]
fn bombs_are_refused_before_they_are_unpacked() {
    let (small, large) = (Codec::new(3, 32, 1_000, [].into()), codec());
    let bomb = large.encode(&[0; 500_000], ON).expect("compressed");
    assert_eq!(small.decode(&bomb), Err(Unreadable::TooLong(1_000)));
    assert_eq!(small.encode(&[0; 1_001], ON), None);
    let claims = seal(PACKED, b"\0\xff\xff\xff\xff\x7fx");
    assert_eq!(large.decode(&claims), Ok(Value::Plain(&claims)));
}

#[test]
fn numbers_and_sketches_stay_readable() {
    let codec = codec();
    let zeros = "0".repeat(200);
    for value in [format!("1.{zeros}"), format!("-{zeros}e-7"), format!("0x{zeros}a"), format!("HYLL{zeros}")]
    {
        assert_eq!(codec.encode(value.as_bytes(), ON), None, "{value}");
    }
    assert!(codec.encode(format!("{zeros}a").as_bytes(), ON).is_some());
}

#[test]
fn a_dictionary_helps_small_values_and_is_named_by_them() {
    let samples: Vec<String> = (0..2_000).map(json).collect();
    let trained = Dictionary::train(&samples, 16 << 10).expect("trained");
    let dictionary = Dictionary::new(&trained).expect("a dictionary");
    assert!((128..16_384).contains(&dictionary.id()));
    let with = Codec::new(3, 32, 1 << 20, [dictionary.clone()].into());
    let packing = Packing { compress: true, dictionary: dictionary.id() };
    let value = json(77_777);
    let (stored, read) = round(&with, value.as_bytes(), packing);
    assert_eq!(read, value.as_bytes());
    let plain = codec().encode(value.as_bytes(), ON).map_or(value.len(), |stored| stored.len());
    assert!(stored.len() * 2 < plain, "{} of {plain}", stored.len());
    assert_eq!(codec().decode(&stored), Err(Unreadable::Dictionary(dictionary.id())));
    assert_eq!(round(&with, value.as_bytes(), ON).1, value.as_bytes());
    assert!(Dictionary::new(b"no dictionary").is_err());
    assert!(Dictionary::train(&["a"], 1_000).is_err());
}

proptest! {
    #[test]
    fn any_bytes_come_back(
        value in proptest::collection::vec(any::<u8>(), 0..300),
        marked in any::<bool>(),
        compress in any::<bool>(),
    ) {
        let value = if marked { [&MARK[..], &value].concat() } else { value };
        let codec = codec();
        prop_assert_eq!(round(&codec, &value, Packing { compress, dictionary: 0 }).1, value);
    }

    #[test]
    fn any_stored_bytes_are_read(
        stored in proptest::collection::vec(any::<u8>(), 0..200),
        kind in 0u8..3,
    ) {
        let codec = codec();
        let stored = [&MARK[..], &[kind, 0], &stored].concat();
        if let Ok(value) = codec.decode(&stored) {
            prop_assert!(value.bytes().len() <= 1 << 20);
        }
    }
}
