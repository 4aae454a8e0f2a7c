//! What a dictionary is trained on, and what it brings for values that it was not made of.

use super::compress::{Codec, Dictionary, Packing};

/// One value of so many is kept apart, to try the dictionary on.
const APART: usize = 5;
/// Fewer values make no dictionary.
const FEWEST: usize = 100;

/// What a dictionary is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Training {
    /// A glob as in SCAN.
    pub pattern: String,
    /// Bytes of the dictionary, at most.
    pub size: usize,
}

/// A dictionary, and what it did for values that it was not made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trained {
    /// As zstd reads it.
    pub dictionary: Vec<u8>,
    /// What values name it by.
    pub id: u32,
    /// Values it was made of.
    pub samples: usize,
    /// Values it was tried on.
    pub tried: usize,
    /// Their bytes.
    pub bytes: usize,
    /// What home would keep of them without a dictionary.
    pub without: usize,
    /// The same with it.
    pub with: usize,
}

/// Trains a dictionary on values. `codec` makes what compresses with some dictionaries.
///
/// # Errors
/// In words for the operator: there are too few values, or zstd finds nothing that they share.
pub fn train(
    values: Vec<Vec<u8>>,
    training: &Training,
    codec: impl Fn(&[Dictionary]) -> Codec,
) -> Result<Trained, String> {
    if values.len() < FEWEST {
        let found = values.len();
        return Err(format!(
            "home has {found} string values that match {:?}; {FEWEST} are needed",
            training.pattern
        ));
    }
    let (apart, made): (Vec<_>, Vec<_>) =
        values.into_iter().enumerate().partition(|(index, _)| index % APART == 0);
    let of = |values: Vec<(usize, Vec<u8>)>| values.into_iter().map(|(_, value)| value).collect::<Vec<_>>();
    let (apart, made) = (of(apart), of(made));
    let bytes = Dictionary::train(&made, training.size)?;
    let dictionary = Dictionary::new(&bytes)?;
    let id = dictionary.id();
    let codec = codec(&[dictionary]);
    let kept = |dictionary| {
        let packing = Packing { compress: true, dictionary };
        apart.iter().map(|value| codec.encode(value, packing).map_or(value.len(), |kept| kept.len())).sum()
    };
    Ok(Trained {
        dictionary: bytes,
        id,
        samples: made.len(),
        tried: apart.len(),
        bytes: apart.iter().map(Vec::len).sum(),
        without: kept(0),
        with: kept(id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trained(count: usize) -> Result<Trained, String> {
        let value =
            |i: usize| format!("{{\"id\":{i},\"owner\":\"user-{}\",\"state\":\"active\"}}", i * 7919 % 997);
        let values = (0..count).map(|i| value(i).into_bytes()).collect();
        let training = Training { pattern: "user:*".into(), size: 8_192 };
        train(values, &training, |dictionaries| Codec::new(3, 32, 1 << 20, dictionaries.into()))
    }

    #[test]
    fn a_dictionary_is_tried_on_what_it_was_not_made_of() {
        let trained = trained(2_000).expect("trained");
        assert_eq!((trained.samples, trained.tried), (1_600, 400));
        assert!(trained.with * 3 < trained.without * 2 && trained.without <= trained.bytes, "{trained:?}");
        assert_eq!(Dictionary::new(&trained.dictionary).map(|d| d.id()), Ok(trained.id));
    }

    #[test]
    fn too_few_values_make_none() {
        let wrong = trained(99).expect_err("refused");
        assert_eq!(wrong, "home has 99 string values that match \"user:*\"; 100 are needed");
    }
}
