//! The `pgalert` command as a process.

use std::{
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use crate::{tools::until, Database};

/// The binary under test.
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("PGALERT_TEST_DRIVER") {
        return path.into();
    }
    // target/debug/deps/it-… → target/debug/pgalert
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("pgalert");
    assert!(path.exists(), "{} is not there: cargo build --package pgalert-driver", path.display());
    path
}

/// `pgalert` with a subcommand, for a database, with nothing else of this process's environment that it reads.
pub fn pgalert(subcommand: &str, database: &Database) -> Command {
    pgalert_at(subcommand, &database.url("courier"))
}

pub fn pgalert_at(subcommand: &str, database_url: &str) -> Command {
    let mut command = Command::new(program());
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("DATABASE_URL", database_url).arg(subcommand).current_dir(std::env::temp_dir());
    command
}

/// Runs a command to its end, however it ends.
pub async fn outcome(mut command: Command) -> Output {
    command.stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// A running `pgalert run`; killed when dropped.
pub struct Driver {
    process: Child,
}

impl Driver {
    pub fn start(command: &mut Command) -> Driver {
        Driver { process: command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap() }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(mut self, limit: Duration) -> ExitStatus {
        let id = self.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        until("the driver ends after SIGTERM", limit, async || {
            self.process.try_wait().unwrap().ok_or("it runs")
        })
        .await
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
