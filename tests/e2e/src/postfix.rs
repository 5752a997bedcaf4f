//! A real Postfix, with its configuration, queue and mailboxes in a folder of its own, on a port of the loopback interface.

use std::{
    fs,
    io::Write,
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use crate::{
    cluster::is_root,
    tools::{free_port, run, Authority},
};

/// Mailboxes are this user's: Postfix delivers as nobody to whom system files belong.
const NOBODY: u32 = 65_534;

pub struct Postfix {
    pub port: u16,
    folder: PathBuf,
    guardian: Option<Child>,
}

impl Postfix {
    /// Takes mail for ann@ and bob@example.org, after STARTTLS with a certificate of the authority. later@ is put off,
    /// slow@ is answered after 5 s; a mail may have 20 kB.
    pub fn start(authority: &Authority) -> Postfix {
        Self::start_for(authority, None)
    }

    /// The same, but from those alone who log in with this user and password.
    pub fn start_guarded(authority: &Authority, user: &str, password: &str) -> Postfix {
        Self::start_for(authority, Some((user, password)))
    }

    fn start_for(authority: &Authority, login: Option<(&str, &str)>) -> Postfix {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir()
            .join(format!("pgalert-e2e.{}.postfix{number}", std::process::id()));
        let port = free_port();
        for name in ["etc", "queue", "data", "mail"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        // Its processes are of several users.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let mut main_cf = main_cf(&folder, authority);
        if let Some((user, password)) = login {
            main_cf += &sasl_cf(&folder);
            create_login(&folder, user, password);
        }
        fs::write(folder.join("etc/main.cf"), main_cf).unwrap();
        fs::write(folder.join("etc/master.cf"), master_cf(port)).unwrap();
        for (name, owner) in [("data", "postfix"), ("mail", "nobody")] {
            run(as_root("chown").args(["-R", owner]).arg(folder.join(name)));
        }
        let mut postfix = Postfix { port, folder, guardian: None };
        postfix.guardian = Some(postfix.guard());
        run(&mut postfix.command("start"));
        postfix.wait();
        postfix
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = as_root("/usr/sbin/postfix");
        command.arg("-c").arg(self.folder.join("etc")).arg(verb);
        command
    }

    /// Stops it and removes its folder as soon as this process is gone, however it went.
    fn guard(&self) -> Child {
        let stop = self.command("stop");
        let remove = as_root("rm");
        Command::new("bash")
            .args([
                "-c",
                r#"trap '' INT TERM HUP; cat; "$@" >/dev/null 2>&1; $REMOVE -rf "$FOLDER""#,
                "guardian",
            ])
            .arg(stop.get_program())
            .args(stop.get_args())
            .env("FOLDER", &self.folder)
            .env("REMOVE", if is_root() { "rm" } else { "sudo rm" })
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .current_dir("/")
            .spawn()
            .unwrap_or_else(|error| panic!("{remove:?}: {error}"))
    }

    fn wait(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "Postfix does not listen:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn log(&self) -> String {
        let log = run(as_root("cat").arg(self.folder.join("log")));
        String::from_utf8_lossy(&log.stdout).into_owned()
    }

    /// What has been put into a mailbox.
    pub fn mailbox(&self, name: &str) -> Vec<String> {
        let folder = self.folder.join("mail").join(name).join("new");
        let list = as_root("find").arg(&folder).args(["-type", "f"]).output().unwrap();
        let names = String::from_utf8(list.stdout).unwrap();
        names
            .lines()
            .map(|file| String::from_utf8(run(as_root("cat").arg(file)).stdout).unwrap())
            .collect()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let mut guardian = self.guardian.take().unwrap();
        drop(guardian.stdin.take());
        let _ = guardian.wait();
    }
}

fn as_root(program: &str) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

const REALM: &str = "example.org";

/// Cyrus SASL, with a database of logins that is this server's own.
fn sasl_cf(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "smtpd_sasl_auth_enable = yes
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = {folder}/etc/sasl
smtpd_sasl_local_domain = {REALM}
smtpd_tls_auth_only = yes
smtpd_client_restrictions = permit_sasl_authenticated, reject
"
    )
}

fn create_login(folder: &Path, user: &str, password: &str) {
    let sasl = folder.join("etc/sasl");
    let logins = sasl.join("logins");
    fs::create_dir(&sasl).unwrap();
    let conf = format!(
        "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {}\nmech_list: PLAIN LOGIN\n",
        logins.display()
    );
    fs::write(sasl.join("smtpd.conf"), conf).unwrap();
    let mut create = Command::new("/usr/sbin/saslpasswd2")
        .args(["-p", "-c", "-u", REALM, "-f"])
        .arg(&logins)
        .arg(user)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    create.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    assert!(create.wait().unwrap().success(), "saslpasswd2 failed");
    run(as_root("chown").arg("postfix").arg(&logins));
}

fn main_cf(folder: &Path, authority: &Authority) -> String {
    let folder = folder.display();
    let (certificate, key) = (authority.file("server.pem"), authority.file("server.key"));
    format!(
        "compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
myhostname = mail.example.org
mydestination =
mynetworks =
alias_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
message_size_limit = 20000
virtual_mailbox_domains = example.org
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = inline:{{ann@example.org=ann/, bob@example.org=bob/, slow@example.org=slow/}}
virtual_uid_maps = static:{NOBODY}
virtual_gid_maps = static:{NOBODY}
smtpd_recipient_restrictions = check_recipient_access inline:{{ {{later@example.org = 450 4.2.0 the mailbox is busy}}, {{slow@example.org = sleep 5}} }}, reject_unauth_destination
smtpd_relay_restrictions = reject_unauth_destination
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = encrypt
"
    )
}

fn master_cf(port: u16) -> String {
    format!(
        "127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"
    )
}
