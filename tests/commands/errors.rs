//! The words for what is no command, and for a wrong number of arguments.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use strata::command::{self, Unknown};

use crate::server::{Reply, Server};

/// Bytes that printing treats differently, and some letters.
const BYTES: &[u8] = b"\0\r\n'\"%\\ \x7f\x80\xffabcXYZ";

fn word(rng: &mut StdRng) -> Vec<u8> {
    let length = *[0, 1, 3, 10, 60, 127, 128, 129, 300].choose(rng).expect("lengths");
    let plain = rng.random_bool(0.7);
    (0..length).map(|_| if plain { b'w' } else { *BYTES.choose(rng).expect("bytes") }).collect()
}

fn not_a_command(rng: &mut StdRng) -> Vec<Vec<u8>> {
    let mut words: Vec<_> = (0..rng.random_range(1..8)).map(|_| word(rng)).collect();
    if rng.random_bool(0.4) {
        let containers: Vec<_> = command::all().iter().filter(|row| row.is_container()).collect();
        let mut name = containers.choose(rng).expect("containers").name.as_bytes().to_vec();
        for letter in &mut name {
            if rng.random() {
                letter.make_ascii_uppercase();
            }
        }
        words.insert(0, name);
        if words.len() == 1 {
            words.push(b"nothing".to_vec());
        }
    }
    words
}

#[test]
fn unknown_words_are_told_as_the_server_tells_them() {
    let mut rng = StdRng::seed_from_u64(7);
    let requests: Vec<_> = (0..3000).map(|_| not_a_command(&mut rng)).collect();
    let server = Server::start();
    let mut told = [0, 0];
    for (words, reply) in requests.iter().zip(server.connect().call_all(&requests)) {
        let unknown = command::resolve(words.as_slice()).map(|row| row.name).expect_err("no command");
        told[usize::from(unknown == Unknown::Subcommand)] += 1;
        assert_eq!(Reply::Error(unknown.message(words.as_slice())), reply);
    }
    assert!(told.iter().all(|count| *count > 1000), "{told:?}");
}

#[test]
fn a_wrong_number_of_arguments_is_told_as_the_server_tells_it() {
    let server = Server::start();
    let mut client = server.connect();
    let mut wrong = 0;
    for row in command::all() {
        let name: Vec<&str> = row.name.split('|').collect();
        let right = usize::from(row.arity.unsigned_abs());
        for count in [right - 1, right + 1] {
            // A container with an argument more is about a subcommand.
            if row.arity_ok(count) || count < name.len() || (row.is_container() && count > 1) {
                continue;
            }
            let mut words = name.clone();
            words.resize(count, "0");
            let resolved = command::resolve(words.as_slice()).map(|row| row.id);
            assert_eq!(resolved, Ok(row.id));
            assert_eq!(client.call(&words), Reply::Error(row.arity_error().into_bytes()), "{words:?}");
            wrong += 1;
        }
    }
    assert!(wrong > 300, "{wrong}");
}
