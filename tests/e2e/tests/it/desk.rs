//! The desk by HTTP: who may do what, and what comes of it. tests/desk clicks through its pages in a browser.

use std::time::Duration;

use e2e::webhook::Answer;
use e2e::{
    desk::desk_command,
    driver::{once, pgalert, run},
    until, Cluster, Database, Desk, Session, Webhook,
};
use serde_json::json;

use crate::common::{add_recipient, number, texts, LIMIT};

const OPERATOR: (&str, &str) = ("PGALERT_DESK_OPERATOR_TOKEN", "0123456789abcdef-operator");
const READ_ONLY: (&str, &str) = ("PGALERT_DESK_READ_ONLY_TOKEN", "0123456789abcdef-read-only");
const PAGES: [&str; 7] =
    ["/", "/letters", "/errors", "/deliveries", "/recipients", "/gradual", "/actions"];

/// A letter of `ann` that has failed; its message is markup.
async fn failed() -> (Database, Session, Webhook, String) {
    let (database, webhook) = (Cluster::shared().database().await, Webhook::start().await);
    let session = database.connect().await;
    add_recipient(&session, "ann", "webhook", &webhook.url()).await;
    webhook.answer(|_| Answer::status(500));
    let fire = "SELECT pgalert.deliver_alert('{\"id\": \"<b>disk\", \"name\": \"<i>Disk\", \"channels\": [\"webhook\"]}', 'ann', \
                '<script>alert(1)</script>')";
    session.batch_execute(fire).await.unwrap();
    once(&mut pgalert("once", &database)).await;
    let id = texts(&session, "SELECT id::text FROM pgalert.alert_dlq").await.remove(0);
    (database, session, webhook, id)
}

async fn log_of(session: &Session) -> Vec<String> {
    texts(session, "SELECT concat_ws(' ', operator, action, letters, reason) FROM pgalert.operator_log ORDER BY id").await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_listens_to_others_only_where_somebody_is_asked_who_they_are() {
    let database = Cluster::shared().database().await;
    let open = run(desk_command(&database).env("PGALERT_DESK_LISTEN", "0.0.0.0:0")).await;
    assert_eq!(open.code, Some(64), "{open:?}");
    assert!(open.stderr.contains("hint: set PGALERT_DESK_OPERATOR_TOKEN"), "{open:?}");
    let short = run(desk_command(&database).env(OPERATOR.0, "short")).await;
    assert_eq!(short.code, Some(64), "{short:?}");
    assert!(!short.stderr.contains("short"), "{short:?}");
    let settings = [("PGALERT_DESK_LISTEN", "0.0.0.0:0"), OPERATOR];
    Desk::start(&database, &settings).await.driver.terminate(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_with_desk_sends_and_serves() {
    let (database, session, webhook, id) = failed().await;
    let mut command = pgalert("run", &database);
    command.arg("--desk").env("PGALERT_DESK_LISTEN", "127.0.0.1:0");
    let desk = Desk::run(command.env("PGALERT_DESK_DATABASE_URL", database.url("clerk"))).await;
    webhook.answer(|_| Answer::OK);
    let answer = desk.visitor().act(&format!("/letters/{id}/retry"), &[]).await;
    assert_eq!(answer.header("location"), format!("/letters/{id}?done=queued"));
    until("the letter is sent", LIMIT, async || {
        match number(&session, "SELECT count(*) FROM pgalert.alert_dlq").await {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
    assert_eq!(webhook.count(), 2);
    assert!(desk.driver.terminate(LIMIT).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_bounds_what_a_browser_does_with_it() {
    let database = Cluster::shared().database().await;
    let desk = Desk::start(&database, &[]).await;
    let visitor = desk.visitor();
    for path in PAGES.into_iter().chain(["/desk.css", "/nowhere", "/letters/none", "/sign-in"]) {
        let answer = visitor.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'self'; script-src 'self'"),
            "{path}: {policy}"
        );
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
            "{path}: {policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        let kept = if path == "/desk.css" { "public, max-age=604800" } else { "no-store" };
        assert_eq!(answer.header("cache-control"), kept, "{path}");
        for inline in ["style=", "onclick=", "<script>", "<style"] {
            assert!(!answer.body.contains(inline), "{path} has {inline}");
        }
    }
    assert_eq!(visitor.get("/nowhere").await.status, 404);
    assert_eq!(visitor.get("/letters/none").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_names_that_are_known_lead_to_it() {
    let database = Cluster::shared().database().await;
    let desk = Desk::start(&database, &[("PGALERT_DESK_HOSTS", "desk.example.com")]).await;
    let status = async |host: &str| desk.visitor().with("host", host).get("/desk.css").await.status;
    for known in
        ["localhost:9188", "127.0.0.1", "[::1]:80", "desk.example.com", "DESK.example.com:1"]
    {
        assert_eq!(status(known).await, 200, "{known}");
    }
    for strange in ["rebound.example", "localhost.example", "desk.example.com.example"] {
        assert_eq!(status(strange).await, 403, "{strange}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_not_signed_in_sees_and_does_nothing() {
    let (database, session, _, id) = failed().await;
    let desk = Desk::start(&database, &[OPERATOR, READ_ONLY]).await;
    let stranger = desk.visitor();
    let letter = format!("/letters/{id}");
    for path in PAGES.into_iter().chain([letter.as_str()]) {
        let answer = stranger.get(path).await;
        assert_eq!(answer.status, 303, "{path}");
        assert!(answer.header("location").starts_with("/sign-in?next=%2F"), "{answer:?}");
    }
    let discard = format!("{letter}/discard");
    assert_eq!(stranger.post(&discard, &[("reason", "x")]).await.status, 303);
    assert_eq!(stranger.sign_in("eve", "0123456789abcdef-guessed").await.status, 403);
    assert_eq!(stranger.sign_in("", OPERATOR.1).await.status, 403);
    let forged = stranger.clone().with("cookie", "pgalert-desk=AAAAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(forged.get("/").await.status, 303);
    assert_eq!(number(&session, "SELECT count(*) FROM pgalert.alert_dlq").await, 1);
    assert_eq!(log_of(&session).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_to_sign_in_are_bounded() {
    let database = Cluster::shared().database().await;
    let desk = Desk::start(&database, &[OPERATOR]).await;
    let visitor = desk.visitor();
    for attempt in 0..30 {
        assert_eq!(visitor.sign_in("eve", &format!("guess {attempt}")).await.status, 403);
    }
    assert_eq!(visitor.sign_in("eve", OPERATOR.1).await.status, 429, "the right one, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_is_the_browsers_alone_and_ends() {
    let database = Cluster::shared().database().await;
    let desk = Desk::start(&database, &[OPERATOR, ("PGALERT_DESK_SESSION", "2s")]).await;
    let answer = desk.visitor().sign_in("ada", OPERATOR.1).await;
    let cookie = answer.header("set-cookie");
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert!(pair.strip_prefix("pgalert-desk=").is_some_and(|id| id.len() == 43), "{cookie}");
    assert_eq!(attributes, "Path=/; Max-Age=2; HttpOnly; SameSite=Strict");
    let mut visitor = desk.visitor();
    visitor.keep_cookie(&answer);
    assert_eq!(visitor.get("/").await.status, 200);
    until("the sign-in ends", Duration::from_secs(10), async || {
        match visitor.get("/desk.css").await.status.as_u16() {
            200 if visitor.get("/").await.status == 303 => Ok(()),
            other => Err(other),
        }
    })
    .await;

    let visitor = desk.signed_in("ada", OPERATOR.1).await;
    assert_eq!(visitor.act("/sign-out", &[]).await.header("location"), "/sign-in");
    assert_eq!(visitor.get("/").await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_counts_only_from_a_page_of_the_same_person() {
    let (database, session, _, id) = failed().await;
    let desk = Desk::start(&database, &[OPERATOR]).await;
    let ada = desk.signed_in("ada", OPERATOR.1).await;
    let bob = desk.signed_in("bob", OPERATOR.1).await;
    let (of_ada, of_bob) = (ada.get("/letters").await, bob.get("/letters").await);
    let discard = format!("/letters/{id}/discard");
    let press = async |visitor: &e2e::Visitor, csrf: &str| {
        visitor.post(&discard, &[("reason", "x"), ("csrf", csrf)]).await.status
    };
    assert_eq!(press(&ada, "").await, 403);
    assert_eq!(press(&ada, of_bob.csrf()).await, 403);
    let elsewhere = ada.clone().with("origin", "https://evil.example");
    assert_eq!(press(&elsewhere, of_ada.csrf()).await, 403);
    assert_eq!(press(&ada.clone().with("origin", "null"), of_ada.csrf()).await, 403);
    assert_eq!(ada.get(&discard).await.status, 404, "a link does nothing");
    assert_eq!(log_of(&session).await, [""; 0]);
    let here = ada.clone().with("origin", &format!("http://{}", desk.address));
    assert_eq!(press(&here, of_ada.csrf()).await, 303);
    assert_eq!(log_of(&session).await, ["ada discard 1 x"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_does_not_act() {
    let (database, session, _, id) = failed().await;
    let desk = Desk::start(&database, &[OPERATOR, READ_ONLY]).await;
    let rita = desk.signed_in("rita", READ_ONLY.1).await;
    for path in PAGES {
        assert_eq!(rita.get(path).await.status, 200, "{path}");
    }
    for (path, fields) in [
        (format!("/letters/{id}/retry"), vec![]),
        (format!("/letters/{id}/discard"), vec![("reason", "x")]),
        (format!("/letters/{id}/edit"), vec![("message", "x"), ("channels", "webhook")]),
        ("/letters".into(), vec![("scope", "all"), ("action", "retry")]),
        ("/gradual/1/stop".into(), vec![]),
        ("/recipients/1/enable".into(), vec![]),
    ] {
        // The page of one who reads has a form to sign out, and so a signature that is right.
        let answer = rita.act(&path, &fields).await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.body.contains("You may read here, and not act."), "{path}: {}", answer.body);
    }
    assert_eq!(log_of(&session).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_tells_the_name_and_nobody_else_does() {
    let (database, session, _, id) = failed().await;
    let header = ("PGALERT_DESK_PROXY_HEADER", "X-Forwarded-User");
    let operators = ("PGALERT_DESK_OPERATORS", "ada");
    let trusted = ("PGALERT_DESK_TRUSTED_PROXIES", "127.0.0.0/8");
    let desk = Desk::start(&database, &[header, operators, trusted]).await;
    assert_eq!(desk.visitor().get("/").await.status, 403, "without a name");
    let twice = desk.visitor().with("x-forwarded-user", "ada").with("x-forwarded-user", "eve");
    assert_eq!(twice.get("/").await.status, 403);
    let retry = format!("/letters/{id}/retry");
    let rita = desk.visitor().with("x-forwarded-user", "rita");
    assert!(rita.get("/letters").await.body.contains("reads only"));
    // Rita's page has no form at all, and Ada's signature is not hers.
    let ada = desk.visitor().with("x-forwarded-user", "ada");
    let of_ada = ada.get("/letters").await;
    assert_eq!(rita.post(&retry, &[("csrf", of_ada.csrf())]).await.status, 403);
    assert_eq!(ada.act(&retry, &[("reason", "mended")]).await.status, 303);
    assert_eq!(log_of(&session).await, ["ada retry 1 mended"]);

    let elsewhere = ("PGALERT_DESK_TRUSTED_PROXIES", "10.0.0.1");
    let desk = Desk::start(&database, &[header, operators, elsewhere, OPERATOR]).await;
    let eve = desk.visitor().with("x-forwarded-user", "ada").with("x-forwarded-proto", "https");
    assert_eq!(eve.get("/").await.status, 303, "this machine is not the proxy");
    assert!(!eve.sign_in("ada", OPERATOR.1).await.header("set-cookie").contains("Secure"));
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_tls_the_cookie_is_secure() {
    let database = Cluster::shared().database().await;
    let settings = [
        OPERATOR,
        ("PGALERT_DESK_PROXY_HEADER", "X-Forwarded-User"),
        ("PGALERT_DESK_TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let desk = Desk::start(&database, &settings).await;
    let mut visitor = desk.visitor().with("x-forwarded-proto", "https");
    let answer = visitor.sign_in("ada", OPERATOR.1).await;
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("__Host-pgalert-desk=") && cookie.ends_with("; Secure"), "{cookie}");
    assert!(answer.header("strict-transport-security").starts_with("max-age="));
    visitor.keep_cookie(&answer);
    assert_eq!(visitor.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn markup_of_an_alert_is_text_everywhere() {
    let (database, _, _, id) = failed().await;
    let desk = Desk::start(&database, &[]).await;
    let visitor = desk.visitor();
    let letter = visitor.get(&format!("/letters/{id}")).await.body;
    assert!(letter.contains("&lt;script&gt;alert(1)&lt;"), "{letter}");
    let strange = "/letters?user_id=%22%3E%3Cu%3E&error_class=%3Cu%3E&sort=newest&done=%3Cu%3E";
    for path in [
        "/letters",
        &format!("/letters/{id}"),
        "/errors",
        strange,
        "/recipients?user_id=%22%3E%3Cu%3E",
    ] {
        let answer = visitor.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        for markup in ["<script>alert", "<i>Disk", "<b>disk", "<u>"] {
            assert!(!answer.body.contains(markup), "{path} has {markup}: {}", answer.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_presses_at_once_send_once() {
    let (database, session, webhook, id) = failed().await;
    let desk = Desk::start(&database, &[]).await;
    webhook.answer(|_| Answer::OK);
    let (retry, visitor) = (format!("/letters/{id}/retry"), desk.visitor());
    let page = visitor.get("/letters").await;
    let fields = [("csrf", page.csrf())];
    let press = || visitor.post(&retry, &fields);
    let (one, two, three) = tokio::join!(press(), press(), press());
    let mut told: Vec<&str> = [&one, &two, &three]
        .map(|answer| answer.header("location").split('=').nth(1).unwrap())
        .into();
    told.sort_unstable();
    assert_eq!(told, ["already_queued", "already_queued", "queued"]);
    let sent = once(&mut pgalert("once", &database)).await;
    assert_eq!(sent, "1 delivered, 0 failed, 0 deferred, 0 skipped");
    assert_eq!(webhook.count(), 2, "the failed attempt, and one more");
    assert_eq!(number(&session, "SELECT count(*) FROM pgalert.alert_dlq").await, 0);
    let gone = press().await;
    assert_eq!(gone.status, 404);
    assert!(gone.body.contains("There is no dead letter"), "{}", gone.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_letter_goes_out_as_it_was_edited() {
    let (database, session, webhook, id) = failed().await;
    let other = Webhook::start().await;
    let desk = Desk::start(&database, &[]).await;
    let recipient = number(&session, "SELECT recipient_id FROM pgalert.recipients").await;
    let address = format!("address.{recipient}");
    let url = other.url();
    let fields = [
        ("message", "All is well.\r\nReally."),
        ("channels", "webhook"),
        (address.as_str(), url.as_str()),
        ("then", "retry"),
        ("reason", "the host has moved"),
    ];
    let answer = desk.visitor().act(&format!("/letters/{id}/edit"), &fields).await;
    assert_eq!(
        answer.header("location"),
        format!("/letters/{id}?done=edited_queued"),
        "{answer:?}"
    );
    once(&mut pgalert("once", &database)).await;
    assert_eq!((webhook.count(), other.count()), (1, 1));
    assert_eq!(other.requests()[0].body["message"], "All is well.\nReally.");
    assert_eq!(
        log_of(&session).await,
        ["local edit 1 the host has moved", "local retry 1 the host has moved"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_owes_the_inbox_alone_is_told_of_when_it_is_gone() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let desk = Desk::start(&database, &[]).await;
    for (alert, act) in [("a", "retry"), ("b", "edit")] {
        let expired = json!({"id": alert, "expires_at": "2020-01-01"});
        session
            .execute("SELECT pgalert.deliver_alert($1, 'ann', 'late')", &[&expired])
            .await
            .unwrap();
        let id = &texts(&session, "SELECT id::text FROM pgalert.alert_dlq").await[0];
        let page = desk.visitor().get(&format!("/letters/{id}")).await.body;
        assert!(page.contains(r#"value="inapp" checked"#), "{page}");
        let fields = [("message", "late"), ("channels", "inapp"), ("then", "retry")];
        let answer = desk.visitor().act(&format!("/letters/{id}/{act}"), &fields).await;
        let page = desk.visitor().get(answer.header("location")).await;
        assert_eq!(page.status, 200, "{act}");
        assert!(page.body.contains("Delivered: it is in the inbox."), "{act}: {}", page.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_retried_or_discarded_by_what_they_have_in_common() {
    let (database, session, webhook, id) = failed().await;
    let desk = Desk::start(&database, &[]).await;
    let visitor = desk.visitor();
    let none = visitor.act("/letters", &[("action", "retry")]).await;
    assert_eq!(none.status, 400);
    assert!(none.body.contains("No letter is selected."), "{}", none.body);
    let fields = [("scope", "all"), ("user_id", "ann"), ("action", "discard")];
    let unexplained = visitor.act("/letters", &fields).await;
    assert!(unexplained.status == 400 && unexplained.body.contains("reason"), "{unexplained:?}");
    let other = [("scope", "all"), ("user_id", "bob"), ("action", "retry")];
    let answer = visitor.act("/letters", &other).await;
    assert_eq!(answer.header("location"), "/letters?user_id=bob&done=retried&n=0");
    let answer = visitor.act("/letters", &[("id", &id), ("action", "retry")]).await;
    assert_eq!(answer.header("location"), "/letters?done=retried&n=1", "{answer:?}");
    once(&mut pgalert("once", &database)).await;
    assert_eq!(webhook.count(), 2);
    let fields = [("scope", "all"), ("user_id", "ann"), ("action", "discard"), ("reason", "tests")];
    let answer = visitor.act("/letters", &fields).await;
    assert_eq!(answer.header("location"), "/letters?user_id=ann&done=thrown&n=1");
    assert_eq!(number(&session, "SELECT count(*) FROM pgalert.alert_dlq").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_refuses_is_told_with_its_hint() {
    let database = Cluster::shared().database().await;
    let desk = Desk::start(&database, &[]).await;
    let answer = desk.visitor().get("/letters?state=lost").await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("States are waiting"), "{}", answer.body);
    let url = database.url("courier");
    let weak = Desk::start(&database, &[("PGALERT_DESK_DATABASE_URL", &url)]).await;
    let answer = weak.visitor().get("/letters").await;
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains("member of pgalert_operator"), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_outlives_its_database() {
    let cluster = Cluster::start(&[]);
    let database = cluster.database().await;
    let desk = Desk::start(&database, &[]).await;
    let visitor = desk.visitor();
    assert_eq!(visitor.get("/").await.status, 200);
    cluster.crash();
    let answer = visitor.get("/").await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "5"));
    assert!(answer.body.contains("The database does not answer"), "{}", answer.body);
    cluster.start_server();
    until("the page is back", LIMIT, async || match visitor.get("/").await.status.as_u16() {
        200 => Ok(()),
        other => Err(other),
    })
    .await;
}
