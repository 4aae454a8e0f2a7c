//! The command line, from its arguments to its exit code.

use std::cell::RefCell;
use std::ffi::OsString;
use std::time::Duration;

use strata::cli::{FAILED, OK, Program, Trial, USAGE, execute};
use strata::config::Config;
use strata::source::{Migrated, Migration};
use strata::tier::training::{Trained, Training};

/// Remembers what it was told, and answers what it holds.
#[derive(Default)]
struct Told {
    ran: RefCell<Vec<Config>>,
    failure: Option<&'static str>,
    trials: Vec<Trial>,
    migrations: RefCell<Vec<Migration>>,
}

impl Program for Told {
    fn run(&self, config: Config) -> anyhow::Result<()> {
        self.ran.borrow_mut().push(config);
        self.failure.map_or(Ok(()), |why| Err(anyhow::anyhow!(why).context("cannot serve")))
    }

    fn try_backends(&self, _: &Config) -> Vec<Trial> {
        self.trials.clone()
    }

    fn migrate(&self, _: &Config, migration: &Migration) -> anyhow::Result<Migrated> {
        self.migrations.borrow_mut().push(migration.clone());
        self.failure.map_or(Ok(()), |why| Err(anyhow::anyhow!(why).context("cannot migrate")))?;
        Ok(Migrated { said: vec!["users: by id".to_owned()], sql: "SELECT 1;\n".to_owned() })
    }

    fn train_dictionary(&self, _: &Config, training: &Training) -> anyhow::Result<Trained> {
        self.failure.map_or(Ok(()), |why| Err(anyhow::anyhow!(why).context("cannot train")))?;
        Ok(Trained {
            dictionary: vec![b'd'; training.size],
            id: 7,
            samples: 80,
            tried: 20,
            bytes: 6_000,
            without: 5_000,
            with: 1_500,
        })
    }
}

impl Told {
    /// The exit code, and what was printed to stdout and stderr.
    fn execute(&self, line: &str, env: &[(&str, &str)]) -> (u8, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let arguments = line.split_whitespace().map(OsString::from);
        let variables = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let code = execute(arguments, variables, self, &mut out, &mut err).expect("a vector takes all");
        (code, String::from_utf8(out).expect("text"), String::from_utf8(err).expect("text"))
    }
}

#[test]
fn migrates_what_it_is_told_to() {
    let told = Told::default();
    let url = "--set l4.url=postgres://app@db/app";
    let done = (OK, "users: by id\n".to_owned(), String::new());
    assert_eq!(told.execute(&format!("strata migrate {url}"), &[]), done);
    assert_eq!(told.execute(&format!("strata migrate --grant app {url}"), &[]), done);
    let seen = (OK, "-- users: by id\nSELECT 1;\n".to_owned(), String::new());
    assert_eq!(told.execute(&format!("strata migrate --undo --dry-run {url}"), &[]), seen);
    let wish =
        |dry_run, undo, grant: Option<&str>| Migration { dry_run, undo, grant: grant.map(str::to_owned) };
    let expected = [wish(false, false, None), wish(false, false, Some("app")), wish(true, true, None)];
    assert_eq!(*told.migrations.borrow(), expected);
    let (code, _, wrong) = told.execute("strata migrate", &[]);
    assert_eq!((code, &*wrong), (FAILED, "strata: l4.url is missing: there is no database to migrate\n"));
    let (code, ..) = told.execute(&format!("strata migrate --undo --grant app {url}"), &[]);
    assert_eq!(code, USAGE);
    let broken = Told { failure: Some("no answer"), ..Told::default() };
    let (code, _, wrong) = broken.execute(&format!("strata migrate {url}"), &[]);
    assert_eq!((code, &*wrong), (FAILED, "strata: cannot migrate: no answer\n"));
}

#[test]
fn runs_with_and_without_the_command() {
    let told = Told::default();
    for line in [
        "strata --set l1.ttl=1s --log warn",
        "strata run --set l1.ttl=1s --log warn",
        "strata --set l1.ttl=9s --log trace run -s l1.ttl=1s --log=warn",
    ] {
        assert_eq!(told.execute(line, &[]), (OK, String::new(), String::new()), "{line}");
        let config = told.ran.borrow_mut().pop().unwrap();
        assert_eq!(config.l1.ttl, Duration::from_secs(1), "{line}");
        assert_eq!(config.server.log, "warn", "{line}");
    }
}

#[test]
fn finds_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("it.toml").display().to_string();
    std::fs::write(&path, "l1.ttl = '7s'").unwrap();
    let told = Told::default();
    told.execute(&format!("strata --config {path}"), &[("STRATA_CONFIG", "/nonexistent")]);
    told.execute("strata", &[("STRATA_CONFIG", &path)]);
    let ran = told.ran.borrow();
    let ttls: Vec<_> = ran.iter().map(|config| config.l1.ttl.as_secs()).collect();
    assert_eq!(ttls, [7, 7]);
}

#[test]
fn a_failure_is_told_with_its_causes() {
    let told = Told { failure: Some("the port is taken"), ..Told::default() };
    let expected = (FAILED, String::new(), "strata: cannot serve: the port is taken\n".to_owned());
    assert_eq!(told.execute("strata", &[]), expected);
}

#[test]
fn all_errors_are_told_in_one_block() {
    let told = Told::default();
    let env = [("STRATA_L1_TTL", "60")];
    let expected = "strata: the configuration has 2 errors:\n  \
        1. l1.ttl (STRATA_L1_TTL): \"60\" has no unit; accepted: a duration from 1ms to 1year, such as \
        \"60s\" or \"500ms\"\n  \
        2. l1.max_sise (--set): is not known; did you mean `l1.max_size`?\n";
    for line in ["strata --set l1.max_sise=5MB", "strata check --set l1.max_sise=5MB"] {
        assert_eq!(told.execute(line, &env), (USAGE, String::new(), expected.to_owned()));
    }
    assert_eq!(told.execute("strata check", &env).0, FAILED);
    assert!(told.ran.borrow().is_empty());
}

#[test]
fn check_tries_the_backends() {
    let trial =
        |outcome| Trial { name: "l2 embedded".to_owned(), took: Duration::from_micros(1250), outcome };
    let mut told = Told { trials: vec![trial(Ok("redis 7.0.15".to_owned()))], ..Told::default() };
    let (code, out, err) = told.execute("strata check --config config.toml", &[]);
    let well = "ok      configuration (config.toml)\nok      l2 embedded: redis 7.0.15 (1.2 ms)\n";
    assert_eq!((code, out.as_str(), err.as_str()), (OK, well, ""));
    told.trials.push(trial(Err("connection refused".to_owned())));
    let (code, out, err) = told.execute("strata check --config config.toml", &[]);
    let failed = "failed  l2 embedded: connection refused (1.2 ms)\n";
    assert_eq!((code, out.as_str(), err.as_str()), (FAILED, well, failed));
}

#[test]
fn check_prints_what_is_in_force() {
    let env = [("STRATA_SERVER_PASSWORD", "swordfish")];
    let (code, out, err) = Told::default().execute("strata check --print --set l1.max_size=7MB", &env);
    assert_eq!((code, err.as_str()), (OK, ""));
    assert!(out.starts_with("[server]\nlisten = \"127.0.0.1:7379\"\n"), "{out}");
    assert!(out.contains("password = \"***\"\n") && out.contains("max_size = \"7MB\"\n"), "{out}");
    assert!(!out.contains("swordfish"), "{out}");
}

#[test]
fn help_and_version_are_no_errors() {
    let told = Told::default();
    for line in ["strata --help", "strata check --help", "strata run -h"] {
        let (code, out, err) = told.execute(line, &[]);
        assert_eq!((code, err.as_str()), (OK, ""));
        for part in
            ["Usage: strata", "--config <FILE>", "--set <KEY=VALUE>", "STRATA_L1_MAX_SIZE", "Examples:"]
        {
            assert!(out.contains(part), "{line}: {part}\n{out}");
        }
    }
    let version = format!("strata {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(told.execute("strata --version", &[]), (OK, version, String::new()));
}

#[test]
fn wrong_usage_has_its_own_code() {
    let told = Told::default();
    for line in ["strata --sett l1.ttl=1s", "strata serve", "strata --config", "strata run --print"] {
        let (code, out, err) = told.execute(line, &[]);
        assert_eq!((code, out.as_str()), (USAGE, ""), "{line}");
        assert!(err.starts_with("error: "), "{line}: {err}");
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_named() {
    use std::os::unix::ffi::OsStringExt;
    let value = || OsString::from_vec(vec![0xff]);
    let variables = [("OTHER".into(), value()), ("STRATA_L2_PASSWORD".into(), value())];
    let mut err = Vec::new();
    let code = execute(["strata".into()], variables, &Told::default(), &mut Vec::new(), &mut err).unwrap();
    assert_eq!(code, USAGE);
    assert_eq!(err, b"strata: the value of STRATA_L2_PASSWORD is not UTF-8\n");
}

#[test]
fn trains_a_dictionary_and_says_what_it_brings() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("user.dict").display().to_string();
    let mut told = Told::default();
    let line = format!("strata train-dictionary --match user:* --size 9 --out {path}");
    let (code, out, err) = told.execute(&line, &[]);
    let expected = "trained on 80 values: 9 bytes, id 7\ntried on 20 others, of 300 bytes on the average:\n  \
        without a dictionary  1.20 : 1\n  with it               4.00 : 1\n";
    let written = format!("{expected}written to {path}: name it as `dictionary` of the policy\n");
    assert_eq!((code, out, err), (OK, written, String::new()));
    assert_eq!(std::fs::read(&path).unwrap(), b"ddddddddd");
    // What is there is not overwritten.
    assert_eq!(told.execute(&line, &[]).0, FAILED);
    let printed = told.execute("strata train-dictionary --match user:*", &[]);
    assert_eq!((printed.0, printed.2), (OK, String::new()));
    assert_eq!(told.execute("strata train-dictionary", &[]).0, USAGE);
    told.failure = Some("no values");
    let failed = told.execute("strata train-dictionary --match user:*", &[]);
    assert_eq!((failed.0, failed.2), (FAILED, "strata: cannot train: no values\n".to_owned()));
}
