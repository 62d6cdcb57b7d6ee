//! The command line, by running the real binary: what it prints, what it leaves in the record, how it refuses.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

/// A directory with a record of its own.
struct Place {
    dir: TempDir,
}

/// What a command answered.
struct Answer {
    code: i32,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    /// With the organization `acme` on the plan `free`.
    fn with_acme() -> Self {
        let place = Self::new();
        place.done("org create acme --plan free");
        place
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("TOLLGATE_SESSION_SECRET", "a session secret of 32 bytes or more");
        command
    }

    fn run_args(&self, args: &[&str], input: &str) -> Answer {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that reads nothing may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        answer(child.wait_with_output().unwrap())
    }

    fn run(&self, line: &str) -> Answer {
        self.run_args(&line.split_whitespace().collect::<Vec<_>>(), "")
    }

    /// Runs what must be done, and returns its output.
    fn done(&self, line: &str) -> String {
        let answer = self.run(line);
        assert_eq!((answer.code, answer.err.as_str()), (0, ""), "{line}");
        answer.out
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.done(&format!("--json {line}"))).unwrap()
    }

    /// Runs what must be refused with `code`, and a message of few lines with `says` in it, in both forms.
    fn refused(&self, line: &str, code: i32, says: &str) {
        let answer = self.run(line);
        assert_eq!((answer.code, answer.out.as_str()), (code, ""), "{line}: {}", answer.err);
        assert!(answer.err.contains(says), "{line}: {}", answer.err);
        assert!(
            answer.err.starts_with("error: ") && answer.err.lines().count() <= 8,
            "{line}: {}",
            answer.err
        );
        let answer = self.run(&format!("--json {line}"));
        assert_eq!((answer.code, answer.out.as_str()), (code, ""), "{line}");
        let error: Value = serde_json::from_str(&answer.err).unwrap();
        assert!(error["error"].is_string(), "{line}: {error}");
        assert!(error.to_string().contains(&json!(says).to_string().trim_matches('"').to_owned()), "{error}");
    }

    fn user(&self, line: &str, password: &str) -> Answer {
        self.run_args(&line.split_whitespace().collect::<Vec<_>>(), password)
    }

    /// Every byte of the record, its write-ahead log included.
    fn record_bytes(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.dir.path().join("data")).unwrap();
        let paths: Vec<PathBuf> =
            files.map(|file| file.unwrap().path()).filter(|path| path.is_file()).collect();
        assert!(!paths.is_empty());
        paths.iter().flat_map(|path| std::fs::read(path).unwrap()).collect()
    }
}

fn answer(output: Output) -> Answer {
    Answer {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `value` with what differs from run to run replaced by its kind.
fn shape(value: &Value) -> Value {
    match value {
        Value::String(text) if text.len() == 36 && text.split('-').count() == 5 => json!("UUID"),
        Value::String(text) if text.starts_with("20") && text.ends_with('Z') => json!("TIME"),
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), shape(value))).collect(),
        other => other.clone(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn an_organization_is_made_listed_shown_and_moved_to_another_plan() {
    let place = Place::new();
    let made = place.json("org create acme --plan free");
    let expected = json!({
        "id": "acme", "name": "acme", "plan": "free",
        "caps": {"per_second": 2, "per_minute": 30, "concurrency": 3},
        "negotiated": {"per_second": null, "per_minute": null, "concurrency": null},
        "limits": null, "created_at": "TIME",
    });
    assert_eq!(shape(&made), expected);
    assert_eq!(place.json("org list"), json!([made]));
    assert_eq!(place.json("org show acme"), made);
    let moved = place.json("org set-plan acme free --per-second 9 --concurrency 0");
    assert_eq!(moved["caps"], json!({"per_second": 9, "per_minute": 30, "concurrency": 0}));
    assert_eq!(moved["negotiated"], json!({"per_second": 9, "per_minute": null, "concurrency": 0}));
    assert_eq!(place.json("org set-plan acme free")["negotiated"], made["negotiated"]);
    let limited = place.json("org limit acme --requests 5 --microcents 700 --period weekly");
    let limit = json!({"requests": 5, "microcents": 700, "period": "weekly", "enabled": true});
    assert_eq!(limited["limits"], limit);
    assert_eq!(place.json("org limit acme --clear")["limits"], Value::Null);
    assert!(place.done("org show acme").contains("\nplan         free\n"));
    assert!(place.done("org list").lines().nth(1).unwrap().starts_with("acme  acme  free  20"));
}

#[test]
fn an_organization_of_several_words_is_found_by_its_name() {
    let place = Place::new();
    let made = place.run_args(&["org", "create", "Acme & Söhne", "--plan", "free"], "");
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    let shown = place.run_args(&["org", "show", "Acme & Söhne", "--json"], "");
    assert_eq!(serde_json::from_str::<Value>(&shown.out).unwrap()["id"], "Acme-S-hne");
}

#[test]
fn a_user_has_a_personal_organization_and_logs_in() {
    let place = Place::with_acme();
    let line = "--json user create Ann@Example.com --org acme --role admin --operator --password-stdin";
    let made = place.user(line, "correct horse battery\n");
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    let made: Value = serde_json::from_str(&made.out).unwrap();
    let expected = json!({
        "id": "UUID", "email": "ann@example.com", "operator": true,
        "memberships": [
            {"organization": "acme", "role": "admin"},
            {"organization": "ann", "role": "owner"},
        ],
        "created_at": "TIME",
    });
    assert_eq!(shape(&made), expected);
    assert_eq!(place.json("user list"), json!([made]));
    let login = place.json("session create ann@example.com --ttl 10m");
    assert_eq!(login["user"], made["id"]);
    assert_eq!(text(&login["session_token"]).split('.').count(), 3);
    let bare = place.done("session create ann@example.com");
    assert_eq!((bare.lines().count(), bare.trim().split('.').count()), (1, 3));
    place.refused("session create nobody@example.com", 1, "no user `nobody@example.com`");
    place.refused("session create ann@example.com --ttl 31d", 2, "ttl: ");
    place.refused("session create ann@example.com --ttl soon", 2, "24h");
    // A second one of the same local part gets an id of its own, and the same email is refused.
    let second = place.user("--json user create ann@example.org --password-stdin", "correct horse battery");
    let second: Value = serde_json::from_str(&second.out).unwrap();
    let own = text(&second["memberships"][0]["organization"]).to_owned();
    assert!(own.starts_with("ann-") && own.len() == "ann-".len() + 8, "{own}");
    let again = place.user("user create ANN@example.com --password-stdin", "correct horse battery");
    assert_eq!((again.code, again.out.as_str()), (1, ""));
    assert!(again.err.contains("`ann@example.com` already"), "{}", again.err);
}

#[test]
fn a_password_comes_by_standard_input_and_is_long_enough() {
    let place = Place::with_acme();
    let create = "user create ann@example.com --password-stdin";
    for (password, says) in [
        ("", "at least 12 characters"),
        ("elevenchars\n", "at least 12 characters"),
        (&"x".repeat(1_025), "at most 1024 bytes"),
        (&"ä".repeat(5_000), "at most 1024 bytes"),
    ] {
        let refused = place.user(create, password);
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{}", refused.err);
        assert!(refused.err.contains("password: ") && refused.err.contains(says), "{}", refused.err);
    }
    place.refused("user create ann@example.com", 2, "--password-stdin");
    place.refused("user create ann@example.com --role admin --password-stdin", 2, "--org");
    assert_eq!(place.json("user list"), json!([]));
    // Only one line break at the end is not part of it: eleven characters and two of them are twelve.
    assert_eq!(place.user(create, "elevenchars\n\n").code, 0);
    for (line, password) in [
        ("user create x --password-stdin", "correct horse battery"),
        ("user create b@x.org --org acme --role king --password-stdin", "correct horse battery"),
    ] {
        assert_eq!(place.user(line, password).code, 2, "{line}");
    }
    let stranded = place.user("user create b@x.org --org none --password-stdin", "correct horse battery");
    assert_eq!(stranded.code, 1);
    assert!(stranded.err.contains("no organization `none`"), "{}", stranded.err);
}

#[test]
fn a_project_takes_the_operators_id_and_holds_keys() {
    let place = Place::with_acme();
    let made = place.json("project create crawl --org acme --id 67e0.a-B_1");
    let expected = json!({"id": "67e0.a-B_1", "organization": "acme", "name": "crawl", "created_at": "TIME"});
    assert_eq!(shape(&made), expected);
    assert_eq!(shape(&place.json("project create other --org acme"))["id"], "UUID");
    let names: Vec<_> =
        place.json("project list --org acme").as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
    assert_eq!(names, ["crawl", "default", "other"]);
    for named in ["67e0.a-B_1", "crawl"] {
        let key = place.json(&format!("key create --org acme --name by-{named} --project {named}"));
        assert_eq!(key["project"], "67e0.a-B_1");
    }
    place.refused("project create x --org acme --id a/b", 2, "id: `a/b`");
    place.refused("project create x --org acme --id 67e0.a-B_1", 1, "`67e0.a-B_1` already");
    place.refused("project create crawl --org acme", 1, "`crawl` already");
    place.refused("project create x --org none", 1, "no organization `none`");
    place.refused("project list --org none", 1, "no organization `none`");
    place.refused("key create --org acme --name x --project none", 1, "no project `none`");
}

#[test]
fn a_key_is_made_with_every_setting_and_shown_without_its_secret() {
    let place = Place::with_acme();
    let made = place.json(
        "key create --org acme --name ci --category staging --expires 2099-12-31 --total 100 --daily 0 --weekly 7 \
         --monthly 30 --scope read --allow-ip 10.0.0.0/8 --allow-ip 192.0.2.7",
    );
    let secret = text(&made["key"]).to_owned();
    assert!(secret.starts_with("sk_live_") && secret.len() == 40, "{} characters", secret.len());
    let mut expected = json!({
        "id": "UUID", "organization": "acme", "project": "UUID", "name": "ci", "category": "staging",
        "prefix": "sk_live_", "hint": secret[36..], "scopes": ["read"], "active": true, "expires_at": "TIME",
        "allowed_ips": ["10.0.0.0/8", "192.0.2.7/32"],
        "quotas": {"total": 100, "daily": 0, "weekly": 7, "monthly": 30},
        "limits": null, "created_by": null, "created_at": "TIME", "last_used_at": null, "requests": 0,
        "revoked_at": null, "key": secret,
    });
    assert_eq!(shape(&made), expected);
    assert_eq!(made["expires_at"], "2099-12-31T00:00:00Z");
    expected.as_object_mut().unwrap().remove("key");
    let shown = place.json(&format!("key show {}", text(&made["id"])));
    assert_eq!(shape(&shown), expected);
    assert_eq!(place.json("key show ci --org acme"), shown);
    assert_eq!(place.json("key list"), json!([shown]));
    assert_eq!(place.json("key list --org acme"), json!([shown]));
    for line in ["key list", "key show ci --org acme"] {
        assert!(!place.done(line).contains(&secret), "{line}");
    }
    let spoken = place.done("key create --org acme --name spoken");
    assert_eq!(spoken.matches("sk_live_").count(), 2, "once masked and once whole");
    assert!(spoken.ends_with("the only time the key is shown: only its digest is kept.\n"), "{spoken}");
}

#[test]
fn a_key_that_could_not_be_meant_is_refused_and_nothing_is_written() {
    let place = Place::with_acme();
    for (line, code, says) in [
        ("key create --org acme", 2, "--name"),
        ("key create --name ci", 2, "--org"),
        ("key create --org none --name ci", 1, "no organization `none`"),
        ("key create --org acme --name ci --daily -5", 2, "whole number"),
        ("key create --org acme --name ci --total 1.5", 2, "whole number"),
        ("key create --org acme --name ci --total 9007199254740992", 2, "quotas: "),
        ("key create --org acme --name ci --expires yesterday", 2, "2026-12-31"),
        ("key create --org acme --name ci --expires 2020-01-01", 2, "expires_at: lies in the past"),
        ("key create --org acme --name ci --scope all", 2, "scopes: `all`"),
        ("key create --org acme --name ci --allow-ip 10.0.0.1/8", 2, "write 10.0.0.0/8"),
        ("key create --org acme --name ci --allow-ip everywhere", 2, "allowed_ips: "),
    ] {
        place.refused(line, code, says);
    }
    assert_eq!(place.run_args(&["key", "create", "--org", "acme", "--name", " "], "").code, 2);
    assert_eq!(place.json("key list"), json!([]));
}

#[test]
fn a_key_is_renamed_disabled_enabled_and_revoked_for_good() {
    let place = Place::with_acme();
    let id = text(&place.json("key create --org acme --name ci")["id"]).to_owned();
    let show = || place.json(&format!("key show {id}"));
    assert_eq!(place.json("key rename ci nightly --org acme")["name"], "nightly");
    assert_eq!(place.json("key disable nightly --org acme")["active"], false);
    assert_eq!(show()["active"], false);
    assert!(place.done(&format!("key show {id}")).contains("disabled"));
    // Again: done already.
    assert_eq!(place.json(&format!("key disable {id}"))["active"], false);
    assert_eq!(place.json(&format!("key enable {id}"))["active"], true);
    assert_eq!(shape(&place.json(&format!("key revoke {id}")))["revoked_at"], "TIME");
    assert_eq!(shape(&show())["revoked_at"], "TIME");
    assert!(place.done(&format!("key show {id}")).contains("revoked 20"));
    for line in ["revoke", "enable", "disable", "rotate", "limit --clear", "quotas --total 1"] {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        place.refused(&format!("key {verb} {id} {rest}"), 1, "`nightly` was revoked");
    }
    place.refused(&format!("key rename {id} again"), 1, "`nightly` was revoked");
    // Its name is free, and only --revoked lists it.
    assert_eq!(place.json("key list"), json!([]));
    assert_eq!(place.json("key list --revoked")[0]["id"], id);
    place.done("key create --org acme --name nightly");
    place.refused("key create --org acme --name nightly", 1, "named `nightly` already");
    place.done("key create --org acme --name other");
    place.refused("key rename other nightly --org acme", 1, "named `nightly` already");
}

#[test]
fn a_key_never_used_is_deleted_without_a_trace_in_lists() {
    let place = Place::with_acme();
    let id = text(&place.json("key create --org acme --name ci")["id"]).to_owned();
    assert_eq!(place.json(&format!("key delete {id}")), json!({"deleted": id}));
    place.refused(&format!("key show {id}"), 1, "no key");
    place.refused(&format!("key delete {id}"), 1, "no key");
    assert_eq!(place.json("key list --revoked"), json!([]));
}

#[test]
fn a_rotated_key_keeps_everything_but_its_secret() {
    let place = Place::with_acme();
    let made = place.json("key create --org acme --name ci --daily 5");
    for line in ["key rotate ci --org acme --grace 24h", "key rotate ci --org acme"] {
        let mut rotated = place.json(line);
        assert_ne!(rotated["key"], made["key"]);
        assert!(text(&rotated["key"]).ends_with(text(&rotated["hint"])));
        for field in ["key", "hint"] {
            rotated[field] = made[field].clone();
        }
        assert_eq!(rotated, made);
    }
    place.refused("key rotate ci --org acme --grace 31d", 2, "grace: ");
    place.refused("key rotate ci --org acme --grace soon", 2, "24h");
}

#[test]
fn limits_and_quotas_of_a_key_are_set_and_cleared() {
    let place = Place::with_acme();
    place.done("key create --org acme --name ci --daily 5 --weekly 6");
    let limit = |line: &str| place.json(&format!("key limit ci --org acme {line}"))["limits"].clone();
    let expected = json!({"requests": 0, "microcents": null, "period": "daily", "enabled": true});
    assert_eq!(limit("--requests 0 --period daily"), expected);
    let expected = json!({"requests": 5, "microcents": 9, "period": "monthly", "enabled": false});
    assert_eq!(limit("--requests 5 --microcents 9 --period monthly --disabled"), expected);
    assert_eq!(place.json("key show ci --org acme")["limits"], expected);
    assert_eq!(limit("--clear"), Value::Null);
    let quotas = place.json("key quotas ci --org acme --daily none --total 3")["quotas"].clone();
    assert_eq!(quotas, json!({"total": 3, "daily": null, "weekly": 6, "monthly": null}));
    for (line, says) in [
        ("key limit ci --org acme", "--clear"),
        ("key limit ci --org acme --requests 5", "--period"),
        ("key limit ci --org acme --period daily", "limits: give requests"),
        ("key limit ci --org acme --requests 5 --period yearly", "daily"),
        ("key limit ci --org acme --requests -5 --period daily", "whole number"),
        ("key limit ci --org acme --clear --requests 5 --period daily", "--clear"),
        ("key quotas ci --org acme", "--total"),
        ("key quotas ci --org acme --total many", "none"),
        ("org limit acme --period daily --disabled", "limits: give requests"),
    ] {
        place.refused(line, 2, says);
    }
    place.refused("org limit none --clear", 1, "no organization `none`");
}

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
        ("key import keys.jsonl", 2, "import"),
        ("logs", 2, "logs"),
        ("verify", 2, "verify"),
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
    place.refused("check --config missing.toml", 2, "missing.toml");
    // The file may be named by the environment; the record is where the file says.
    let answer =
        answer_of(place.command(&["org", "create", "acme", "--plan", "free"]).env("TOLLGATE_CONFIG", &good));
    assert_eq!((answer.code, answer.err.as_str()), (0, ""));
    assert!(place.dir.path().join("elsewhere/t.db").is_file());
    let answer = answer_of(place.command(&["check"]).env("TOLLGATE_CONFIG", ""));
    assert_eq!((answer.code, answer.out.as_str()), (0, "built-in gateway.toml: ok\n"));
}

fn answer_of(command: &mut Command) -> Answer {
    answer(command.output().unwrap())
}

#[test]
fn without_a_session_secret_no_token_is_made() {
    let place = Place::new();
    let answer =
        answer_of(place.command(&["session", "create", "a@x.org"]).env_remove("TOLLGATE_SESSION_SECRET"));
    assert_eq!((answer.code, answer.out.as_str()), (2, ""));
    assert!(answer.err.contains("TOLLGATE_SESSION_SECRET"), "{}", answer.err);
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
    for line in
        ["user list", "key list", "key create --org acme --name ci", "key show ci --org acme", "check"]
    {
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

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
