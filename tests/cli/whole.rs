//! What holds for every command: exit codes, configuration, the record, secrets.

use std::process::Stdio;

use serde_json::{Value, json};

use super::*;

const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

#[test]
fn what_is_not_there_is_1_and_what_is_not_meant_is_2() {
    let place = Place::with_acme();
    for verb in ["show", "disable", "enable", "revoke", "delete", "rotate"] {
        place.refused(&format!("key {verb} {NOBODY}"), 1, NOBODY);
        place.refused(&format!("key {verb} ci"), 2, "--org");
        place.refused(&format!("key {verb} ci --org acme"), 1, "no key named `ci`");
        place.refused(&format!("key {verb} ci --org none"), 1, "no organization `none`");
        place.refused(&format!("key {verb}"), 2, "<KEY>");
    }
    for (line, code, says) in [
        ("org show none", 1, "no organization `none`"),
        ("org set-plan none free", 1, "no organization `none`"),
        ("org set-plan acme gold", 2, "plan: `gold`"),
        ("org set-plan acme free --per-second -1", 2, "whole number"),
        ("org create acme --plan free", 1, "`acme` already"),
        ("org create other --plan gold", 2, "use one of free"),
        ("org create --plan free", 2, "<NAME>"),
        ("org create — --plan free", 2, "name: "),
        ("organisation list", 2, "organisation"),
        ("key list --everything", 2, "--everything"),
        ("demo --listen nowhere", 2, "--listen"),
    ] {
        place.refused(line, code, says);
    }
    assert_eq!(place.json("org list").as_array().unwrap().len(), 1);
}

#[test]
fn check_tells_every_mistake_of_the_configuration() {
    let place = Place::new();
    assert_eq!(place.done("check"), "built-in gateway.toml: ok\n");
    let good = place.dir.path().join("good.toml");
    std::fs::write(&good, "[record]\nurl = \"sqlite://elsewhere/t.db\"\n").unwrap();
    assert_eq!(place.done("check --config good.toml"), "good.toml: ok\n");
    assert_eq!(place.json("check --config good.toml"), json!({"ok": true, "config": "good.toml"}));
    let bad = "[record]\nurl = \"mysql://x\"\n[logs]\nretenton = \"3d\"\n";
    std::fs::write(place.dir.path().join("bad.toml"), bad).unwrap();
    for command in ["check", "org list", "key create --org acme --name ci"] {
        let answer = place.run(&format!("{command} --config bad.toml"));
        assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{command}");
        for line in
            ["error: the configuration has 2 mistakes", "bad.toml:2: record.url", "bad.toml:4: logs.retenton"]
        {
            assert!(answer.err.contains(line), "{command}: {}", answer.err);
        }
    }
    let answer = place.run("check --json --config bad.toml");
    let error: Value = serde_json::from_str(&answer.err).unwrap();
    assert_eq!((answer.code, error["problems"].as_array().unwrap().len()), (2, 2));
    assert_eq!(error["problems"][0]["line"], 2);
    // What `check` finds is what it was asked for, too.
    let found: Value = serde_json::from_str(&answer.out).unwrap();
    assert_eq!((&found["ok"], &found["config"]), (&json!(false), &json!("bad.toml")));
    assert_eq!(found["problems"], error["problems"]);
    place.refused("org list --config missing.toml", 2, "missing.toml");
    // The file may be named by the environment; the record is where the file says.
    let answer =
        answer_of(place.command(&["org", "create", "acme", "--plan", "free"]).env("TOLLGATE_CONFIG", &good));
    assert_eq!((answer.code, answer.err.as_str()), (0, ""));
    assert!(place.dir.path().join("elsewhere/t.db").is_file());
    let answer = answer_of(place.command(&["check"]).env("TOLLGATE_CONFIG", ""));
    assert_eq!((answer.code, answer.out.as_str()), (0, "built-in gateway.toml: ok\n"));
    // Where none is named, the one that lies here is meant.
    std::fs::write(place.dir.path().join("gateway.toml"), bad).unwrap();
    place.refused("org list", 2, "record.url");
    assert_eq!(place.done("check --config good.toml"), "good.toml: ok\n");
}

#[test]
fn a_record_that_cannot_be_opened_is_1_and_named() {
    let place = Place::new();
    std::fs::write(place.dir.path().join("data"), "a file where a directory is needed").unwrap();
    place.refused("org list", 1, "data");
    std::fs::remove_file(place.dir.path().join("data")).unwrap();
    std::fs::create_dir(place.dir.path().join("data")).unwrap();
    std::fs::write(place.dir.path().join("data/tollgate.db"), "not a database".repeat(100)).unwrap();
    place.refused("org list", 1, "record.url");
}

#[test]
fn commands_at_once_wait_for_each_other() {
    let place = Place::new();
    // The first of these makes the record, too.
    let children: Vec<_> = (0..12)
        .map(|n| {
            let name = format!("org-{}", n % 6);
            let args = ["org", "create", &name, "--plan", "free"];
            place.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let answers: Vec<_> =
        children.into_iter().map(|child| answer(child.wait_with_output().unwrap())).collect();
    let count = |code| answers.iter().filter(|answer| answer.code == code).count();
    let errors: Vec<_> = answers.iter().map(|answer| &answer.err).collect();
    assert_eq!((count(0), count(1)), (6, 6), "{errors:?}");
    assert!(answers.iter().all(|answer| answer.code == 0 || answer.err.contains("already")), "{errors:?}");
    assert_eq!(place.json("org list").as_array().unwrap().len(), 6);
}

#[test]
fn no_secret_is_in_the_record_or_in_an_error() {
    let place = Place::with_acme();
    let password = "a canary of a password";
    let made = place.user("user create ann@example.com --password-stdin", password);
    assert_eq!(made.code, 0);
    let mut secrets = vec![password.to_owned(), "a session secret of 32 bytes or more".to_owned()];
    secrets.push(text(&place.json("key create --org acme --name ci")["key"]).to_owned());
    secrets.push(text(&place.json("key rotate ci --org acme --grace 1h")["key"]).to_owned());
    secrets.push(text(&place.json("session create ann@example.com")["session_token"]).to_owned());
    let mut seen = place.record_bytes();
    assert!(contains(&seen, b"ann@example.com") && contains(&seen, b"$argon2id$"), "the record was read");
    // A key's secret where its id should be is an easy mistake.
    let mistaken = |line: &str| line.replace("SECRET", &secrets[2]);
    for line in [
        "user list",
        "key list",
        "key create --org acme --name ci",
        "key show ci --org acme",
        "check",
        &mistaken("key show SECRET"),
        &mistaken("key revoke SECRET --org acme"),
        &mistaken("logs --key SECRET"),
    ] {
        let answer = place.run(line);
        seen.extend(answer.out.bytes().chain(answer.err.bytes()));
    }
    let again = place.user("user create ann@example.com --password-stdin", password);
    let short = place.user("user create b@example.com --password-stdin", "a canary");
    seen.extend(again.err.bytes().chain(short.err.bytes()));
    secrets.push("a canary".to_owned());
    for secret in &secrets {
        assert!(!contains(&seen, secret.as_bytes()), "a secret of {} characters was seen", secret.len());
    }
    // Not even its random part, without the prefix that every key has.
    assert!(!contains(&seen, &secrets[2].as_bytes()[8..34]));
}

#[test]
fn an_empty_list_says_where_it_looked_and_what_to_do() {
    let place = Place::new();
    for what in ["key", "org", "project", "user"] {
        let said = format!("none in data/tollgate.db; `tollgate {what} create` makes one\n");
        assert_eq!(place.done(&format!("{what} list")), said);
        assert_eq!(place.json(&format!("{what} list")), json!([]));
    }
}

#[test]
fn a_record_whose_disk_takes_no_more_is_not_said_to_be_elsewhere() {
    let place = Place::with_acme();
    // Not a byte more may be written to any file: as on a full disk, and nobody has to be root for it.
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
    let tollgate = env!("CARGO_BIN_EXE_tollgate");
    for line in ["org create other --plan free", "serve"] {
        let mut command = Command::new("bash");
        command.args(["-c", script, tollgate]).args(line.split(' ')).current_dir(place.dir.path());
        let refused = answer(command.output().unwrap());
        assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{line}: {}", refused.err);
        assert!(refused.err.contains("its disk is full, or fails: make room"), "{line}: {}", refused.err);
    }
    assert_eq!(place.json("org list").as_array().unwrap().len(), 1, "and nothing was done by halves");
}

/// Whoever manages keys from another terminal need not have what the upstream is shown.
#[test]
fn what_only_a_gateway_needs_is_asked_of_the_gateway_alone() {
    let place = Place::with_acme();
    let credential = |value: &str| {
        let text = format!(
            "[[upstreams]]\nname = \"scraper\"\ntargets = [\"127.0.0.1:3000\"]\n\
             credential = {{ header = \"authorization\", {value} }}\n[[routes]]\npath = \"/*\"\nupstream = \"scraper\"\n"
        );
        std::fs::write(place.dir.path().join("gateway.toml"), text).unwrap();
    };
    for value in ["value = \"Bearer ${SCRAPER_KEY}\"", "value_file = \"of-another-user\""] {
        credential(value);
        assert_eq!(place.json("org list").as_array().unwrap().len(), 1);
        assert_eq!(place.run("check").code, 2);
        place.refused("serve", 2, "upstreams[0].credential.value");
    }
}
