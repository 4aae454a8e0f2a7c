//! The command line: reads arguments and environment, loads the configuration, and hands it to a
//! [`Program`]. What it prints goes to the writers it is given, so that it can be run anywhere.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::acl::Users;
use crate::config::{self, Config, ConfigErrors, Origin, Sources};
use crate::source::{Migrated, Migration};
use crate::tier::compress::TRAINED_DICTIONARY;
use crate::tier::training::{Trained, Training};

/// All is well.
pub const OK: u8 = 0;
/// The configuration is wrong, a backend failed its trial, or the program ended by an error.
pub const FAILED: u8 = 1;
/// The command line or a variable of the environment cannot be understood.
pub const USAGE: u8 = 2;

/// The file that is read when none is named, if it is there.
const DEFAULT_FILE: &str = "config.toml";

const ABOUT: &str = "A caching proxy that speaks the Redis protocol: one endpoint, coherent copies in memory, \
    Redis behind.";

const MORE: &str = "\
Examples:
  strata                                      start with ./config.toml, or with the defaults
  strata --set l2.url=redis://10.0.0.1:6379   in front of a Redis that is there already
  strata --set l1.max_size=50MB --log debug   with more memory, and a log that says more
  strata check --print                        what is in force, is it right, do the backends answer?
  strata train-dictionary --match 'user:*' --out user.dict
  strata migrate --dry-run                    what PostgreSQL needs so that it tells of changes

Settings, later wins: the defaults, the file, the environment, --set.
  STRATA_<SECTION>_<KEY>  any key of the file: STRATA_L1_MAX_SIZE=10MB is l1.max_size = \"10MB\"
  STRATA_CONFIG           the file, as --config
  STRATA_LOG              what is logged, as --log
config.toml explains every key; `strata check --print` lists them all. Secrets need not stand on the
command line: STRATA_L2_PASSWORD, or l2.password_file (the same for server.password).

Exit codes: 0 success, 1 failure or wrong configuration, 2 wrong usage.";

/// What the command line sets going.
pub trait Program {
    /// Serves until it is told to stop.
    fn run(&self, config: Config) -> anyhow::Result<()>;

    /// Tries to reach every backend that `config` names, each within its own time limits.
    fn try_backends(&self, config: &Config) -> Vec<Trial>;

    /// Installs what the database below home needs so that it tells of changes, or takes it away.
    fn migrate(&self, config: &Config, migration: &Migration) -> anyhow::Result<Migrated>;

    /// Trains a dictionary on home's values.
    fn train_dictionary(&self, config: &Config, training: &Training) -> anyhow::Result<Trained>;
}

/// What is to be done.
enum Task {
    Run,
    Check { print: bool },
    Train(TrainOptions),
    Migrate(Migration),
}

/// How a backend did in `strata check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// What was tried: tier and place, such as `l2 redis://10.0.0.1:6379`. Holds no secret.
    pub name: String,
    /// How long it took.
    pub took: Duration,
    /// What it is, or why it failed.
    pub outcome: Result<String, String>,
}

#[derive(Debug, Parser)]
#[command(name = "strata", version, about = ABOUT, after_help = MORE, disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start serving; this is what happens without a command
    #[command(after_help = MORE)]
    Run {
        #[command(flatten)]
        options: Options,
    },
    /// Train a dictionary for the compression of small values on those that home has
    #[command(after_help = MORE)]
    TrainDictionary {
        #[command(flatten)]
        training: TrainOptions,
        #[command(flatten)]
        options: Options,
    },
    /// Install in PostgreSQL what tells strata of changes to the tables that [[l4.source]] watches
    #[command(after_help = MORE)]
    Migrate {
        #[command(flatten)]
        migration: MigrateOptions,
        #[command(flatten)]
        options: Options,
    },
    /// Validate the configuration and try the backends
    #[command(after_help = MORE)]
    Check {
        /// Print the configuration in force, secrets masked
        #[arg(long)]
        print: bool,
        #[command(flatten)]
        options: Options,
    },
}

#[derive(Args, Clone, Debug)]
struct TrainOptions {
    /// Sample the string values of keys that match this glob
    #[arg(long = "match", value_name = "GLOB")]
    pattern: String,
    /// Write the dictionary to this file, which must not exist; without it only figures are printed
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Bytes of the dictionary, at most
    #[arg(long, value_name = "BYTES", default_value_t = TRAINED_DICTIONARY)]
    size: usize,
}

#[derive(Args, Clone, Debug)]
struct MigrateOptions {
    /// Print the statements, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Take everything away again
    #[arg(long)]
    undo: bool,
    /// Give this role what strata needs of it, where strata comes as another role than the one that migrates
    #[arg(long, value_name = "ROLE", conflicts_with = "undo")]
    grant: Option<String>,
}

#[derive(Args, Clone, Debug, Default)]
struct Options {
    /// Read this file [default: ./config.toml if it is there]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a key of the file, such as l1.max_size=10MB; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// What is logged: off, error, warn, info, debug, trace, or by module
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

impl Options {
    /// Those before the command and those after it; the latter win.
    fn join(mut self, later: Self) -> Self {
        self.set.extend(self.log.take().map(|level| format!("server.log={level}")));
        self.set.extend(later.set);
        self.set.extend(later.log.map(|level| format!("server.log={level}")));
        Self { config: later.config.or(self.config), set: self.set, log: None }
    }

    fn sources(self, env: Vec<(String, String)>) -> Sources {
        let variable = env.iter().find(|(name, _)| name == "STRATA_CONFIG").map(|(_, file)| file);
        let named = self.config.or_else(|| variable.filter(|file| !file.is_empty()).map(PathBuf::from));
        let found = || Some(PathBuf::from(DEFAULT_FILE)).filter(|file| Path::new(file).exists());
        Sources { file: named.or_else(found), env, sets: self.set }
    }
}

/// Does what `arguments` (the name of the program first) and `variables` say, and returns the exit
/// code. Fails only if `out` or `err` cannot be written to.
pub fn execute(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    program: &impl Program,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    let line = match parse(arguments) {
        Ok(line) => line,
        Err(error) if error.use_stderr() => {
            write!(err, "{}", error.render())?;
            return Ok(USAGE);
        }
        Err(help) => {
            write!(out, "{}", help.render())?;
            return Ok(OK);
        }
    };
    let env = match readable(variables) {
        Ok(env) => env,
        Err(name) => {
            writeln!(err, "strata: the value of {name} is not UTF-8")?;
            return Ok(USAGE);
        }
    };
    let (task, options) = match line.action {
        None => (Task::Run, Options::default()),
        Some(Action::Run { options }) => (Task::Run, options),
        Some(Action::Check { print, options }) => (Task::Check { print }, options),
        Some(Action::Migrate { migration: MigrateOptions { dry_run, undo, grant }, options }) => {
            (Task::Migrate(Migration { dry_run, undo, grant }), options)
        }
        Some(Action::TrainDictionary { training, options }) => (Task::Train(training), options),
    };
    let options = line.options.join(options);
    let sources = options.sources(env);
    match config::load(&sources) {
        Err(errors) => {
            writeln!(err, "strata: {errors}")?;
            Ok(exit_code(&errors))
        }
        Ok(config) => match Users::configured(&config) {
            Err(wrong) => {
                writeln!(err, "strata: {wrong}")?;
                Ok(FAILED)
            }
            Ok(_) => match task {
                Task::Run => run(config, program, err),
                Task::Check { print } => check(&config, &sources, print, program, out, err),
                Task::Migrate(migration) => migrate(&config, &migration, program, out, err),
                Task::Train(training) => train(&config, training, program, out, err),
            },
        },
    }
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<CommandLine, clap::Error> {
    let matches = CommandLine::command().try_get_matches_from(arguments)?;
    CommandLine::from_arg_matches(&matches)
}

/// The variables that can be read: strata's own, and those that hold passwords of users. One of its own that is not
/// UTF-8 is named as the error.
fn readable(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, String> {
    variables
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter_map(|(name, value)| match value.into_string() {
            Ok(value) => Some(Ok((name, value))),
            Err(_) if name.starts_with("STRATA_") => Some(Err(name)),
            Err(_) => None,
        })
        .collect()
}

fn exit_code(errors: &ConfigErrors) -> u8 {
    if errors.iter().any(|error| error.origin == Origin::Flag) { USAGE } else { FAILED }
}

fn run(config: Config, program: &impl Program, err: &mut impl Write) -> io::Result<u8> {
    match program.run(config) {
        Ok(()) => Ok(OK),
        Err(error) => {
            writeln!(err, "strata: {error:#}")?;
            Ok(FAILED)
        }
    }
}

/// Migrates, and says what was done; the statements too, where they are only to be seen.
fn migrate(
    config: &Config,
    migration: &Migration,
    program: &impl Program,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    if config.l4.url.is_empty() {
        writeln!(err, "strata: l4.url is missing: there is no database to migrate")?;
        return Ok(FAILED);
    }
    match program.migrate(config, migration) {
        Ok(Migrated { said, sql }) => {
            let shown = if migration.dry_run { "-- " } else { "" };
            said.iter().try_for_each(|line| writeln!(out, "{shown}{line}"))?;
            if migration.dry_run {
                write!(out, "{sql}")?;
            }
            Ok(OK)
        }
        Err(error) => {
            writeln!(err, "strata: {error:#}")?;
            Ok(FAILED)
        }
    }
}

/// Trains a dictionary, says what it brings, and keeps it if it is told where.
fn train(
    config: &Config,
    options: TrainOptions,
    program: &impl Program,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    let TrainOptions { pattern, out: file, size } = options;
    let trained = match program.train_dictionary(config, &Training { pattern, size }) {
        Ok(trained) => trained,
        Err(error) => {
            writeln!(err, "strata: {error:#}")?;
            return Ok(FAILED);
        }
    };
    let ratio = |kept: usize| trained.bytes as f64 / kept.max(1) as f64;
    writeln!(
        out,
        "trained on {} values: {} bytes, id {}",
        trained.samples,
        trained.dictionary.len(),
        trained.id
    )?;
    let mean = trained.bytes / trained.tried.max(1);
    writeln!(out, "tried on {} others, of {mean} bytes on the average:", trained.tried)?;
    writeln!(out, "  without a dictionary  {:.2} : 1", ratio(trained.without))?;
    writeln!(out, "  with it               {:.2} : 1", ratio(trained.with))?;
    let Some(file) = file else { return Ok(OK) };
    let written = File::create_new(&file).and_then(|mut new| new.write_all(&trained.dictionary));
    match written {
        Ok(()) => {
            writeln!(out, "written to {}: name it as `dictionary` of the policy", file.display())?;
            Ok(OK)
        }
        Err(error) => {
            writeln!(err, "strata: {} cannot be written: {error}", file.display())?;
            Ok(FAILED)
        }
    }
}

fn check(
    config: &Config,
    sources: &Sources,
    print: bool,
    program: &impl Program,
    out: &mut impl Write,
    err: &mut impl Write,
) -> io::Result<u8> {
    if print {
        writeln!(out, "{}", config.to_toml_masked())?;
    }
    match &sources.file {
        Some(file) => writeln!(out, "ok      configuration ({})", file.display())?,
        None => writeln!(out, "ok      configuration (no file)")?,
    }
    let mut code = OK;
    for Trial { name, took, outcome } in program.try_backends(config) {
        let took = took.as_secs_f64() * 1e3;
        match outcome {
            Ok(what) => writeln!(out, "ok      {name}: {what} ({took:.1} ms)")?,
            Err(why) => {
                writeln!(err, "failed  {name}: {why} ({took:.1} ms)")?;
                code = FAILED;
            }
        }
    }
    Ok(code)
}
