//! The `pgalert` command as a process.

use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{tools::until, Database};

/// The binary under test.
fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("PGALERT_TEST_DRIVER") {
        return path.into();
    }
    // target/debug/deps/it-… → target/debug/pgalert
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("pgalert");
    assert!(path.exists(), "{} is not there: cargo build --package pgalert-driver", path.display());
    path
}

/// `pgalert` with a subcommand, as the role `courier` of a database.
pub fn pgalert(subcommand: &str, database: &Database) -> Command {
    pgalert_at(subcommand, &database.url("courier"))
}

/// `pgalert` with nothing of this process's environment, and settings that suit tests: webhooks of this machine may
/// be called by http, metrics are served where a test asks for them, a lost worker's claims are free after a short time, and a failure fails at once, however many
/// there were.
pub fn pgalert_at(subcommand: &str, database_url: &str) -> Command {
    let mut command = Command::new(program());
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("DATABASE_URL", database_url)
        .env("PGALERT_HTTP_ALLOW_HTTP", "true")
        .env("PGALERT_HTTP_ALLOW_ADDRESSES", "127.0.0.0/8, ::1")
        .env("PGALERT_METRICS_LISTEN", "")
        .env("PGALERT_WORKER_LEASE", "2s")
        .env("PGALERT_WORKER_QUICK_RETRIES", "")
        .env("PGALERT_BREAKER_FAILURES", "0")
        .arg(subcommand);
    command
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A command that ends by itself, under way; killed when dropped.
pub struct Running {
    process: Option<Child>,
    command: String,
}

impl Running {
    pub fn start(command: &mut Command) -> Running {
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Running { process: Some(process), command: format!("{command:?}") }
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        signal(self.process.as_ref().unwrap(), "-TERM");
    }

    /// Waits for the end, which must come within two minutes.
    pub async fn ended(mut self) -> Ended {
        let child = self.process.take().unwrap();
        let id = child.id().to_string();
        let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        let Ok(output) = tokio::time::timeout(Duration::from_secs(120), output).await else {
            let _ = Command::new("kill").args(["-KILL", &id]).status();
            panic!("this does not end: {}", self.command);
        };
        let output = output.unwrap();
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn signal(process: &Child, name: &str) {
    let id = process.id().to_string();
    assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
}

/// Runs a command to its end.
pub async fn run(command: &mut Command) -> Ended {
    Running::start(command).ended().await
}

/// `pgalert once`, which must do its work; returns the line that it prints.
pub async fn once(command: &mut Command) -> String {
    let ended = run(command).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout.trim().to_owned()
}

/// A running `pgalert run`; killed when dropped, and then its log is printed if the test failed.
pub struct Driver {
    process: Child,
    log: PathBuf,
}

impl Driver {
    pub fn start(command: &mut Command) -> Driver {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let log = std::env::temp_dir()
            .join(format!("pgalert-e2e.{}.driver{number}.log", std::process::id()));
        let process = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Driver { process, log }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the log has a text.
    pub async fn until_logged(&self, text: &str, limit: Duration) {
        until(&format!("the driver logs \"{text}\""), limit, async || {
            if self.log().contains(text) {
                Ok(())
            } else {
                Err("not logged")
            }
        })
        .await
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

    /// Sends SIGTERM, and waits for the end.
    pub async fn terminate(mut self, limit: Duration) -> ExitStatus {
        signal(&self.process, "-TERM");
        let process = &mut self.process;
        until("the driver ends after SIGTERM", limit, async || {
            process.try_wait().unwrap().ok_or("it runs")
        })
        .await
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> =
                log.lines().filter(|line| !line.contains("\"delivered\"")).collect();
            let last = lines[lines.len().saturating_sub(30)..].join("\n");
            println!("the driver's log ended so:\n{last}");
        }
        let _ = std::fs::remove_file(&self.log);
    }
}
