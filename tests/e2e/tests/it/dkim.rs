use std::{path::Path, process::Command};

use e2e::{
    driver::{pgalert, run},
    tools::{self, ask_python},
    Cluster, MailServer,
};
use serde_json::{json, Value};

use crate::common::pgalert_with_mail;

/// A private key as PEM, and its record in the DNS.
fn make_key(folder: &Path, name: &str, arguments: &[&str], kind: &str) -> (String, String) {
    let file = folder.join(name).to_str().unwrap().to_owned();
    tools::run(
        Command::new("openssl").arg(arguments[0]).args(["-out", &file]).args(&arguments[1..]),
    );
    let public = tools::run(
        Command::new("openssl").args(["pkey", "-in", &file, "-pubout", "-outform", "DER"]),
    );
    // An Ed25519 record holds the key's 32 bytes alone (RFC 8463).
    let key =
        if kind == "ed25519" { &public.stdout[public.stdout.len() - 32..] } else { &public.stdout };
    let encoded = Command::new("openssl")
        .args(["base64", "-A"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), key)?;
            child.wait_with_output()
        })
        .unwrap();
    (file, format!("v=DKIM1; k={kind}; p={}", String::from_utf8(encoded.stdout).unwrap()))
}

fn verify(mail: &str, record: &str) -> Value {
    ask_python("verify_dkim.py", &json!({"mail": mail, "record": record}))
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_verify_in_another_implementation() {
    let database = Cluster::shared().database().await;
    let mail = MailServer::start();
    let folder = Cluster::shared().folder.join("dkim");
    std::fs::create_dir(&folder).unwrap();
    let keys = [
        make_key(
            &folder,
            "rsa.pem",
            &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
            "rsa",
        ),
        make_key(&folder, "pkcs1.pem", &["genrsa", "-traditional", "2048"], "rsa"),
        make_key(&folder, "ed25519.pem", &["genpkey", "-algorithm", "ED25519"], "ed25519"),
    ];
    let long_title = "Диск 🔥 ".repeat(200);
    for (index, (file, record)) in keys.iter().enumerate() {
        let mut command = pgalert_with_mail("test", &database, &mail);
        let alert = json!({"id": "disk", "name": long_title}).to_string();
        command
            .args([
                "--channel",
                "email",
                "--to",
                "Ann Ånström <ann@example.org>",
                "--message",
                "Größe\n.\n\n",
                "--alert",
                &alert,
            ])
            .env("PGALERT_EMAIL_DKIM_KEY_FILE", file)
            .env("PGALERT_EMAIL_DKIM_SELECTOR", "2026-11")
            .env(
                "PGALERT_EMAIL_UNSUBSCRIBE_URL",
                format!("https://example.com/{}/{{user_id}}?key={{delivery_key}}", "u".repeat(700)),
            );
        let ended = run(&mut command).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let raw = mail.messages()[index]["raw"].as_str().unwrap().to_owned();
        assert_eq!(
            verify(&raw, record),
            json!({"good": true, "asked": ["2026-11._domainkey.example.com."]}),
            "{raw}"
        );
        for (from, to) in [
            ("ann@example.org", "bob@example.org"),
            ("=One-Click", "=Two-Click"),
            ("text/html", "text/htmx"),
        ] {
            assert!(raw.contains(from), "{from}: {raw}");
            assert_eq!(verify(&raw.replace(from, to), record)["good"], false, "{from}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_none_and_a_url_that_is_no_https_end_the_program_at_its_start() {
    let database = Cluster::shared().database().await;
    let mail = MailServer::start();
    for (name, value, expected) in [
        ("DKIM_KEY_FILE", "/dev/null", "email.dkim_selector is needed"),
        ("UNSUBSCRIBE_URL", "http://example.com/", "email.unsubscribe_url cannot be"),
        (
            "UNSUBSCRIBE_URL",
            "https://example.com/{user}",
            "there is no {user}, only {user_id} and {delivery_key}",
        ),
    ] {
        let mut command = pgalert_with_mail("once", &database, &mail);
        let ended = run(command.env(format!("PGALERT_EMAIL_{name}"), value)).await;
        assert_eq!(ended.code, Some(64), "{ended:?}");
        assert!(ended.stderr.contains(expected), "{ended:?}");
    }
    let mut command = pgalert_with_mail("once", &database, &mail);
    command.env("PGALERT_EMAIL_DKIM_KEY_FILE", "/dev/null").env("PGALERT_EMAIL_DKIM_SELECTOR", "s");
    let ended = run(&mut command).await;
    assert!(ended.stderr.contains("it is no private key as PEM"), "{ended:?}");
    assert_eq!(run(&mut pgalert("once", &database)).await.code, Some(0));
}
