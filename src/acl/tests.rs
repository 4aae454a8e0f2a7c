//! Rules in any order: what is told of a user makes the same user again.

use proptest::prelude::*;

use super::{User, join_selectors};

fn word() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "on",
        "off",
        "nopass",
        ">pw",
        "<pw",
        "resetpass",
        "reset",
        "~a*",
        "%R~b",
        "%W~b",
        "~*",
        "resetkeys",
        "&c",
        "&*",
        "resetchannels",
        "+@all",
        "-@all",
        "+get",
        "-get",
        "+get|x",
        "+config|get",
        "-client|id",
        "+client",
        "+@read",
        "-@write",
        "+@admin",
        "-@dangerous",
        "+@slow",
        "-@fast",
        "(~x +@hash)",
        "(%R~y +get)",
        "(&d",
        "+set)",
        "clearselectors",
        "sanitize-payload",
        "skip-sanitize-payload",
    ]);
    // A pattern with a parenthesis at its end would close its selector when it is told, as in Redis.
    let any = prop::collection::vec(any::<u8>().prop_filter("no parenthesis", |b| !b"()".contains(b)), 0..9);
    prop_oneof![9 => known.prop_map(|word| word.as_bytes().to_vec()), 1 => any]
}

fn made_of(rules: &[Vec<u8>]) -> User {
    let mut user = User::new(b"u", 1);
    for rule in rules {
        // What is refused leaves the user as it was.
        let before = user.line();
        if user.apply(rule).is_err() {
            assert_eq!(user.line(), before, "{rule:?}");
        }
    }
    user
}

proptest! {
    #[test]
    fn a_line_makes_the_same_user(words in prop::collection::vec(word(), 0..12)) {
        let Ok(rules) = join_selectors(words.iter().map(Vec::as_slice)) else { return Ok(()) };
        let user = made_of(&rules);
        let line = user.line();
        prop_assume!(!line.iter().any(|byte| b"\"'\\".contains(byte)));
        let told: Vec<&[u8]> = line.split(|byte| *byte == b' ').skip(2).collect();
        let again = made_of(&join_selectors(told).expect("what is told is closed"));
        let told = again.line();
        prop_assert_eq!(String::from_utf8_lossy(&told), String::from_utf8_lossy(&line));
    }
}

#[test]
fn passwords_open_and_nothing_else_does() {
    let user = made_of(&[b"on".to_vec(), b">one".to_vec(), b">two".to_vec()]);
    assert!(user.is_authenticated_by(b"one") && user.is_authenticated_by(b"two"));
    for other in [&b""[..], b"on", b"one\0", b"ONE", b"onetwo"] {
        assert!(!user.is_authenticated_by(other), "{other:?}");
    }
    let user = made_of(&[b">one".to_vec(), b"nopass".to_vec()]);
    assert!(!user.is_authenticated_by(b"one"), "it is off");
    let user = made_of(&[b"nopass".to_vec(), b"on".to_vec()]);
    assert!(user.is_authenticated_by(b"whatever"));
    assert!(!made_of(&[b"on".to_vec()]).is_authenticated_by(b""));
}
