//! Private clusters, reached by sockets in folders of their own, and databases in them.

use std::{
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        OnceLock,
    },
};

use tokio_postgres::{Config, NoTls};

use crate::tools::{free_port, run, Authority};

pub type Session = tokio_postgres::Client;

/// Port in the name of a cluster's socket, where it does not listen to TCP.
const SOCKET_PORT: u16 = 5432;

pub struct Cluster {
    pub folder: PathBuf,
    pub port: u16,
    guardian: Option<Child>,
    databases: AtomicU32,
}

impl Cluster {
    /// The cluster of all tests that need none of their own.
    pub fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Cluster::start(&[]))
    }

    /// A new cluster with the given lines added to postgresql.conf.
    pub fn start(settings: &[&str]) -> Cluster {
        let cluster = Cluster::create(SOCKET_PORT, settings, |cluster| cluster.initdb());
        cluster.start_server();
        cluster
    }

    /// A new cluster that can also be reached at localhost, only with TLS and a password.
    pub fn start_with_tls(authority: &Authority) -> Cluster {
        let (certificate, key) = (authority.file("server.pem"), authority.file("server.key"));
        give_to_server(Path::new(&key));
        let settings = [
            "listen_addresses = '127.0.0.1'",
            "ssl = on",
            &format!("ssl_cert_file = '{certificate}'"),
            &format!("ssl_key_file = '{key}'"),
        ];
        let cluster = Cluster::create(free_port(), &settings, |cluster| {
            cluster.initdb();
            let rules = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
            std::fs::write(cluster.data().join("pg_hba.conf"), rules).unwrap();
        });
        cluster.start_server();
        cluster
    }

    fn initdb(&self) {
        run(as_server(&bindir().join("initdb")).arg("--pgdata").arg(self.data()).args([
            "--username=postgres",
            "--auth=trust",
            "--no-locale",
            "--encoding=UTF8",
            "--no-sync",
        ]));
    }

    /// A hot standby of another cluster.
    pub fn standby_of(primary: &Cluster, settings: &[&str]) -> Cluster {
        let cluster = Cluster::create(SOCKET_PORT, settings, |cluster| {
            run(as_server(&bindir().join("pg_basebackup"))
                .arg("--pgdata")
                .arg(cluster.data())
                .args([
                    "--write-recovery-conf",
                    "--checkpoint=fast",
                    "--no-sync",
                    "--username=postgres",
                    "--host",
                ])
                .arg(&primary.folder));
        });
        cluster.start_server();
        cluster
    }

    fn create(port: u16, settings: &[&str], fill: impl FnOnce(&Cluster)) -> Cluster {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("pgalert-e2e.{}.{number}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        give_to_server(&folder);
        let mut cluster = Cluster { folder, port, guardian: None, databases: AtomicU32::new(0) };
        cluster.guardian = Some(cluster.guard());
        fill(&cluster);
        let mut conf = std::fs::OpenOptions::new()
            .append(true)
            .open(cluster.data().join("postgresql.conf"))
            .unwrap();
        let folder = cluster.folder.display();
        writeln!(
            conf,
            "unix_socket_directories = '{folder}'\nlisten_addresses = ''\nport = {port}"
        )
        .unwrap();
        writeln!(conf, "fsync = off\nmax_connections = 200\nmax_prepared_transactions = 50")
            .unwrap();
        for line in settings {
            writeln!(conf, "{line}").unwrap();
        }
        cluster
    }

    /// Stops the server and removes its folder as soon as this process is gone, however it went.
    fn guard(&self) -> Child {
        let keep = std::env::var_os("PGALERT_TEST_KEEP").is_some();
        let mut guardian = Command::new("bash");
        guardian
            .args(["-c", r#"trap '' INT TERM HUP; cat; "$@" >/dev/null 2>&1; [ -n "$KEEP" ] || rm -rf "$FOLDER""#, "guardian"])
            .env("FOLDER", &self.folder)
            .env("KEEP", if keep { "yes" } else { "" })
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let stop = self.pg_ctl(&["stop", "--mode=immediate"]);
        guardian.arg(stop.get_program()).args(stop.get_args()).current_dir("/");
        guardian.spawn().unwrap()
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Command {
        let mut command = as_server(&bindir().join("pg_ctl"));
        command.arg("--pgdata").arg(self.data()).args(arguments);
        command
    }

    pub fn start_server(&self) {
        let log = self.folder.join("log");
        let mut start =
            self.pg_ctl(&["start", "--wait", "--timeout=120", "--log", log.to_str().unwrap()]);
        let output = start
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(
            output.success(),
            "the server did not start:\n{}",
            std::fs::read_to_string(log).unwrap_or_default()
        );
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        run(&mut self.pg_ctl(&["promote", "--wait"]));
    }

    /// Stops the server as a crash would: no checkpoint, no farewell to clients.
    pub fn crash(&self) {
        run(&mut self.pg_ctl(&["stop", "--mode=immediate", "--wait"]));
    }

    /// A new database with the extension.
    pub async fn database(&self) -> Database {
        let database = self.empty_database().await;
        database.connect().await.batch_execute("CREATE EXTENSION pgalert").await.unwrap();
        database.make_logins().await;
        database
    }

    pub async fn empty_database(&self) -> Database {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.named_database("postgres")
            .connect()
            .await
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        self.named_database(&name)
    }

    pub fn named_database(&self, name: &str) -> Database {
        Database { folder: self.folder.clone(), port: self.port, name: name.to_owned() }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut guardian = self.guardian.take().unwrap();
        drop(guardian.stdin.take());
        let _ = guardian.wait();
    }
}

/// A database, known by the folder of its cluster's socket and its name.
#[derive(Clone)]
pub struct Database {
    pub folder: PathBuf,
    pub port: u16,
    pub name: String,
}

impl Database {
    /// A session as superuser.
    pub async fn connect(&self) -> Session {
        self.connect_as("postgres").await
    }

    pub async fn connect_as(&self, user: &str) -> Session {
        self.try_connect_as(user)
            .await
            .unwrap_or_else(|error| panic!("{user} cannot connect to {}: {error}", self.name))
    }

    pub async fn try_connect_as(&self, user: &str) -> Result<Session, tokio_postgres::Error> {
        let (session, connection) = Config::new()
            .host_path(&self.folder)
            .port(self.port)
            .user(user)
            .dbname(&self.name)
            .connect(NoTls)
            .await?;
        tokio::spawn(connection);
        Ok(session)
    }

    /// Logins as a user has them: `app` fires alerts, `courier` is the driver's, `clerk` the desk's. Roles belong to the cluster.
    pub async fn make_logins(&self) {
        let session = self.connect().await;
        session
            .batch_execute(
                "BEGIN;
                 LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE;
                 DO $$ BEGIN
                   IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'app') THEN
                     CREATE ROLE app LOGIN IN ROLE pgalert_producer;
                     CREATE ROLE courier LOGIN IN ROLE pgalert_driver;
                     CREATE ROLE clerk LOGIN IN ROLE pgalert_operator;
                   END IF;
                 END $$;
                 COMMIT",
            )
            .await
            .unwrap();
    }

    /// DATABASE_URL for a user of this database.
    pub fn url(&self, user: &str) -> String {
        format!(
            "postgresql://{user}@/{}?host={}&port={}",
            self.name,
            self.folder.display(),
            self.port
        )
    }

    /// A program of the server's version (pg_dump, pg_restore, …) that connects to this database as superuser.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(bindir().join(name));
        command
            .env("PGHOST", &self.folder)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", &self.name);
        command
    }
}

pub fn bindir() -> &'static Path {
    static BINDIR: OnceLock<PathBuf> = OnceLock::new();
    BINDIR.get_or_init(|| {
        let pg_config = std::env::var_os("PGALERT_TEST_PG_CONFIG").unwrap_or("pg_config".into());
        let output = run(Command::new(pg_config).arg("--bindir"));
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

/// Whether this process is root, whom Postgres refuses.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A command run as the user of the server: `postgres` when this process is root.
fn as_server(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut runuser = Command::new("runuser");
        runuser.args(["--user=postgres", "--"]).arg(program);
        runuser
    } else {
        Command::new(program)
    };
    // A backtrace would be added to the DETAIL of each error from Rust.
    command.current_dir("/").env_remove("RUST_BACKTRACE");
    command
}

/// Makes the server's user the owner of a file or folder.
pub fn give_to_server(path: &Path) {
    if is_root() {
        run(Command::new("chown").arg("postgres").arg(path));
    }
}
