use e2e::{
    driver::{pgalert_at, run, Ended},
    Cluster, Database,
};
use serde_json::Value;

use crate::common::{add_letters, number, texts};

async fn pgalert(database: &Database, arguments: &[&str]) -> Ended {
    let mut command = pgalert_at(arguments[0], &database.url("postgres"));
    run(command.args(&arguments[1..])).await
}

/// What a command prints; it must succeed.
pub async fn printed(database: &Database, arguments: &[&str]) -> String {
    let ended = pgalert(database, arguments).await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
    ended.stdout
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_shown_edited_retried_and_discarded() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    add_letters(&session, 3).await;

    let table = printed(&database, &["dlq", "list"]).await;
    assert!(table.contains("[2Jname") && !table.contains('\u{1b}'), "{table:?}");
    assert_eq!(table.lines().count(), 4, "{table}");
    let rows = lines(&printed(&database, &["dlq", "list", "--sort", "oldest", "--json"]).await);
    assert_eq!(rows.len(), 3);
    let id = |place: usize| rows[place]["dlq_id"].as_str().unwrap().to_owned();
    for (filter, count) in [
        (["--state", "permanent"], 1),
        (["--state", "permanent,exhausted"], 3),
        (["--channel", "sms"], 0),
        (["--error-class", "smtp.5xx"], 3),
        (["--alert", "a-2"], 1),
        (["--user", "bob"], 0),
        (["--older-than", "1 hour"], 0),
        (["--newer-than", "1 hour"], 3),
        (["--limit", "2"], 2),
    ] {
        let listed = printed(&database, &["dlq", "list", "--json", filter[0], filter[1]]).await;
        assert_eq!(lines(&listed).len(), count, "{filter:?}");
    }

    let shown = printed(&database, &["dlq", "show", &id(0)]).await;
    assert!(shown.contains("text 1") && !shown.contains('\u{1b}'), "{shown:?}");
    printed(&database, &["dlq", "edit", &id(0), "--message", "better", "--channels", "sms"]).await;
    let letter = &lines(&printed(&database, &["dlq", "show", &id(0), "--json"]).await)[0];
    assert_eq!((&letter["message"], &letter["channels"][0]), (&"better".into(), &"sms".into()));

    let mut editor = pgalert_at("dlq", &database.url("postgres"));
    editor.args(["edit", &id(1)]).env("EDITOR", "sed -i s/text/words/");
    assert_eq!(run(&mut editor).await.stdout, "edited\n");
    let letter = &lines(&printed(&database, &["dlq", "show", &id(1), "--json"]).await)[0];
    assert_eq!(letter["message"], "words 2");

    let stats = &lines(&printed(&database, &["dlq", "stats", "--json"]).await)[0];
    assert_eq!(
        (&stats["states"]["exhausted"], &stats["groups"][0]["letters"]),
        (&2.into(), &2.into())
    );

    let retry = ["dlq", "retry", &id(0), "--reason", "mended"];
    assert_eq!(printed(&database, &retry).await, format!("{}\tqueued\n", id(0)));
    assert_eq!(printed(&database, &retry).await, format!("{}\talready_queued\n", id(0)));
    let discard = ["dlq", "discard", &id(1), "--reason", "old"];
    assert_eq!(printed(&database, &discard).await, format!("{}\tdiscarded\n", id(1)));
    assert_eq!(printed(&database, &discard).await, format!("{}\talready_gone\n", id(1)));
    let mut sudo = pgalert_at("dlq", &database.url("postgres"));
    sudo.args(["discard", &id(2), "--reason", "old"]).env("SUDO_USER", "carol");
    assert_eq!(run(&mut sudo).await.code, Some(0));
    let log = texts(&session, "SELECT concat_ws(' ', action, reason) FROM pgalert.operator_log WHERE operator <> 'carol' ORDER BY id").await;
    assert_eq!(log, ["edit", "edit", "retry mended", "discard old"]);
    assert_eq!(
        texts(&session, "SELECT action FROM pgalert.operator_log WHERE operator = 'carol'").await,
        ["discard"]
    );

    let listed = lines(&printed(&database, &["dlq", "log", "--json", "--limit", "4"]).await);
    let actions = listed.iter().map(|one| one["action"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(actions, ["discard", "discard", "retry", "edit"]);
    for (filter, count) in [
        (["--operator", "carol"], 1),
        (["--action", "edit,retry"], 3),
        (["--letter", &id(0)], 2),
        (["--older-than", "1 hour"], 0),
        (["--newer-than", "1 hour"], 5),
    ] {
        let listed = printed(&database, &["dlq", "log", "--json", filter[0], filter[1]]).await;
        assert_eq!(lines(&listed).len(), count, "{filter:?}");
    }
    let table = printed(&database, &["dlq", "log", "--action", "retry"]).await;
    assert!(table.contains("mended") && table.lines().count() == 2, "{table}");

    for (arguments, code, expected) in [
        (vec!["dlq", "retry"], 2, "required"),
        (vec!["dlq", "retry", &id(0), "--user", "ann"], 2, "cannot be used with"),
        (vec!["dlq", "discard", &id(0)], 2, "--reason"),
        (vec!["dlq", "discard", &id(0), "--reason", "x"], 1, "is queued"),
        (vec!["dlq", "show", &id(1)], 1, "there is no dead letter"),
        (
            vec!["dlq", "list", "--older-than", "soon"],
            1,
            "\"older_than\" is no interval (SQLSTATE 22023)",
        ),
    ] {
        let ended = pgalert(&database, &arguments).await;
        assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(expected), "{arguments:?}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_match_go_in_batches() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    add_letters(&session, 5000).await;
    let all = ["dlq", "retry", "--all", "--state", "exhausted"];
    let dry = [&all[..], &["--dry-run"]].concat();
    assert_eq!(printed(&database, &dry).await, "4999 would be retried\n");
    assert_eq!(number(&session, "SELECT count(*) FROM pgalert.operator_log").await, 0);
    assert_eq!(printed(&database, &[&all[..], &["--yes"]].concat()).await, "4999 queued\n");
    assert_eq!(
        texts(&session, "SELECT letters::text FROM pgalert.operator_log ORDER BY id").await,
        ["1000", "1000", "1000", "1000", "999"]
    );
    let queued = "SELECT count(*) FROM pgalert.alert_dlq WHERE state = 'queued'";
    assert_eq!(number(&session, queued).await, 4999);
    let discard = ["dlq", "discard", "--all", "--yes", "--reason", "old"];
    assert_eq!(printed(&database, &discard).await, "1 discarded\n");
    assert_eq!(number(&session, "SELECT count(*) FROM pgalert.alert_dlq").await, 4999);

    session.execute("UPDATE pgalert.alert_dlq SET state = 'exhausted'", &[]).await.unwrap();
    let gradual = printed(&database, &["dlq", "retry", "--all", "--gradual", "--yes"]).await;
    assert_eq!(gradual, "gradual retry 1 of 4999 letters has begun\n");
    assert_eq!(number(&session, queued).await, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_move_to_another_database() {
    let (from, to) = (Cluster::shared().database().await, Cluster::shared().database().await);
    let session = from.connect().await;
    add_letters(&session, 1500).await;
    session
        .batch_execute(
            "UPDATE pgalert.alert_dlq SET state = 'queued' WHERE alert_id = 'a-7';
             UPDATE pgalert.alert_dlq SET alert_data = alert_data || '{\"far\": 1e400, \"long\": 12345678901234567890123}' WHERE alert_id = 'a-9'",
        )
        .await
        .unwrap();
    let id =
        &texts(&session, "SELECT id::text FROM pgalert.alert_dlq WHERE alert_id = 'a-9'").await[0];
    let shown = printed(&from, &["dlq", "show", id, "--json"]).await;
    assert!(shown.contains(&format!("\"far\":\"1{}\"", "0".repeat(400))), "{shown}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("letters");
    let file = file.to_str().unwrap();
    assert_eq!(printed(&from, &["dlq", "export", "--output", file]).await, "");
    assert_eq!(pgalert(&from, &["dlq", "export", "--output", file]).await.code, Some(1));
    assert_eq!(printed(&from, &["dlq", "export"]).await, std::fs::read_to_string(file).unwrap());
    let import = ["dlq", "import", file];
    assert_eq!(printed(&to, &import).await, "1500 imported, 0 skipped\n");
    assert_eq!(printed(&to, &import).await, "0 imported, 1500 skipped\n");
    let arrived = to.connect().await;
    let rows = "SELECT md5(string_agg(d::text, '' ORDER BY id)) FROM pgalert.alert_dlq d WHERE alert_id <> 'a-7'";
    assert_eq!(texts(&arrived, rows).await, texts(&session, rows).await);
    let queued = "SELECT state || (next_retry_at <= clock_timestamp()) FROM pgalert.alert_dlq WHERE alert_id = 'a-7'";
    assert_eq!(texts(&arrived, queued).await, ["waitingtrue"]);
    for (text, expected) in [
        ("{}\n", "line 1 is refused (0 imported before it): "),
        ("{}\n", "(SQLSTATE 22023)\ndetail: null value in column"),
        ("[]\n", "22023"),
        (
            "\n{\"channels\": [\"nope\"]}\n",
            "line 2 is refused (0 imported before it): there is no channel",
        ),
        ("\n\nx\n", "line 3 is no JSON"),
    ] {
        std::fs::write(file, text).unwrap();
        let ended = pgalert(&to, &import).await;
        assert!(ended.code == Some(1) && ended.stderr.contains(expected), "{text}: {ended:?}");
    }
    let letters = printed(&from, &["dlq", "export"]).await;
    let (before, after) = letters.split_at(letters.match_indices('\n').nth(1233).unwrap().0 + 1);
    std::fs::write(file, format!("{before}{{}}\n{after}")).unwrap();
    arrived.execute("DELETE FROM pgalert.alert_dlq", &[]).await.unwrap();
    let ended = pgalert(&to, &import).await;
    let expected = "line 1235 is refused (1234 imported before it): the letters are none ";
    assert!(ended.code == Some(1) && ended.stderr.contains(expected), "{ended:?}");
    std::fs::write(file, letters).unwrap();
    assert_eq!(printed(&to, &import).await, "266 imported, 1234 skipped\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_deliveries_completion_and_man() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    add_letters(&session, 2).await;
    crate::common::fire(&session, "seen", &["inapp"]).await;
    let status = printed(&database, &["status"]).await;
    assert!(status.contains("1 permanent") && status.contains("breakers: all closed"), "{status}");
    let status = &lines(&printed(&database, &["status", "--json"]).await)[0];
    assert_eq!(status["dlq"]["exhausted"], 1);
    let rows = lines(&printed(&database, &["deliveries", "list", "--user", "ann", "--json"]).await);
    assert_eq!((rows.len(), &rows[0]["alert_id"]), (1, &"seen".into()));
    let key = rows[0]["delivery_key"].as_str().unwrap();
    assert!(printed(&database, &["deliveries", "show", key]).await.contains("delivered"));
    assert!(printed(&database, &["deliveries", "list"]).await.contains(key));

    // A search goes on where 100,000 others lie before what it looks for: twice what one call looks at.
    session
        .batch_execute(
            "INSERT INTO pgalert.alert_deliveries (alert_id, content_hash, delivery_methods, delivery_key, attempt, priority, accepted_at)
             SELECT 'other', 'h', '[\"email\"]', pgalert._message_key(), 1, 'normal', now() FROM generate_series(1, 100001)",
        )
        .await
        .unwrap();
    let list = ["deliveries", "list", "--channel", "inapp", "--json"];
    let found = lines(&printed(&database, &list).await);
    assert_eq!((found.len(), &found[0]["alert_id"]), (1, &"seen".into()));
    let pages = ["deliveries", "list", "--limit", "2500", "--json"];
    assert_eq!(lines(&printed(&database, &pages).await).len(), 2500);

    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("pgalert.bash");
    for shell in ["bash", "zsh", "fish"] {
        let text = printed(&database, &["completions", shell]).await;
        assert!(text.contains("discard"), "{shell}");
        std::fs::write(&script, text).unwrap();
        if shell == "bash" {
            let checked = std::process::Command::new("bash").arg("-n").arg(&script).status();
            assert!(checked.unwrap().success());
        }
    }
    printed(&database, &["man", folder.path().to_str().unwrap()]).await;
    let page = std::fs::read_to_string(folder.path().join("pgalert-dlq-retry.1")).unwrap();
    assert!(page.contains("dry") && folder.path().join("pgalert.1").exists());
}
