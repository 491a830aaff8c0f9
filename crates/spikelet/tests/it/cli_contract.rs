//! The contract of `docs/cli-contract.md`, on the real binary.

use crate::support::spikelet;

#[test]
fn help_and_version_are_results() {
    for arguments in [["--help"], ["--version"]] {
        let run = spikelet(arguments);
        assert_eq!(run.code, 0);
        assert!(run.stdout.contains("spikelet"), "{}", run.stdout);
        assert_eq!(run.stderr, "");
    }
}

#[test]
fn a_wrong_command_line_is_exit_code_2_and_leaves_stdout_empty() {
    for arguments in [&["no-such-command"][..], &["doctor", "--no-such-option"], &[]] {
        let run = spikelet(arguments);
        assert_eq!(run.code, 2, "{arguments:?}");
        assert_eq!(run.stdout, "", "{arguments:?}");
        assert!(!run.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn errors_are_json_with_json() {
    let run = spikelet(["doctor", "--json", "--no-such-option"]);
    assert_eq!(run.code, 2);
    assert_eq!(run.stdout, "");
    let error: serde_json::Value = serde_json::from_str(&run.stderr).expect("JSON on stderr");
    assert_eq!(error["error"]["kind"], "usage");
    assert_eq!(error["error"]["exit_code"], 2);
    let message = error["error"]["message"].as_str().expect("message");
    assert!(message.contains("--no-such-option"), "{message}");
}

#[test]
fn doctor_prints_one_json_document_and_nothing_else() {
    let run = spikelet(["doctor", "--json"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let report: serde_json::Value = serde_json::from_str(&run.stdout).expect("one document");
    assert!(report["machine"]["cores"].as_u64() >= Some(1));
    assert_eq!(run.stderr, "");
}

#[test]
fn no_colour_when_not_a_terminal() {
    let run = spikelet(["doctor"]);
    assert!(!run.stdout.contains('\x1b'));
    let run = spikelet(["doctor", "--no-such-option"]);
    assert!(!run.stderr.contains('\x1b'));
}

#[test]
fn completions_name_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = spikelet(["completions", shell]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stdout.contains("doctor"), "{shell}");
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_error() {
    for args in [&["completions", "bash"][..], &["bench", "sltt", "--case", "vgg11/sltt/1"]] {
        let mut child = crate::support::command(args)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("spikelet starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("spikelet ends");
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}
