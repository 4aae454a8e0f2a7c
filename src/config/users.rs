//! `[[user]]` sections: each with a name of its own, and a password from one place.

use std::path::Path;

use super::error::{ConfigError, ConfigErrors};
use super::layers::{Section, section_path};
use super::model::User;
use super::raw::{A_NAME, RawUser};
use super::resolve::read_password;
use super::{MAX_USERS, Secret};

/// Bytes of a name.
const MAX_NAME: usize = 256;

/// The users of a list; what is wrong with it is added to `errors`.
pub(super) fn users(
    list: Vec<Section<RawUser>>,
    variables: &[(String, String)],
    errors: &mut ConfigErrors,
) -> Vec<User> {
    if let Some(first) = list.get(MAX_USERS) {
        let error = ConfigError::new("user", first.origin.clone(), "is one too many");
        errors.push(error.accepted(format!("at most {MAX_USERS} users")));
        return Vec::new();
    }
    let mut users: Vec<User> = Vec::new();
    for (index, section) in list.into_iter().enumerate() {
        let user = user(index, &section, variables, errors);
        if let Some(first) = users.iter().position(|known| known.name == user.name && !user.name.is_empty()) {
            let wrong = format!("is the name of user[{}] already", first + 1);
            errors.push(ConfigError::new(section_path("user", index, "name"), section.origin, wrong));
        }
        users.push(user);
    }
    users
}

fn user(
    index: usize,
    section: &Section<RawUser>,
    variables: &[(String, String)],
    errors: &mut ConfigErrors,
) -> User {
    let mut raw = RawUser::default();
    let mut sound = true;
    for (key, value, origin) in &section.settings {
        if let Err(wrong) = key.slot.set(&mut raw, value) {
            let error = ConfigError::new(section_path("user", index, key.name), origin.clone(), wrong);
            errors.push_with(|| error.accepted(key.slot.accepted()));
            sound &= key.name != "name";
        }
    }
    let mut fail = |key: &str, wrong: String, accepted: &str| {
        let given = section.settings.iter().find(|(known, ..)| known.name == key);
        let origin = given.map_or(&section.origin, |(.., origin)| origin).clone();
        let error = ConfigError::new(section_path("user", index, key), origin, wrong);
        errors.push(if accepted.is_empty() { error } else { error.accepted(accepted.to_owned()) });
    };
    let name = &raw.user.name;
    if sound && name.is_empty() {
        fail("name", "is missing".to_owned(), A_NAME);
    } else if name.len() > MAX_NAME || name.contains(char::is_whitespace) {
        fail("name", "is no name".to_owned(), A_NAME);
    }
    let RawUser { mut user, password_file, password_env } = raw;
    let given = [user.password.is_some(), !password_file.is_empty(), !password_env.is_empty()];
    if given.into_iter().filter(|given| *given).count() > 1 {
        fail(
            "password",
            "is given in several ways".to_owned(),
            "one of password, password_file, password_env",
        );
    } else if !password_file.is_empty() {
        match read_password(Path::new(&password_file)) {
            Ok(secret) => user.password = Some(secret),
            Err(wrong) => fail("password_file", wrong, ""),
        }
    } else if !password_env.is_empty() {
        match variables.iter().find(|(name, _)| *name == password_env) {
            Some((_, password)) if !password.is_empty() => user.password = Some(Secret::new(password)),
            _ => fail("password_env", format!("names {password_env}, which is not set"), ""),
        }
    }
    user
}

#[cfg(test)]
mod tests {
    use crate::config::{Secret, Sources, load};

    fn wrong(users: &str) -> String {
        let sets = vec![format!("user={users}")];
        load(&Sources { sets, ..Sources::default() }).expect_err(users).to_string()
    }

    #[test]
    fn a_password_is_given_in_one_of_three_ways() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from file\n").unwrap();
        let path = file.path().display();
        let list = format!(
            "user=[{{name='a',password='here'}},{{name='b',password_file='{path}'}},{{name='c',password_env='PW'}},{{name='d'}}]"
        );
        let env = vec![("PW".to_owned(), "from environment".to_owned())];
        let config = load(&Sources { env, sets: vec![list], ..Sources::default() }).unwrap();
        let passwords: Vec<_> =
            config.users.iter().map(|user| user.password.as_ref().map(Secret::expose)).collect();
        assert_eq!(passwords, [Some("here"), Some("from file"), Some("from environment"), None]);
    }

    #[test]
    fn what_is_wrong_with_users_is_told() {
        for (users, says) in [
            ("[{}]", "user[1].name (--set): is missing"),
            ("[{name=''}]", "user[1].name (--set): is missing"),
            ("[{name='a b'}]", "user[1].name (--set): is no name"),
            ("[{name='a'},{name='a'}]", "user[2].name (--set): is the name of user[1] already"),
            (
                "[{name='a',password='x',password_env='Y'}]",
                "user[1].password (--set): is given in several ways",
            ),
            ("[{name='a',password_env='Y'}]", "user[1].password_env (--set): names Y, which is not set"),
            ("[{name='a',password_file='/nowhere'}]", "user[1].password_file (--set): cannot be read"),
            ("[{name='a',rule='x'}]", "user[1].rule (--set): is not known"),
            ("[{name=5}]", "user[1].name (--set): 5 is not a string"),
            ("5", "user (--set): is a list of sections, not an integer"),
        ] {
            let told = wrong(users);
            assert!(told.contains(says), "{users}: {told}");
        }
    }
}
