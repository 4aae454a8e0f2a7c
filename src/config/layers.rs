//! The sources of a configuration, each turned into settings: the file, the environment, `--set`.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::{ConfigError, ConfigErrors, Origin};
use super::raw::{
    self, Key, Named, POLICY_KEYS, POLICY_LATER, Raw, RawSource, RawUser, SOURCE_KEYS, USER_KEYS,
};
use super::suggest::nearest;
use super::value::{Value, a_kind};
use super::{MAX_FILE_SIZE, Policy};

const NOT_YET: &str = "is not available in this version yet";

/// A command line is not bounded by strata, and an unknown key of it is shown.
const MAX_KEY_SHOWN: usize = 100;

/// A key with a value, and where that came from.
pub(super) enum Setting {
    Key {
        key: &'static Key<Raw>,
        value: Value,
        origin: Origin,
    },
    /// The list of policies, which replaces the one before.
    Policies(Vec<Section<Policy>>),
    /// The same of users.
    Users(Vec<Section<RawUser>>),
    /// And of sources.
    Sources(Vec<Section<RawSource>>),
}

/// One `[[policy]]` or `[[user]]`.
pub(super) struct Section<T: 'static> {
    pub(super) origin: Origin,
    pub(super) settings: Vec<(&'static Key<T>, Value, Origin)>,
}

/// The settings of a file of this name.
pub(super) fn file(name: &str, bytes: &[u8], errors: &mut ConfigErrors) -> Vec<Setting> {
    let lines = Lines::new(name, bytes);
    if bytes.len() > MAX_FILE_SIZE {
        errors.push(ConfigError::new("", lines.whole(), format!("is larger than {MAX_FILE_SIZE} bytes")));
        return Vec::new();
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            errors.push(ConfigError::new("", lines.at(error.valid_up_to()), "is not UTF-8"));
            return Vec::new();
        }
    };
    let (document, wrong) = DeTable::parse_recoverable(text);
    // What follows a syntax error may have been read amiss: its complaints would mislead.
    if !wrong.is_empty() {
        for error in wrong {
            errors.push_with(|| syntax_error(&error, &lines));
        }
        return Vec::new();
    }
    let mut reader = Reader { place: Place::File(lines), settings: Vec::new(), errors };
    reader.table("", document.get_ref());
    reader.settings
}

/// Never quotes the line, which may hold a secret: the parser's message says what it expected.
fn syntax_error(error: &toml::de::Error, lines: &Lines) -> ConfigError {
    let origin = error.span().map_or_else(|| lines.whole(), |span| lines.at(span.start));
    let message = error.message().replace('\n', ", ");
    ConfigError::new("", origin, format!("is not TOML: {message}"))
}

/// The settings of the variables whose names begin with `STRATA_`.
pub(super) fn environment(variables: &[(String, String)], errors: &mut ConfigErrors) -> Vec<Setting> {
    let mut own: Vec<_> = variables.iter().filter(|(name, _)| is_own(name)).collect();
    // STRATA_LOG is short for STRATA_SERVER_LOG, which wins.
    own.sort_by_key(|(name, _)| (name != "STRATA_LOG", name));
    let mut settings = Vec::new();
    for (name, text) in own {
        let origin = Origin::Environment(name.clone());
        match path_of(name) {
            Some(path) => settings.append(&mut word(path, text, origin, errors)),
            None => errors.push_with(|| unknown_variable(name, origin)),
        }
    }
    settings
}

/// STRATA_CONFIG names the file, which is the command line's affair. The others are what
/// Kubernetes gives to every pod beside a service that is called `strata`.
fn is_own(name: &str) -> bool {
    let kubernetes = ["STRATA_SERVICE_", "STRATA_PORT_"].iter().any(|prefix| name.starts_with(prefix));
    name.starts_with("STRATA_") && name != "STRATA_CONFIG" && name != "STRATA_PORT" && !kubernetes
}

fn path_of(variable: &str) -> Option<&'static str> {
    if variable == "STRATA_LOG" {
        return Some("server.log");
    }
    let exact = raw::paths().find(|path| raw::variable(path) == variable);
    exact.or_else(|| {
        raw::LATER.iter().copied().find(|later| {
            variable.strip_prefix(&raw::variable(later)).is_some_and(|rest| rest.starts_with('_'))
        })
    })
}

fn unknown_variable(name: &str, origin: Origin) -> ConfigError {
    let known: Vec<String> = raw::paths().map(raw::variable).collect();
    let near = nearest(without_prefix(name), known.iter().map(|known| without_prefix(known)));
    let error = ConfigError::new("", origin, "is the variable of no key");
    match near {
        Some(near) => error.suggestion(format!("STRATA_{near}")),
        None => error.accepted("STRATA_<SECTION>_<KEY>, such as STRATA_L1_MAX_SIZE"),
    }
}

fn without_prefix(variable: &str) -> &str {
    variable.strip_prefix("STRATA_").unwrap_or(variable)
}

/// The settings of arguments `KEY=VALUE`.
pub(super) fn flags(arguments: &[String], errors: &mut ConfigErrors) -> Vec<Setting> {
    let mut settings = Vec::new();
    for argument in arguments {
        match argument.split_once('=') {
            Some((path, text)) => settings.append(&mut word(path.trim(), text, Origin::Flag, errors)),
            None => errors.push_with(|| {
                let shown: String = argument.chars().take(MAX_KEY_SHOWN).collect();
                ConfigError::new(shown, Origin::Flag, "has no value")
                    .accepted("KEY=VALUE, such as l1.max_size=5MB")
            }),
        }
    }
    settings
}

/// The settings of a value that stands alone. Tables and lists are read as TOML; so is a string in
/// quotes, unless it is a secret; all else is taken letter by letter.
fn word(path: &str, text: &str, origin: Origin, errors: &mut ConfigErrors) -> Vec<Setting> {
    let mut reader = Reader { place: Place::Fixed(origin.clone()), settings: Vec::new(), errors };
    let key = match raw::find(path) {
        Named::Key(key) => key,
        Named::Later => {
            reader.errors.push_with(|| ConfigError::new(path, origin, NOT_YET));
            return Vec::new();
        }
        Named::Unknown => {
            reader.errors.push_with(|| unknown_key(path, origin));
            return Vec::new();
        }
        Named::Table | Named::Policies | Named::Users | Named::Sources => {
            match DeValue::parse(text) {
                Ok(value) => reader.entry(path, 0, &value),
                Err(error) => reader.errors.push_with(|| {
                    let message = error.message().replace('\n', ", ");
                    ConfigError::new(path, origin, format!("is not a value of TOML: {message}"))
                }),
            }
            return reader.settings;
        }
    };
    let quoted = text.trim_start().starts_with(['"', '\'']) && !key.slot.is_secret();
    let value = match quoted.then(|| DeValue::parse(text)) {
        Some(Ok(value)) => Value::from_toml(value.get_ref()),
        _ => Value::Word(text.to_owned()),
    };
    vec![Setting::Key { key, value, origin }]
}

/// Walks through tables. Its depth is that of the known tables, whatever the input.
struct Reader<'e> {
    place: Place,
    settings: Vec<Setting>,
    errors: &'e mut ConfigErrors,
}

impl Reader<'_> {
    fn table(&mut self, path: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let at = name.span().start;
            let name = name.get_ref();
            if name.contains('.') {
                // In quotes: it must not pass for a path.
                let shown = format!("{path}{}{name:?}", if path.is_empty() { "" } else { "." });
                let origin = self.place.at(at);
                self.errors.push_with(|| ConfigError::new(shown, origin, "is not known"));
                continue;
            }
            match path {
                "" => self.entry(name, at, value),
                _ => self.entry(&format!("{path}.{name}"), at, value),
            }
        }
    }

    fn entry(&mut self, path: &str, at: usize, value: &Spanned<DeValue<'_>>) {
        let origin = self.place.at(at);
        let error = match (raw::find(path), value.get_ref()) {
            (Named::Key(key), value) => {
                self.settings.push(Setting::Key { key, value: Value::from_toml(value), origin });
                return;
            }
            (Named::Table, DeValue::Table(table)) => return self.table(path, table),
            (Named::Policies, DeValue::Array(list)) => {
                let policies = self.sections("policy", list, POLICY_KEYS, POLICY_LATER);
                return self.settings.push(Setting::Policies(policies));
            }
            (Named::Users, DeValue::Array(list)) => {
                let users = self.sections("user", list, USER_KEYS, &[]);
                return self.settings.push(Setting::Users(users));
            }
            (Named::Sources, DeValue::Array(list)) => {
                let sources = self.sections("l4.source", list, SOURCE_KEYS, &[]);
                return self.settings.push(Setting::Sources(sources));
            }
            (Named::Later, _) => ConfigError::new(path, origin, NOT_YET),
            (Named::Table, other) => {
                ConfigError::new(path, origin, format!("is a section, not {}", a_kind(other.type_str())))
            }
            (Named::Policies | Named::Users | Named::Sources, other) => ConfigError::new(
                path,
                origin,
                format!("is a list of sections, not {}", a_kind(other.type_str())),
            )
            .accepted(format!("[[{path}]] sections")),
            (Named::Unknown, _) => return self.errors.push_with(|| unknown_key(path, origin)),
        };
        self.errors.push(error);
    }

    fn sections<T>(
        &mut self,
        list_name: &str,
        list: &DeArray<'_>,
        keys: &'static [Key<T>],
        later: &[&str],
    ) -> Vec<Section<T>> {
        let mut sections = Vec::new();
        for (index, element) in list.iter().enumerate() {
            let origin = self.place.at(element.span().start);
            let Some(table) = element.get_ref().as_table() else {
                let wrong = format!("is a section, not {}", a_kind(element.get_ref().type_str()));
                self.errors.push(ConfigError::new(section_path(list_name, index, ""), origin, wrong));
                continue;
            };
            let mut settings = Vec::new();
            for (name, value) in table {
                let origin = self.place.at(name.span().start);
                match keys.iter().find(|key| key.name == name.get_ref()) {
                    Some(key) => settings.push((key, Value::from_toml(value.get_ref()), origin)),
                    None => self.errors.push_with(|| {
                        unknown_section_key((list_name, index), name.get_ref(), origin, keys, later)
                    }),
                }
            }
            sections.push(Section { origin, settings });
        }
        sections
    }
}

/// The path of a key of a section of a list; they are counted from 1.
pub(super) fn section_path(list: &str, index: usize, name: &str) -> String {
    match name {
        "" => format!("{list}[{}]", index + 1),
        name => format!("{list}[{}].{name}", index + 1),
    }
}

fn unknown_key(path: &str, origin: Origin) -> ConfigError {
    let shown: String = path.chars().take(MAX_KEY_SHOWN).collect();
    let error = ConfigError::new(shown, origin, "is not known");
    if let Some(near) = nearest(path, raw::paths().filter(|known| !raw::LATER.contains(known))) {
        return error.suggestion(near);
    }
    let section = path.rsplit_once('.').map_or("", |(section, _)| section);
    let in_section = |key: &Key<Raw>| key.name.strip_prefix(section)?.strip_prefix('.');
    let known: Vec<_> = raw::KEYS.iter().filter_map(in_section).filter(|key| !key.contains('.')).collect();
    match known.is_empty() {
        true => error.accepted("the sections server, l1, l2, l3, l4, targets, policy and user"),
        false => error.accepted(format!("in [{section}]: {}", known.join(", "))),
    }
}

fn unknown_section_key<T>(
    (list, index): (&str, usize),
    name: &str,
    origin: Origin,
    keys: &'static [Key<T>],
    later: &[&str],
) -> ConfigError {
    let shown: String = name.chars().take(MAX_KEY_SHOWN).collect();
    let path = section_path(list, index, &shown);
    if later.contains(&name) {
        return ConfigError::new(path, origin, NOT_YET);
    }
    let known = || keys.iter().map(|key| key.name);
    let error = ConfigError::new(path, origin, "is not known");
    match nearest(name, known()) {
        Some(near) => error.suggestion(near),
        None => error.accepted(format!("in [[{list}]]: {}", known().collect::<Vec<_>>().join(", "))),
    }
}

/// Where the settings of a source come from.
enum Place {
    File(Lines),
    Fixed(Origin),
}

impl Place {
    /// Of the byte `offset` of the source.
    fn at(&self, offset: usize) -> Origin {
        match self {
            Self::File(lines) => lines.at(offset),
            Self::Fixed(origin) => origin.clone(),
        }
    }
}

/// The lines of a file.
struct Lines {
    name: Arc<str>,
    ends: Vec<usize>,
}

impl Lines {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
        Self { name: name.into(), ends: ends.collect() }
    }

    fn whole(&self) -> Origin {
        Origin::File { name: self.name.clone(), line: 0 }
    }

    fn at(&self, offset: usize) -> Origin {
        let line = self.ends.partition_point(|end| *end < offset) + 1;
        Origin::File { name: self.name.clone(), line }
    }
}
