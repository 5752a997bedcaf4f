//! Waiting for a condition, seeds, and commands.

use std::{
    future::Future,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{
    pki_types::{pem::PemObject, CertificateDer, PrivateKeyDer},
    ServerConfig,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout, Instant},
};

const PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer, and panics after `limit` with what was waited for and what was seen last.
pub async fn until<T, E: std::fmt::Debug>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match probe().await {
            Ok(answer) => return answer,
            Err(seen) if Instant::now() > deadline => {
                panic!("waited {limit:?} for this: {what}; seen last: {seen:?}")
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// The result of a future that must come within `limit`.
pub async fn within<T>(what: &str, limit: Duration, future: impl Future<Output = T>) -> T {
    timeout(limit, future).await.unwrap_or_else(|_| panic!("took more than {limit:?}: {what}"))
}

/// The seed of a random test: from PGALERT_TEST_SEED, or new. Printed, so that a failure can be run again.
pub fn seed(test: &str) -> u64 {
    let seed = match std::env::var("PGALERT_TEST_SEED") {
        Ok(text) => text.parse().expect("PGALERT_TEST_SEED is a whole number"),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into(),
    };
    say(&format!("{test}: PGALERT_TEST_SEED={seed}"));
    seed
}

/// A line for whoever runs the tests, also when they pass (the harness captures what `println!` prints).
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "e2e: {line}");
}

/// Runs a command to its end and returns its output; panics with all that it said when it fails.
pub fn run(command: &mut Command) -> Output {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?} could not be started: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The folder of the workspace.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A Python with what tests/setup.sh installs for it.
pub fn python() -> PathBuf {
    std::env::var_os("PGALERT_TEST_PYTHON")
        .map_or_else(|| repository().join("target/venv/bin/python"), PathBuf::from)
}

/// What a script of this crate's source folder prints as JSON about its JSON input.
pub fn ask_python(script: &str, input: &Value) -> Value {
    let mut child = Command::new(python())
        .arg(repository().join("tests/e2e/src").join(script))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{script} failed");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A free port of the loopback interface. Another program may take it before its user does, which is rare.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Status and body of a GET on this machine.
pub async fn http_get(port: u16, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    // Of 1.0, so that the body ends with the connection.
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
}

/// A certificate authority, and a server certificate of it for `localhost`, as PEM files of a folder.
pub struct Authority {
    pub folder: PathBuf,
}

impl Authority {
    pub fn new(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let openssl = |arguments: &str| {
            run(Command::new("openssl").args(arguments.split(' ')).current_dir(folder));
        };
        std::fs::write(folder.join("san"), "subjectAltName=DNS:localhost\n").unwrap();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        openssl(&format!(
            "req -x509 {key} -days 2 -subj /CN=pgalert-test-ca -keyout ca.key -out ca.pem"
        ));
        openssl(&format!("req {key} -subj /CN=localhost -keyout server.key -out server.csr"));
        openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.pem",
        );
        Authority { folder: folder.to_owned() }
    }

    /// Of a server with that certificate.
    pub fn server_config(&self) -> ServerConfig {
        let certificate = CertificateDer::from_pem_file(self.file("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(self.file("server.key")).unwrap();
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap()
    }

    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }
}
