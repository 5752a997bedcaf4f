//! The `pgalert` command: network I/O for the extension pgalert. What is decided is decided in SQL; see `database` for the
//! calls. Parse, configure, log, run, exit code.

#![forbid(unsafe_code)]

mod breakers;
mod channel_names;
mod channels;
mod check;
mod claimer;
mod cli;
mod config;
mod connect;
mod daemon;
mod database;
mod deliveries;
mod desk;
mod dlq;
mod entry;
mod http;
mod link;
mod listing;
mod log;
mod loops;
mod message;
mod numbers;
mod observe;
mod output;
mod placeholders;
mod recipients;
mod reporter;
mod route;
mod sample;
mod sender;
mod shell;
mod signals;
mod status;
mod supervisor;
mod table;
mod templates;
mod traces;
mod upkeep;

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{bail, Context};
use clap::Parser;

use cli::{Cli, Command};
use config::{Config, ConfigError, Environment, Overrides, Secret};
use connect::{connect, ParamError, Params};

const EX_USAGE: u8 = 64;
const EX_SOFTWARE: u8 = 70;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(code) => code,
        Err(error) => exit_code(&error),
    }
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS; // who read standard output has read enough
    }
    let _ = writeln!(io::stderr(), "error: {error:#}");
    ExitCode::from(if error.is::<ConfigError>() || error.is::<ParamError>() {
        EX_USAGE
    } else if error.is::<loops::Fault>() {
        EX_SOFTWARE
    } else {
        1
    })
}

fn start(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Command::Config { defaults: true } = cli.command {
        output::print(config::DEFAULTS)?;
        return Ok(ExitCode::SUCCESS);
    }
    match &cli.command {
        Command::Completions { shell } => {
            return shell::completions(*shell).map(|()| ExitCode::SUCCESS)
        }
        Command::Man { folder } => return shell::man(folder).map(|()| ExitCode::SUCCESS),
        _ => {}
    }
    let env: Environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let overrides = Overrides {
        database_url: cli.database_url,
        log_level: cli.log_level,
        log_format: cli.log_format,
        metrics_listen: match &cli.command {
            Command::Run { metrics_listen, .. } => metrics_listen.clone(),
            _ => None,
        },
    };
    let config = Config::load(cli.config.as_deref(), &env, overrides)?;
    if let Command::Config { .. } = cli.command {
        output::print(config.shown())?;
        return Ok(ExitCode::SUCCESS);
    }
    log::init(&config.log)?;
    let params = params_of(&config.database.url, &config.database.password_file, &env)?;
    let desk = match config.desk.database_url.expose() {
        "" => params.clone(),
        _ => params_of(&config.desk.database_url, &config.desk.password_file, &env)?,
    };
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    runtime.block_on(perform(cli.command, config, params, desk))
}

fn params_of(url: &Secret, password_file: &str, env: &Environment) -> anyhow::Result<Arc<Params>> {
    let mut params = Params::parse(url.expose(), &|name| env.get(name).cloned())?;
    if !password_file.is_empty() {
        let password = config::read_secret(Path::new(password_file))?;
        params.set_password(password.expose().to_owned());
    }
    Ok(Arc::new(params))
}

async fn perform(
    command: Command,
    config: Config,
    params: Arc<Params>,
    desk: Arc<Params>,
) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run { desk: false, .. } => daemon::run(config, params, None).await?,
        Command::Run { desk: true, .. } => daemon::run(config, params, Some(desk)).await?,
        Command::Desk => desk::serve(&config.desk, desk).await?,
        Command::Once => {
            let daemon::Summary { tally, skipped, stopped } = daemon::once(config, params).await?;
            output::line(format_args!(
                "{} delivered, {} failed, {} deferred, {skipped} skipped",
                tally.delivered, tally.failed, tally.deferred
            ))?;
            if stopped {
                bail!("stopped by a signal before all was sent: the rest was given back");
            }
        }
        Command::Deliver { alert, user, message, dedup_window, traceparent } => {
            let alert = sample::alert_text(&alert)?;
            let client = connect(&params).await?.client;
            let (window, parent) = (dedup_window.as_deref(), traceparent.as_deref());
            let status =
                database::deliver_alert(&client, &alert, &user, &message, window, parent).await?;
            output::line(status)?;
        }
        Command::Check => {
            return Ok(if check::check(&config, &params).await {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(1)
            })
        }
        Command::Test { channel, to, secret_file, sample } => {
            sample::test(&config, &channel, to, secret_file.as_deref(), &sample).await?
        }
        Command::Preview { channel, to, sample } => {
            sample::preview(&config, &channel, &to, &sample)?
        }
        Command::Recipients(command) => {
            recipients::run(&connect(&params).await?.client, command).await?
        }
        Command::Dlq(command) => dlq::run(&connect(&params).await?.client, command).await?,
        Command::Deliveries(command) => {
            deliveries::run(&connect(&params).await?.client, command).await?
        }
        Command::Status { json } => status::status(&connect(&params).await?.client, json).await?,
        Command::Channels(command) => {
            channel_names::run(&connect(&params).await?.client, command).await?
        }
        Command::Config { .. } | Command::Completions { .. } | Command::Man { .. } => {} // answered before a connection was thought of
    }
    Ok(ExitCode::SUCCESS)
}
