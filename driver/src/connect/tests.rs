//! Connection strings, as libpq would read them.

use std::path::PathBuf;
use std::time::Duration;

use super::params::{Params, SessionAttrs};
use super::target::{Address, Target};
use super::tls::{Connector, SslMode};
use super::values::ParamError;

fn with_env(url: &str, env: &[(&str, &str)]) -> Result<Params, ParamError> {
    let lookup = |name: &str| {
        let found = env.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Params::parse(url, &lookup)
}

fn parse(url: &str) -> Params {
    with_env(url, &[("HOME", "/nonexistent")]).unwrap()
}

fn refusal(url: &str) -> String {
    with_env(url, &[]).unwrap_err().to_string()
}

fn targets(url: &str) -> Vec<String> {
    parse(url).targets.iter().map(Target::to_string).collect()
}

fn password(params: &Params) -> Option<String> {
    params.password_for(&params.targets[0]).map(|password| password.text)
}

#[test]
fn defaults() {
    let params = parse("");
    let system_user = whoami::username().unwrap();
    assert_eq!(params.user, system_user);
    assert_eq!(params.dbname, system_user);
    assert_eq!(params.application_name, "pgalert");
    assert_eq!(params.connect_timeout, Some(Duration::from_secs(10)));
    assert_eq!(params.session_attrs, SessionAttrs::Any);
    assert_eq!(params.tls.mode, SslMode::Prefer);
    assert_eq!(targets(""), ["/var/run/postgresql/.s.PGSQL.5432"]);
    assert!(params.keepalive.on);
    assert_eq!(params.keepalive.idle, Duration::from_secs(30));
    assert_eq!(password(&params), None);
    assert_eq!(parse("user=bob").dbname, "bob");
}

#[test]
fn uri() {
    let params = parse(
        "postgresql://bob:p%40ss%3a%2f@db.example:5433/my%20db?sslmode=verify-full\
         &application_name=x&connect_timeout=3&options=-c%20geqo%3doff",
    );
    assert_eq!((params.user.as_str(), params.dbname.as_str()), ("bob", "my db"));
    assert_eq!(password(&params).as_deref(), Some("p@ss:/"));
    assert_eq!(params.tls.mode, SslMode::VerifyFull);
    assert_eq!(params.application_name, "x");
    assert_eq!(params.options.as_deref(), Some("-c geqo=off"));
    assert_eq!(params.connect_timeout, Some(Duration::from_secs(3)));
    assert_eq!(targets("postgres://db.example"), ["db.example:5432"]);
    assert_eq!(targets("postgresql://"), ["/var/run/postgresql/.s.PGSQL.5432"]);
    assert_eq!(parse("postgresql:///app?user=eve").user, "eve");
    assert_eq!(parse("postgresql:///?dbname=other").dbname, "other");
    assert_eq!(parse("postgresql://h/db?ssl=true").tls.mode, SslMode::Require);
    assert_eq!(parse("postgresql://h/db?connect_timeout=0").connect_timeout, None);
}

#[test]
fn key_value() {
    let params = parse(r"host = db.example  user='o\'brien' password='a b\\c' dbname=x\ y port=1");
    assert_eq!((params.user.as_str(), params.dbname.as_str()), ("o'brien", "x y"));
    assert_eq!(password(&params).as_deref(), Some(r"a b\c"));
    assert_eq!(targets("host=db.example port=1"), ["db.example:1"]);
    // The last one counts, and an empty one is the default.
    assert_eq!(targets("host=a host=b port=''"), ["b:5432"]);
}

#[test]
fn hosts_and_ports() {
    assert_eq!(targets("postgresql://a:1,b:2,c/db"), ["a:1", "b:2", "c:5432"]);
    assert_eq!(targets("host=a,b port=7"), ["a:7", "b:7"]);
    assert_eq!(targets("host=a,b port=7,8"), ["a:7", "b:8"]);
    assert_eq!(targets("host=a,,b")[1], "/var/run/postgresql/.s.PGSQL.5432");
    assert_eq!(targets("postgresql://[::1]:5,[fe80::2]/db"), ["[::1]:5", "[fe80::2]:5432"]);
    assert_eq!(targets("host=::1"), ["[::1]:5432"]);
    assert_eq!(targets("host=/tmp port=9"), ["/tmp/.s.PGSQL.9"]);
    assert_eq!(targets("postgresql://%2Ftmp%2Fpg:9/db"), ["/tmp/pg/.s.PGSQL.9"]);
    assert_eq!(targets("postgresql:///db?host=/tmp&port=9"), ["/tmp/.s.PGSQL.9"]);

    let target = parse("host=db.example hostaddr=10.0.0.1").targets.remove(0);
    let ip = "10.0.0.1".parse().unwrap();
    assert_eq!(target.address, Address::Ip { name: "db.example".to_owned(), ip });
    assert_eq!(targets("hostaddr=10.0.0.1,10.0.0.2 port=3"), ["10.0.0.1:3", "10.0.0.2:3"]);

    for bad in ["host=a,b port=1,2,3", "host=a,b hostaddr=10.0.0.1", "port=0", "port=65536"] {
        with_env(bad, &[]).unwrap_err();
    }
    assert!(refusal("hostaddr=db.example").contains("an IP address"));
}

#[test]
fn environment_is_the_default() {
    let env = [
        ("PGHOST", "/tmp/run"),
        ("PGPORT", "6000"),
        ("PGUSER", "bob"),
        ("PGPASSWORD", "s3cret"),
        ("PGDATABASE", "app"),
        ("PGSSLMODE", "require"),
        ("PGAPPNAME", "mine"),
        ("PGOPTIONS", "-c geqo=off"),
        ("PGTARGETSESSIONATTRS", "primary"),
        ("PGCONNECT_TIMEOUT", "4"),
    ];
    let params = with_env("", &env).unwrap();
    assert_eq!(params.targets[0].to_string(), "/tmp/run/.s.PGSQL.6000");
    assert_eq!((params.user.as_str(), params.dbname.as_str()), ("bob", "app"));
    assert_eq!(password(&params).as_deref(), Some("s3cret"));
    assert_eq!(params.tls.mode, SslMode::Require);
    assert_eq!(params.application_name, "mine");
    assert_eq!(params.options.as_deref(), Some("-c geqo=off"));
    assert_eq!(params.session_attrs, SessionAttrs::Primary);
    assert_eq!(params.connect_timeout, Some(Duration::from_secs(4)));

    let params = with_env("postgresql://h/other?sslmode=disable", &env).unwrap();
    assert_eq!(params.targets[0].to_string(), "h:6000");
    assert_eq!((params.user.as_str(), params.dbname.as_str()), ("bob", "other"));
    assert_eq!(params.tls.mode, SslMode::Disable);
}

#[test]
fn keywords() {
    assert_eq!(
        with_env("colour=red", &[]).unwrap_err(),
        ParamError::UnknownKeyword("colour".to_owned())
    );
    parse(
        "keepalives=1 keepalives_idle=5 gssencmode=disable channel_binding=require krbsrvname=x \
         client_encoding=utf-8 fallback_application_name=psql sslcompression=0 sslsni=0",
    );
    assert_eq!(parse("fallback_application_name=other").application_name, "other");
    for unsafe_to_drop in ["service=x", "sslcrl=x", "require_auth=md5", "gssencmode=require"] {
        assert!(refusal(unsafe_to_drop).contains("not supported"), "{unsafe_to_drop}");
    }
    assert!(refusal("sslmode=never").contains("verify-full"));
    assert!(refusal("client_encoding=LATIN1").contains("UTF8"));
    assert!(refusal("connect_timeout=soon").contains("whole number"));
    assert!(refusal("sslnegotiation=direct").contains("sslmode=require"));
}

#[test]
fn tls_options() {
    assert_eq!(parse("sslrootcert=system").tls.mode, SslMode::VerifyFull);
    assert!(refusal("sslrootcert=system sslmode=require").contains("verify-full"));
    let problem = |text: &str| Connector::new(&parse(text).tls).err().map(|e| e.to_string());
    assert_eq!(problem("sslmode=require"), None);
    // As libpq: a root file that is not there is no obstacle to `require`.
    assert_eq!(problem("sslmode=require sslrootcert=/nonexistent/ca.crt"), None);
    let text = problem("sslmode=verify-ca").unwrap();
    assert!(text.contains("/nonexistent/.postgresql/root.crt"), "{text}");
    assert!(problem("sslcert=/nonexistent/c.crt").unwrap().contains("sslcert /nonexistent/c.crt"));
    let not_pem = PathBuf::from(file!()).canonicalize();
    if let Ok(path) = not_pem {
        let text = problem(&format!("sslmode=verify-ca sslrootcert={}", path.display())).unwrap();
        assert!(text.contains("no certificate"), "{text}");
    }
}

/// Whatever is wrong with a connection string, no message repeats what may be a password.
#[test]
fn no_password_is_shown() {
    let params = parse("postgresql://bob:hunter2@h:1,i/db?sslmode=require");
    assert_eq!(params.redacted(), "db as bob on h:1, i:5432, sslmode=require");
    assert!(!format!("{params:?}").contains("hunter2"));
    for bad in [
        "postgresql://bob:hunter2/x@h/db",
        "postgresql://bob:hunter2%zz@h/db",
        "postgresql://bob:x@hunter2@h/db",
        "postgresql://bob:hunter2#@h:port/db",
        "password=x hunter2",
        "password='hunter2",
        "mysql://bob:hunter2@h/db",
        "postgresql://bob:hunter2@h/db?colour",
        "password=hunter2 port=many",
    ] {
        let text = refusal(bad);
        assert!(!text.contains("hunter2"), "{bad}: {text}");
    }
}

#[test]
fn set_password_replaces() {
    let mut params = parse("password=old");
    params.set_password("new".to_owned());
    assert_eq!(password(&params).as_deref(), Some("new"));
}
