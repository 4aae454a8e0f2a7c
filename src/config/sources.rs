//! `[[l4.source]]` sections: each with a pattern, a statement and a name of its own.

use super::MAX_SOURCES;
use super::error::{ConfigError, ConfigErrors};
use super::l4::{A_WATCH, Reply, Rows, Source, Watch};
use super::layers::{Section, section_path};
use super::pattern::{self, Pattern};
use super::raw::RawSource;

/// Bytes of a name.
const MAX_NAME: usize = 256;

/// The sources of a list; what is wrong with it is added to `errors`.
pub(super) fn sources(list: Vec<Section<RawSource>>, errors: &mut ConfigErrors) -> Vec<Source> {
    if let Some(first) = list.get(MAX_SOURCES) {
        let error = ConfigError::new("l4.source", first.origin.clone(), "is one too many");
        errors.push(error.accepted(format!("at most {MAX_SOURCES} sources")));
        return Vec::new();
    }
    let mut sources: Vec<Source> = Vec::new();
    for (index, section) in list.into_iter().enumerate() {
        let source = source(index, &section, errors);
        if let Some(first) = sources.iter().position(|known| known.name == source.name) {
            let wrong = format!("is the name of l4.source[{}] already", first + 1);
            errors.push(ConfigError::new(section_path("l4.source", index, "name"), section.origin, wrong));
        }
        sources.push(source);
    }
    sources
}

fn source(index: usize, section: &Section<RawSource>, errors: &mut ConfigErrors) -> Source {
    let mut raw = RawSource::default();
    let mut refused = Vec::new();
    for (key, value, origin) in &section.settings {
        if let Err(wrong) = key.slot.set(&mut raw, value) {
            let error = ConfigError::new(section_path("l4.source", index, key.name), origin.clone(), wrong);
            errors.push_with(|| error.accepted(key.slot.accepted()));
            refused.push(key.name);
        }
    }
    let mut fail = |key: &str, wrong: String, accepted: &str| {
        if refused.contains(&key) {
            return;
        }
        let given = section.settings.iter().find(|(known, ..)| known.name == key);
        let origin = given.map_or(&section.origin, |(.., origin)| origin).clone();
        let error = ConfigError::new(section_path("l4.source", index, key), origin, wrong);
        errors.push(if accepted.is_empty() { error } else { error.accepted(accepted.to_owned()) });
    };
    let RawSource { mut source, pattern, watch } = raw;
    match Pattern::parse(&pattern) {
        Ok(pattern) => source.pattern = pattern,
        Err(_) if pattern.is_empty() => fail("match", "is missing".to_owned(), pattern::ACCEPTED),
        Err(wrong) => fail("match", wrong, pattern::ACCEPTED),
    }
    if source.name.is_empty() {
        source.name = pattern;
    }
    if source.name.len() > MAX_NAME || source.name.contains('\0') {
        fail("name", format!("has more than {MAX_NAME} bytes, or a NUL"), "");
    }
    if source.query.trim().is_empty() {
        fail("query", "is missing".to_owned(), "a SELECT with a parameter for each part of the pattern");
    }
    if source.rows == Rows::Many && source.reply != Reply::Json {
        fail("rows", "is \"many\", which only reply = \"json\" can hold".to_owned(), "");
    }
    for text in &watch {
        match Watch::parse(text, source.pattern.names().len()) {
            Ok(watch) => source.watch.push(watch),
            Err(wrong) => fail("watch", format!("{text:?} {wrong}"), A_WATCH),
        }
    }
    source
}

impl From<&Source> for RawSource {
    fn from(source: &Source) -> Self {
        let watch = source.watch.iter().map(ToString::to_string).collect();
        Self { source: source.clone(), pattern: source.pattern.to_string(), watch }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Columns, Sources, Watch, load};

    fn wrong(sources: &str) -> String {
        let sets = vec![format!("l4.source={sources}")];
        load(&Sources { sets, ..Sources::default() }).expect_err(sources).to_string()
    }

    #[test]
    fn a_source_is_named_by_its_pattern_unless_it_has_a_name() {
        let list = "l4.source=[{match='a:{x}',query='SELECT $1',watch='t'},{name='n',match='b:{x}:{y}',query='q',\
                    watch=['s.t(*)',' u ( p , q ) ']}]";
        let config = load(&Sources { sets: vec![list.to_owned()], ..Sources::default() }).unwrap();
        let names: Vec<_> = config.l4.sources.iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["a:{x}", "n"]);
        let watch = |table: &str, columns| Watch { table: table.to_owned(), columns };
        assert_eq!(config.l4.sources[0].watch, [watch("t", Columns::SameNames)]);
        let named = Columns::Named(vec!["p".to_owned(), "q".to_owned()]);
        assert_eq!(config.l4.sources[1].watch, [watch("s.t", Columns::All), watch("u", named)]);
    }

    #[test]
    fn what_is_wrong_with_sources_is_told() {
        for (sources, says) in [
            ("[{}]", "l4.source[1].match (--set): is missing"),
            ("[{match='a:{x}'}]", "l4.source[1].query (--set): is missing"),
            ("[{match='a:*',query='q'}]", "l4.source[1].match (--set): has no named part"),
            ("[{match='{x}',query='q',rows='many'}]", "l4.source[1].rows (--set): is \"many\", which only"),
            ("[{match='{x}',query='q'},{match='{x}',query='q'}]", "is the name of l4.source[1] already"),
            ("[{match='{x}',query='q',watch=['t(a,b)']}]", "\"t(a,b)\" names 2 columns for 1 parts"),
            ("[{match='{x}',query='q',watch=['t(a']}]", "\"t(a\" has a ( without its )"),
            ("[{match='{x}',query='q',watch=['(*)']}]", "\"(*)\" names no table"),
            ("[{match='{x}',query='q',wacth='t'}]", "did you mean `watch`"),
            ("5", "l4.source (--set): is a list of sections, not an integer"),
        ] {
            let told = wrong(sources);
            assert!(told.contains(says), "{sources}: {told}");
        }
    }
}
