//! Texts that would forge a header, a command or a request of their own: what the peers received, as other programs read
//! it. The database refuses most of them; here they are put into its tables past its checks.

use std::{collections::BTreeMap, process::Command};

use e2e::{
    driver::{once, pgalert},
    recorder::Recorder,
    seed,
    tools::ask_python,
    Cluster, Database, MailServer, Session,
};
use fastrand::Rng;
use serde_json::{json, Value};

use crate::common::{number, pgalert_with_mail, texts};

const REQUESTS: usize = 2000;
const MAILS: usize = 500;

const PIECES: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "\r\n.\r\n",
    "\t",
    "\u{1}",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{feff}",
    "\u{200b}",
    "\u{e000}",
    "Bcc: eve@example.net",
    "X-Forged: yes",
    "Content-Length: 0",
    "Transfer-Encoding: chunked",
    "GET /forged HTTP/1.1",
    "MAIL FROM:<eve@example.net>",
    "DATA",
    "QUIT",
    "=?utf-8?q?=0D=0ABcc:_eve?=",
    "=0D=0A",
    "%0d%0a",
    "<",
    ">",
    "\"",
    "'",
    "\\",
    ",",
    ";",
    ":",
    "@",
    "#",
    "?",
    "&",
    "/",
    "..",
    "{address}",
    "{secret}",
    "{{ 7 * 7 }}",
    "ü",
    "🔥",
    "漢",
    " ",
    "  ",
    "a",
    "plain",
    "0",
];

/// Some characters, most of them with a meaning to somebody.
fn hostile(rng: &mut Rng, pieces: usize) -> String {
    let mut text = String::new();
    for _ in 0..rng.usize(1..=pieces) {
        match rng.u8(..8) {
            0 => text.push(rng.char('\u{1}'..)),
            _ => text.push_str(PIECES[rng.usize(..PIECES.len())]),
        }
    }
    text
}

struct Case {
    user: String,
    name: String,
    message: String,
    address: String,
    mail_address: String,
}

/// Alerts in the queue and addresses of their users, whatever they hold.
async fn prepare(session: &Session, cases: &[Case], channels: &[&str]) {
    let alerts: Vec<Value> = (0..cases.len())
        .map(|number| {
            let alert = json!({"id": format!("alert-{number}"), "channels": channels});
            json!({"alert": alert, "user_id": format!("user-{number}"), "message": "m"})
        })
        .collect();
    session.execute("SELECT count(*) FROM pgalert.deliver_alerts($1)", &[&alerts]).await.unwrap();
    let list = |text: fn(&Case) -> &String| -> Vec<&String> { cases.iter().map(text).collect() };
    session
        .execute(
            "UPDATE pgalert.outbox o SET user_id = c.user_id,
                    alert_data = o.alert_data || jsonb_build_object('name', c.name, 'message', c.message)
             FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS c (user_id, name, message, number)
             WHERE o.alert_id = 'alert-' || c.number - 1",
            &[&list(|case| &case.user), &list(|case| &case.name), &list(|case| &case.message)],
        )
        .await
        .unwrap();
    session
        .execute(
            "INSERT INTO pgalert.recipients (user_id, channel, address)
             SELECT c.user_id, n, CASE n WHEN 'email' THEN c.mail_address ELSE c.address END
             FROM unnest($1::text[], $2::text[], $3::text[]) AS c (user_id, address, mail_address), unnest($4::text[]) n",
            &[&list(|case| &case.user), &list(|case| &case.address), &list(|case| &case.mail_address), &channels],
        )
        .await
        .unwrap();
}

fn cases(test: &str, count: usize) -> Vec<Case> {
    let mut rng = Rng::with_seed(seed(test));
    (0..count)
        .map(|number| Case {
            user: format!("{number} {}", hostile(&mut rng, 6)),
            name: hostile(&mut rng, 12),
            message: hostile(&mut rng, 30),
            address: hostile(&mut rng, 6),
            mail_address: match rng.u8(..3) {
                0 => format!("{}@example.org", hostile(&mut rng, 3)),
                1 => format!("Ann {} <ann{number}@example.org>", hostile(&mut rng, 3)),
                _ => format!("ann{number}@example.org"),
            },
        })
        .collect()
}

async fn start() -> (Database, Session) {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    (database, session)
}

fn patient(command: &mut Command) -> &mut Command {
    command.env("PGALERT_WORKER_LEASE", "60s").env("PGALERT_LIMITS_MAX_WAIT", "10m")
}

async fn delivered(session: &Session) -> usize {
    number(session, "SELECT count(*) FROM pgalert.alert_deliveries").await as usize
}

/// What was not sent was refused for its address, for good.
async fn check_refused(session: &Session) {
    let others = texts(
        session,
        "SELECT concat_ws(' ', state, error_class, error_message) FROM pgalert.alert_dlq
         WHERE (state, error_class) <> ('permanent', 'bad_address')",
    )
    .await;
    assert_eq!(others, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_adds_a_header_or_a_request() {
    let (database, session) = start().await;
    let recorder = Recorder::start().await;
    session.execute("SELECT pgalert.add_channel('fuzz')", &[]).await.unwrap();
    let cases = cases("hostile HTTP", REQUESTS);
    prepare(&session, &cases, &["fuzz"]).await;
    let file = Cluster::shared().folder.join("hostile.toml");
    let config = format!(
        "[channels.fuzz]\nurl = \"{}to/{{address}}?again={{address}}\"\nheaders = {{X-To = \"{{address}}\"}}\n\
         body = '{{\"to\": {{{{ address }}}}, \"user\": {{{{ user_id }}}}, \"title\": {{{{ alert_name }}}}, \"text\": {{{{ message }}}}}}'\n",
        recorder.base()
    );
    std::fs::write(&file, config).unwrap();
    once(patient(&mut pgalert("once", &database)).env("PGALERT_CONFIG", &file)).await;
    check_refused(&session).await;

    let streams: Vec<String> = recorder.streams().iter().map(|bytes| base64(bytes)).collect();
    let requests = ask_python("parse_requests.py", &json!(streams));
    let requests = requests.as_array().unwrap();
    assert_eq!(requests.len(), delivered(&session).await, "one request for each message");
    assert!(requests.len() > REQUESTS / 5, "{} of them can be sent", requests.len());
    let by_user: BTreeMap<&str, &Case> =
        cases.iter().map(|case| (case.user.as_str(), case)).collect();
    for request in requests {
        let body: Value = serde_json::from_str(request["body"].as_str().unwrap()).unwrap();
        let case = by_user[body["user"].as_str().unwrap()];
        let expected = json!({"to": case.address, "user": case.user, "title": case.name, "text": case.message});
        assert_eq!((&body, &request["method"]), (&expected, &json!("POST")));
        let mut names: Vec<&str> = Vec::new();
        for header in request["headers"].as_array().unwrap() {
            let (name, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
            names.push(name);
            if name == "x-to" {
                let bytes: Vec<u8> = value.chars().map(|c| c as u8).collect();
                assert_eq!(
                    String::from_utf8(bytes).unwrap().trim_matches([' ', '\t']),
                    case.address.trim_matches([' ', '\t'])
                );
            }
        }
        names.sort_unstable();
        assert_eq!(
            names,
            ["content-length", "content-type", "host", "user-agent", "x-to"],
            "{request}"
        );
        let url =
            url::Url::parse("http://x/").unwrap().join(request["path"].as_str().unwrap()).unwrap();
        assert_eq!(url.path_segments().unwrap().count(), 2, "{request}");
        let again: Vec<_> = url.query_pairs().into_owned().collect();
        assert_eq!(again, [("again".to_owned(), case.address.clone())]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_adds_a_header_a_recipient_or_a_mail() {
    const HEADERS: &[&str] = &[
        "Auto-Submitted",
        "Content-Type",
        "Date",
        "From",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
        "MIME-Version",
        "Message-ID",
        "Subject",
        "To",
    ];
    let (database, session) = start().await;
    let server = MailServer::start();
    let cases = cases("hostile mail", MAILS);
    prepare(&session, &cases, &["email"]).await;
    let mut command = pgalert_with_mail("once", &database, &server);
    command.env("PGALERT_EMAIL_UNSUBSCRIBE_URL", "https://example.com/u?user={user_id}");
    once(patient(&mut command)).await;
    check_refused(&session).await;

    let mails = server.messages();
    assert_eq!(mails.len(), delivered(&session).await, "one mail for each message");
    assert!(mails.len() > MAILS / 3, "{} of them can be sent", mails.len());
    let keys = "SELECT delivery_key::text || ' ' || alert_id FROM pgalert.outbox";
    let by_key: BTreeMap<String, &Case> = texts(&session, keys)
        .await
        .iter()
        .map(|line| {
            let (key, alert) = line.split_once(" alert-").unwrap();
            (key.to_owned(), &cases[alert.parse::<usize>().unwrap()])
        })
        .collect();
    for mail in &mails {
        let id = mail["headers"]["Message-ID"].as_str().unwrap();
        let case = by_key[id.trim_start_matches('<').split('@').next().unwrap()];
        let raw = mail["raw"].as_str().unwrap();
        let head = raw.split("\r\n\r\n").next().unwrap();
        let names = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
        let mut names: Vec<&str> = names.map(|line| line.split(':').next().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, HEADERS, "{raw}");
        let mut parsed: Vec<&String> = mail["headers"].as_object().unwrap().keys().collect();
        parsed.sort_unstable();
        assert_eq!(parsed, HEADERS, "{raw}");
        assert!(head.lines().all(|line| line.len() < 998), "{raw}");
        assert_eq!(mail["mail_from"], "alerts@example.com");
        let to = mail["rcpt_tos"].as_array().unwrap();
        assert!(to.len() == 1 && to[0].as_str().unwrap().ends_with("@example.org"), "{to:?}");
        assert!(!to[0].as_str().unwrap().contains(['\r', '\n', ' ', '<', '>']), "{to:?}");
        let unsubscribe = mail["headers"]["List-Unsubscribe"].as_str().unwrap();
        let url = url::Url::parse(unsubscribe.trim_matches(['<', '>'])).unwrap();
        assert_eq!(url.query_pairs().next().unwrap().1, case.user);
        let lines =
            |text: &str| text.replace("\r\n", "\n").replace('\r', "\n").trim_end().to_owned();
        assert_eq!(
            lines(mail["parts"]["text/plain"].as_str().unwrap()),
            lines(&case.message),
            "{raw}"
        );
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::prelude::{Engine, BASE64_STANDARD};
    BASE64_STANDARD.encode(bytes)
}
