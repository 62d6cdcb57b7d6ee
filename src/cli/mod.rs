//! The command line: arguments in, text or JSON out.
//!
//! Exit 0: done. 1: not done (not found, in conflict, record out of reach). 2: wrong arguments or
//! configuration. What was asked for goes to standard output; errors go to standard error, in few lines, and
//! say what to do. A command writes to the record once or not at all, so nothing is ever half written.
//!
//! With `--json` both are JSON: a thing as an object, a list as an array (but rows of the log as a line each), an
//! error as `{"error", "advice"?, "problems"?}`.
//!
//! **Deliberately absent:** rules (they are in [`admin`](crate::admin)) and the running gateway (in
//! [`app`]). A command changes the record, and a running gateway follows it.

mod args;
mod context;
mod failure;
mod key;
mod key_change;
mod key_import;
mod logs;
mod migrate;
mod org;
mod output;
mod project;
mod session;
mod user;
mod verify;
mod wire;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Parser, Subcommand};

use crate::app;
use context::Context;
use failure::Failure;
use output::Output;

/// An authenticating gateway in front of an existing scraping service: API keys, exact limits, a durable log.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, max_term_width = 100)]
struct Cli {
    /// The configuration file; without one, gateway.toml of the working directory, or else the built-in one.
    #[arg(long, global = true, value_name = "FILE", env = "TOLLGATE_CONFIG")]
    // Not clap's own parser of paths, to which a variable that is set to nothing is an error.
    #[arg(value_parser = OsStringValueParser::new().map(PathBuf::from))]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a gateway with a built-in scrape service, a key and an operator, to try it out.
    Demo(Demo),
    /// Run the gateway.
    Serve,
    /// Check the configuration; prints every mistake in it.
    Check,
    /// Move a record from SQLite to PostgreSQL. Stop the gateway first; run it again where it was broken off.
    MigrateRecord(migrate::MigrateRecord),
    #[command(flatten)]
    Administer(Administer),
    /// Show the request log.
    Logs(logs::Logs),
    /// Compare the sums of the request log with its rows.
    Verify(verify::Verify),
}

/// The commands that need the record.
#[derive(Debug, Subcommand)]
enum Administer {
    /// Organizations: the accounts that pay.
    #[command(subcommand)]
    Org(org::Command),
    /// People.
    #[command(subcommand)]
    User(user::Command),
    /// Projects: parts of an organization.
    #[command(subcommand)]
    Project(project::Command),
    /// Logins.
    #[command(subcommand)]
    Session(session::Command),
    /// API keys.
    #[command(subcommand)]
    Key(key::Command),
}

#[derive(Debug, clap::Args)]
struct Demo {
    /// Where clients connect; port 0 picks a free one. Without it, 127.0.0.1:8080.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where operators connect; port 0 picks a free one. Without it, 127.0.0.1:9090.
    #[arg(long, value_name = "ADDRESS")]
    control: Option<SocketAddr>,
    /// Where keys and the log are kept; without it, a fresh directory.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// The configuration where none is named.
const FILE: &str = "gateway.toml";

/// Runs the command that this process was started with.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let json = std::env::args_os().any(|arg| arg == "--json");
            return failure::arguments(&error, json);
        }
    };
    let json = cli.json;
    dispatch(cli).unwrap_or_else(|failure| failure.report(json))
}

fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    // An empty TOLLGATE_CONFIG is one that is not set.
    let named = cli.config.filter(|path| !path.as_os_str().is_empty());
    let config = named.or_else(|| Some(PathBuf::from(FILE)).filter(|path| path.exists()));
    let json = cli.json;
    match cli.command {
        Command::Serve => Ok(app::serve(app::Serve { config, json })?),
        Command::Demo(Demo { listen, control, data }) => {
            Ok(app::demo(&app::Demo { listen, control, data, json })?)
        }
        Command::Check => {
            let checked = context::configuration(config.as_deref());
            let name =
                config.map_or_else(|| "built-in gateway.toml".into(), |path| path.display().to_string());
            if let (Err(failure), true) = (&checked, json) {
                // What was asked for, so it is in the place of answers, too.
                let mut found = failure.json();
                found["ok"] = false.into();
                found["config"] = name.as_str().into();
                Output::new("", &found).print(json)?;
            }
            checked?;
            let text = format!("{name}: ok");
            Output::new(text, &serde_json::json!({"ok": true, "config": name})).print(json)
        }
        Command::MigrateRecord(command) => {
            runtime()?.block_on(migrate::run(command, config.as_deref()))?.print(json)
        }
        Command::Administer(command) => {
            runtime()?.block_on(administer(command, config.as_deref()))?.print(json)
        }
        Command::Logs(asked) => runtime()?.block_on(async {
            let context = Context::open(config.as_deref()).await?;
            let ended = logs::run(asked, &context, json).await;
            context.close().await;
            ended
        }),
        Command::Verify(asked) => runtime()?.block_on(async {
            let context = Context::open(config.as_deref()).await?;
            let ended = verify::run(asked, &context, json).await;
            context.close().await;
            ended
        }),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn administer(command: Administer, config: Option<&Path>) -> Result<Output, Failure> {
    let context = Context::open(config).await?;
    let output = match command {
        Administer::Org(command) => org::run(command, &context).await,
        Administer::User(command) => user::run(command, &context).await,
        Administer::Project(command) => project::run(command, &context).await,
        Administer::Session(command) => session::run(command, &context).await,
        Administer::Key(command) => key::run(command, &context).await,
    };
    context.close().await;
    output
}
