//! The command line, by running the real binary: what it prints, what it leaves in the record, how it refuses.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod accounts;
mod keys;
mod whole;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

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

fn answer_of(command: &mut Command) -> Answer {
    answer(command.output().unwrap())
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
