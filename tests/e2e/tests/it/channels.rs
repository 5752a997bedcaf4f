use std::{collections::HashMap, process::Command};

use e2e::{
    driver::{once, pgalert, run, Ended},
    webhook::{Answer, Request},
    Cluster, Database, Session, Webhook,
};
use serde_json::{json, Value};

use crate::{
    common::{add_recipient, fire, texts},
    schemas,
};

const KEY: &str = "0123456789abcdef0123456789abcdef";
/// Everything that a body must survive: quotes, what Slack and HTML read as markup, line breaks, and more than any limit.
pub fn nasty() -> String {
    format!(
        "\"quoted\" \\ <!channel> & <b>bold</b>\r\n\t{{{{ 7 * 7 }}}} 🔥 {}",
        "x<&>".repeat(2000)
    )
}

/// `pgalert test`, which needs no database.
fn test_command(channel: &str, to: &str, settings: &[(&str, &str)]) -> Command {
    let nowhere = Database { folder: "/nonexistent".into(), port: 1, name: "none".into() };
    let mut command = pgalert("test", &nowhere);
    command.args(["--channel", channel, "--to", to]);
    for (name, value) in settings {
        command.env(format!("PGALERT_{name}"), value);
    }
    command
}

async fn send(channel: &str, to: &str, settings: &[(&str, &str)], message: &str) -> Ended {
    run(test_command(channel, to, settings).args(["--message", message])).await
}

pub fn form(body: &str) -> HashMap<String, String> {
    url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn slack_takes_what_it_is_sent_by_webhook_and_by_token() {
    let slack = Webhook::start().await;
    slack.answer(|_| Answer::json(200, "ok"));
    let ended = send("slack", &slack.url(), &[], &nasty()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("ok"), "{ended:?}");
    schemas::check("slack", &slack.requests()[0].body);
    assert!(slack.requests()[0].header("authorization").is_none());
    assert!(slack.requests()[0].body["blocks"][1]["text"]["text"]
        .as_str()
        .unwrap()
        .starts_with("\"quoted\" \\ &lt;!channel&gt; &amp;"));

    let api = slack.base();
    let settings = [("SLACK_API_URL", api.as_str()), ("SLACK_TOKEN", "xoxb-secret")];
    slack.answer(|_| Answer::json(200, r#"{"ok": true, "ts": "1.2"}"#));
    let ended = send("slack", "#ops", &settings, "down").await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let request = &slack.requests()[1];
    schemas::check("slack", &request.body);
    assert_eq!(
        (request.path.as_str(), &request.body["channel"]),
        ("/chat.postMessage", &json!("#ops"))
    );
    assert_eq!(request.header("authorization"), Some("Bearer xoxb-secret"));

    let without_token = send("slack", "#ops", &[], "down").await;
    assert!(without_token.stderr.contains("needs slack.token"), "{without_token:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slacks_refusals_are_permanent_throttled_or_wait_for_a_right_token() {
    let slack = Webhook::start().await;
    let api = slack.base();
    let settings = [("SLACK_API_URL", api.as_str()), ("SLACK_TOKEN", "xoxb-secret")];
    for (status, body, to, class) in [
        (429, "rate_limited", "URL", "(Throttled { retry_after: 77s }, slack.ratelimited)"),
        (
            429,
            r#"{"ok": false, "error": "ratelimited"}"#,
            "#ops",
            "(Throttled { retry_after: 77s }, slack.ratelimited)",
        ),
        (
            200,
            r#"{"ok": false, "error": "channel_not_found"}"#,
            "#ops",
            "(Permanent, slack.channel_not_found)",
        ),
        (
            200,
            r#"{"ok": false, "error": "invalid_auth"}"#,
            "#ops",
            "(Transient, slack.invalid_auth)",
        ),
        (200, r#"{"ok": false, "error": "ratelimited"}"#, "#ops", "slack.ratelimited)"),
        (200, r#"{"ok": false, "error": "internal_error"}"#, "#ops", "(Transient, slack.other)"),
        (200, r#"{"ok": false}"#, "#ops", "(Transient, slack.other)"),
        (200, "{}", "#ops", "(Transient, slack.other)"),
        (200, "[]", "#ops", "(Transient, slack.other)"),
        (200, "<html>Sign in to this network</html>", "#ops", "(Transient, slack.other)"),
        (404, "no_service", "URL", "(Permanent, slack.no_service)"),
        (410, "channel_is_archived", "URL", "(Permanent, http.410)"),
        (500, "rollup_error", "URL", "(Transient, http.5xx)"),
    ] {
        slack.answer(move |_| Answer {
            retry_after_s: (status == 429).then_some(77),
            ..Answer::json(status, body)
        });
        let url = slack.url();
        let ended = send("slack", if to == "URL" { &url } else { to }, &settings, "down").await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(class), "{class}: {ended:?}");
        assert!(!ended.stderr.contains("xoxb"), "{ended:?}");
    }
    // It was accepted, however long the answer that repeats it.
    let long = format!(r#"{{"ok":true,"message":"{}"}}"#, "x".repeat(99_999));
    let long: &str = long.leak();
    slack.answer(move |_| Answer::json(200, long));
    let ended = send("slack", "#ops", &settings, "down").await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn twilio_takes_what_it_is_sent() {
    let twilio = Webhook::start().await;
    twilio.answer(|_| Answer::json(201, r#"{"sid": "SM1", "status": "queued"}"#));
    let base = twilio.base();
    let account =
        [("SMS_BASE_URL", base.as_str()), ("SMS_ACCOUNT_SID", "AC0123"), ("SMS_SECRET", "hunter2")];
    let from = [&account[..], &[("SMS_FROM", "+12025550123")]].concat();
    let ended = send("sms", "+4915112345678", &from, &nasty()).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let request = &twilio.requests()[0];
    assert_eq!(request.path, "/2010-04-01/Accounts/AC0123/Messages.json");
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(request.header("authorization"), Some("Basic QUMwMTIzOmh1bnRlcjI="));
    let fields = form(&request.raw);
    schemas::check("twilio", &json!(fields));
    // The 🔥 makes it UCS-2: three segments are 201 units.
    let units = fields["Body"].encode_utf16().count();
    assert!((195..=201).contains(&units) && fields["Body"].ends_with("..."), "{units}: {fields:?}");

    let service = format!("MG{KEY}");
    let key = [
        &account[..],
        &[
            ("SMS_MESSAGING_SERVICE_SID", service.as_str()),
            ("SMS_KEY_SID", "SK77"),
            ("SMS_MAX_SEGMENTS", "1"),
        ],
    ]
    .concat();
    send("sms", "+4915112345678", &key, &"a".repeat(500)).await;
    let request = &twilio.requests()[1];
    let fields = form(&request.raw);
    schemas::check("twilio", &json!(fields));
    assert_eq!(fields["Body"].len(), 160);
    assert_eq!(request.header("authorization"), Some("Basic U0s3NzpodW50ZXIy"));

    let bad = send("sms", "015112345678", &from, "down").await;
    assert!(
        bad.stderr.contains("(Permanent, bad_address)") && !bad.stderr.contains("015112345678"),
        "{bad:?}"
    );
    assert_eq!(twilio.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn twilios_codes_are_permanent_throttled_waiting_or_the_statuss() {
    let twilio = Webhook::start().await;
    let base = twilio.base();
    let account = [
        ("SMS_BASE_URL", base.as_str()),
        ("SMS_ACCOUNT_SID", "AC0123"),
        ("SMS_SECRET", "hunter2"),
        ("SMS_FROM", "Ops"),
    ];
    for (status, body, class) in [
        (
            400,
            r#"{"code": 21211, "message": "The 'To' number +4915112345678 is not a valid phone number."}"#,
            "(Permanent, twilio.21211)",
        ),
        (
            400,
            r#"{"code": 21610, "message": "unsubscribed recipient"}"#,
            "(Permanent, twilio.21610)",
        ),
        (401, r#"{"code": 20003, "message": "Authenticate"}"#, "(Transient, twilio.20003)"),
        (400, r#"{"code": 99999, "message": "new"}"#, "(Permanent, http.4xx)"),
        (429, r#"{"code": 20429, "message": "Too Many Requests"}"#, "twilio.20429)"),
        (500, r#"{"code": 20500}"#, "(Transient, http.5xx)"),
    ] {
        twilio.answer(move |_| Answer {
            retry_after_s: (status == 429).then_some(77),
            ..Answer::json(status, body)
        });
        let ended = send("sms", "+4915112345678", &account, "down").await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(class), "{class}: {ended:?}");
        assert_eq!(
            status == 429,
            ended.stderr.contains("Throttled { retry_after: 77s }"),
            "{ended:?}"
        );
        assert!(!ended.stderr.contains("4915112345678"), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_receivers_take_what_they_are_sent() {
    let receiver = Webhook::start().await;
    let base = receiver.base();
    let url = receiver.url();
    let long = nasty();
    for (channel, to, settings) in [
        ("pagerduty", KEY, vec![("CHANNELS_PAGERDUTY_URL", base.as_str())]),
        ("teams", &url, vec![]),
        ("discord", &url, vec![]),
        (
            "telegram",
            "-100123",
            vec![
                ("CHANNELS_TELEGRAM_URL", "BASEbot{secret}/sendMessage"),
                ("CHANNELS_TELEGRAM_SECRET", "123:secret/token"),
            ],
        ),
        ("ntfy", "ops_alerts", vec![("CHANNELS_NTFY_URL", base.as_str())]),
    ] {
        receiver.answer(|_| Answer::json(200, r#"{"ok": true}"#));
        let enabled = format!("CHANNELS_{}_ENABLED", channel.to_uppercase());
        let settings: Vec<(String, String)> = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.replace("BASE", &base)))
            .chain([(enabled, "true".to_owned())])
            .collect();
        let settings: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let before = receiver.count();
        for message in
            ["down", &long, &"漢".repeat(20_000), &"🔥".repeat(10_000), &"\n\"".repeat(9_000), ""]
        {
            let ended = send(channel, to, &settings, message).await;
            assert_eq!(ended.code, Some(0), "{channel}: {ended:?}");
        }
        for request in &receiver.requests()[before..] {
            schemas::check(channel, &request.body);
            assert_eq!(request.header("content-type"), Some("application/json"));
        }
        let body = |request: &Request| request.raw.len();
        let largest = receiver.requests()[before..].iter().map(body).max().unwrap();
        match channel {
            // What each takes, in bytes: of the message, and of a whole request.
            "ntfy" => {
                for request in &receiver.requests()[before..] {
                    let text = request.body["message"].as_str().unwrap();
                    assert!(text.len() <= 4096 && largest <= 8192, "{} of {largest}", text.len());
                }
            }
            "teams" => assert!(largest <= 28 * 1024, "{largest}"),
            "pagerduty" => assert!(largest <= 512 * 1024, "{largest}"),
            _ => {}
        }
        let last = receiver.requests().pop().unwrap();
        if channel == "telegram" {
            assert_eq!(last.path, "/bot123%3Asecret%2Ftoken/sendMessage");
        }
    }
    let keys: Vec<Value> =
        receiver.requests()[..3].iter().map(|request| request.body["dedup_key"].clone()).collect();
    assert!(keys[0] != keys[1] && keys[1] != keys[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_url_is_in_no_error_and_a_pause_in_a_body_counts() {
    let telegram = Webhook::start().await;
    let url = format!("{}bot{{secret}}/sendMessage", telegram.base());
    let settings = [
        ("CHANNELS_TELEGRAM_ENABLED", "true"),
        ("CHANNELS_TELEGRAM_URL", url.as_str()),
        ("CHANNELS_TELEGRAM_SECRET", "123456:hunter2"),
        ("LOG_LEVEL", "debug"),
    ];
    for (status, retry_after_s, body, expected) in [
        (
            403,
            None,
            r#"{"ok": false, "description": "Forbidden: bot 123456:hunter2 was blocked"}"#,
            "has the user started the bot",
        ),
        (
            429,
            None,
            r#"{"ok": false, "parameters": {"retry_after": 35}}"#,
            "Throttled { retry_after: 35s }",
        ),
        (
            429,
            Some(77),
            r#"{"ok": false, "parameters": {"retry_after": 35}}"#,
            "Throttled { retry_after: 77s }",
        ),
        (200, None, r#"{"ok": false, "description": "no"}"#, "(Permanent, refused)"),
    ] {
        telegram.answer(move |_| Answer { retry_after_s, ..Answer::json(status, body) });
        let ended = send("telegram", "42", &settings, "down").await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(expected), "{expected}: {ended:?}");
        assert!(
            !ended.stderr.contains("hunter2") && !ended.stdout.contains("hunter2"),
            "{ended:?}"
        );
    }
    let nobody = send(
        "telegram",
        "42",
        &[
            settings[0],
            ("CHANNELS_TELEGRAM_URL", "http://127.0.0.1:1/bot{secret}/x"),
            settings[2],
            settings[3],
        ],
        "down",
    )
    .await;
    assert!(nobody.stderr.contains("connect") && !nobody.stderr.contains("hunter2"), "{nobody:?}");
    let missing = send("telegram", "42", &[settings[0]], "down").await;
    assert_eq!(missing.code, Some(64), "{missing:?}");
    assert!(missing.stderr.contains("PGALERT_CHANNELS_TELEGRAM_SECRET"), "{missing:?}");
}

/// The operator's, whom each message waits for. Where the address is all that signs in, it is the address that is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn messages_wait_for_a_right_secret_of_the_channel() {
    let receiver = Webhook::start().await;
    let (base, url) = (receiver.base(), receiver.url());
    let file = tempfile::NamedTempFile::new().unwrap();
    let (waits, ends) = ("(Transient, secret_refused)", "(Permanent, http.4xx)");
    for (channel, to, settings, status, expected) in [
        ("telegram", "42", "url = \"BASEbot{secret}/sendMessage\"", 401, waits),
        ("telegram", "42", "url = \"BASEbot{secret}/sendMessage\"", 404, waits),
        ("telegram", "42", "url = \"BASE\"", 403, ends), // the user has blocked the bot
        ("telegram", "42", "url = \"BASE\"", 400, ends), // there is no such chat
        ("ntfy", "ops", "url = \"BASE\"", 401, waits),
        ("ntfy", "ops", "url = \"BASE\"", 403, waits),
        ("ntfy", "ops", "url = \"BASE\"", 404, ends),
        ("discord", &url, "", 401, ends),
        ("teams", &url, "", 401, ends),
        ("tickets", "ann", "url = \"BASE\"\nbody = \"{}\"", 401, waits),
        ("tickets", "ann", "url = \"BASE{address}\"\nbody = \"{}\"", 401, waits),
        ("tickets", "ann", "url = \"BASE\"\nbody = \"{}\"", 403, ends),
        ("tickets", "ann", "url = \"BASE\"\nbody = \"{}\"\nwrong_secret = [422]", 422, waits),
        ("tickets", "ann", "url = \"BASE\"\nbody = \"{}\"\nwrong_secret = []", 401, ends),
        ("tickets", &url, "body = \"{}\"", 401, ends),
    ] {
        receiver.answer(move |_| Answer::status(status));
        let settings = settings.replace("BASE", &base);
        let section = format!("[channels.{channel}]\nenabled = true\n{settings}\n");
        std::fs::write(file.path(), section).unwrap();
        let given = [
            ("CONFIG", file.path().to_str().unwrap()),
            ("CHANNELS_TELEGRAM_SECRET", "1:aa"),
            ("CHANNELS_NTFY_WRONG_SECRET", "401, 403"), // as it is by default
        ];
        let ended = send(channel, to, &given, "down").await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(expected), "{channel}, {status}: {expected}: {ended:?}");
        let hints = ended.stderr.contains("is the secret of this channel right?");
        assert_eq!(hints, expected == waits, "{channel}, {status}: {ended:?}");
    }
    let refused = send("ntfy", "ops", &[("CHANNELS_NTFY_WRONG_SECRET", "200")], "down").await;
    assert_eq!(refused.code, Some(64), "{refused:?}");
    assert!(refused.stderr.contains("from 400 to 499"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_quotes_of_its_credentials_is_in_no_error() {
    let receiver = Webhook::start().await;
    let base = receiver.base();
    let slack = [("SLACK_API_URL", base.as_str()), ("SLACK_TOKEN", "xoxb-hunter2")];
    let sms = [
        ("SMS_BASE_URL", base.as_str()),
        ("SMS_ACCOUNT_SID", "AC0123"),
        ("SMS_SECRET", "hunter2"),
        ("SMS_FROM", "Ops"),
    ];
    let own = [
        ("CHANNELS_TELEGRAM_ENABLED", "true"),
        ("CHANNELS_TELEGRAM_URL", base.as_str()),
        ("CHANNELS_TELEGRAM_SECRET", "hunter/2\""),
    ];
    for (channel, to, settings, said, shown) in [
        ("slack", "#ops", &slack[..], "wrong: Bearer xoxb-hunter2", "wrong: Bearer ********"),
        // base64 of AC0123:hunter2
        (
            "sms",
            "+4915112345678",
            &sms,
            "wrong: Basic QUMwMTIzOmh1bnRlcjI=",
            "wrong: Basic ********",
        ),
        ("sms", "+4915112345678", &sms, "wrong: hunter2", "wrong: ********"),
        ("sms", "+4915112345678", &sms, "wrong: To=%2B4915112345678&", "wrong: To=********&"),
        ("telegram", "42", &own, "wrong: Bearer hunter/2\"", "wrong: Bearer ********"),
        ("telegram", "42", &own, "wrong: hunter%2F2%22", "wrong: ********"),
        ("telegram", "42", &own, r#"{"wrong":"hunter\/2\""}"#, r#"{"wrong":"********"}"#),
    ] {
        receiver.answer(move |_| Answer::json(400, said));
        let ended = send(channel, to, settings, "down").await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(shown), "{channel}: {ended:?}");
    }
    receiver.answer(|_| Answer::json(200, r#"{"ok": true, "by": "Bearer xoxb-hunter2"}"#));
    let ended = send("slack", "#ops", &slack, "up").await;
    assert!(ended.stdout.contains(r#""by": "Bearer ********""#), "{ended:?}");
    receiver.answer(|_| {
        Answer::json(400, "wrong: Bearer xoxb-hunter2, Basic QUMwMTIzOmh1bnRlcjI=, hunter2")
    });
    let database = Cluster::shared().database().await;
    let mut check = pgalert("check", &database);
    for (key, value) in slack.iter().chain(&sms) {
        check.env(format!("PGALERT_{key}"), value);
    }
    let said = run(&mut check).await.stdout;
    assert!(said.contains("✗ slack: 400 Bad Request: wrong: Bearer ********, "), "{said}");
    assert!(said.contains("wrong: Bearer xoxb-********, Basic ********, ********; "), "{said}");
}

/// A channel that is only in the configuration, from its name in the database to the receiver.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_adds_a_channel_without_rust() {
    let (database, session) = start().await;
    let receiver = Webhook::start().await;
    let folder = Cluster::shared().folder.join("opsgenie");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("pgalert.toml");
    std::fs::write(&file, format!(
        "[channels.opsgenie]\nurl = \"{}v2/alerts/{{address}}\"\nheaders = {{Authorization = \"GenieKey {{secret}}\"}}\nsecret_file = \"{}\"\n\
         body = '''{{\"message\": {{{{ title }}}}, \"alias\": {{{{ delivery_key }}}}, \"n\": {{{{ alert.extra.n }}}}}}'''\n",
        receiver.base(), folder.join("key").display())).unwrap();
    std::fs::write(folder.join("key"), "hunter2\n").unwrap();
    let refused =
        session.execute("SELECT pgalert.add_recipient('ann', 'opsgenie', 'team a/b')", &[]).await;
    assert!(refused.is_err());
    let mut check = pgalert("check", &database);
    let checked = run(check.env("PGALERT_CONFIG", &file)).await;
    assert!(checked.stdout.contains("✗ channel opsgenie is configured, but the database does not know its name; `pgalert channels add opsgenie`"), "{checked:?}");

    session.execute("SELECT pgalert.add_channel('opsgenie')", &[]).await.unwrap();
    add_recipient(&session, "ann", "opsgenie", "team a/b").await;
    let alert =
        json!({"id": "disk", "name": "Disk \"full\"", "channels": ["opsgenie"], "extra": {"n": 3}});
    session.execute("SELECT pgalert.deliver_alert($1, 'ann', 'm')", &[&alert]).await.unwrap();
    let said = once(pgalert("once", &database).env("PGALERT_CONFIG", &file)).await;
    assert_eq!(said, "1 delivered, 0 failed, 0 deferred, 0 skipped");
    let request = &receiver.requests()[0];
    let key = &texts(&session, "SELECT delivery_key::text FROM pgalert.alert_deliveries").await[0];
    assert_eq!(request.body, json!({"message": "Disk \"full\"", "alias": key, "n": 3}));
    assert_eq!(
        (request.path.as_str(), request.header("authorization")),
        ("/v2/alerts/team%20a%2Fb", Some("GenieKey hunter2"))
    );
    let shown = run(pgalert("config", &database).env("PGALERT_CONFIG", &file)).await;
    assert!(
        shown.stdout.contains("[channels.opsgenie]") && !shown.stdout.contains("hunter2"),
        "{shown:?}"
    );
}

async fn start() -> (Database, Session) {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    (database, session)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_a_delivery_names_neither_address_nor_secret() {
    let (database, session) = start().await;
    let receiver = Webhook::start().await;
    receiver.answer(|_| Answer::json(400, "no such hook: /hook/T0KEN-of-ann"));
    let url = format!("{}/T0KEN-of-ann", receiver.url());
    add_recipient(&session, "ann", "webhook", &url).await;
    fire(&session, "disk", &["webhook"]).await;
    let ended = run(pgalert("once", &database).env("PGALERT_LOG_LEVEL", "debug")).await;
    let errors = texts(&session, "SELECT error_message FROM pgalert.alert_dlq UNION SELECT error FROM pgalert.delivery_failures").await;
    assert!(errors.iter().all(|error| error.contains("no such hook: ****")), "{errors:?}");
    assert!(!ended.stderr.contains("T0KEN"), "{ended:?}");
}
