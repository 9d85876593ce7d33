//! What is run on each kernel, and what its output means.

use serde_json::Value;

use super::machine::{End, Run};
use super::outcome::{Mark, Outcome};

/// One column of the table.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) work: Work,
    /// Whether `--short` runs it.
    pub(super) in_short: bool,
}

/// What a check runs.
#[derive(Debug)]
pub(super) enum Work {
    /// `deadpeer demo --json`
    Demo,
    /// `deadpeer lab --json`
    Lab,
    /// The tests of a suite whose names contain one of `filter`; all where that is empty.
    Tests { suite: &'static Suite, filter: &'static [&'static str] },
}

/// Test programs that one cargo command builds.
#[derive(Debug)]
pub(super) struct Suite {
    /// The arguments of `cargo test`.
    pub(super) cargo: &'static [&'static str],
}

static LAB: Suite = Suite { cargo: &["--package", "deadpeer-lab", "--tests"] };
static COMMAND: Suite = Suite { cargo: &["--package", "deadpeer-cli", "--test", "real"] };
static OS: Suite = Suite { cargo: &["--package", "deadpeer-os", "--lib"] };
static LIBRARY: Suite = Suite { cargo: &["--package", "deadpeer", "--lib", "--test", "guard"] };

/// All checks. Tests are chosen by the module that they stand in: new ones are run without a change here.
pub(super) static CHECKS: [Check; 8] = [
    Check { name: "demo", work: Work::Demo, in_short: true },
    Check { name: "lab", work: Work::Lab, in_short: true },
    Check { name: "safety", work: Work::Tests { suite: &COMMAND, filter: &["safety::"] }, in_short: true },
    Check { name: "lab-tests", work: Work::Tests { suite: &LAB, filter: &[] }, in_short: false },
    Check {
        name: "verdicts",
        work: Work::Tests { suite: &COMMAND, filter: &["verdicts::"] },
        in_short: false,
    },
    Check {
        name: "predictions",
        work: Work::Tests { suite: &COMMAND, filter: &["lab::", "prediction::", "prove::"] },
        in_short: false,
    },
    Check { name: "os", work: Work::Tests { suite: &OS, filter: &[] }, in_short: false },
    Check { name: "library", work: Work::Tests { suite: &LIBRARY, filter: &[] }, in_short: false },
];

/// What a guest's output says of each of the checks.
pub(super) fn judge(checks: &[&Check], run: &Run) -> Vec<Outcome> {
    checks.iter().map(|check| judge_one(check, run)).collect()
}

fn judge_one(check: &Check, run: &Run) -> Outcome {
    let begin = format!("\u{1e}begin {}", check.name);
    let end = format!("\u{1e}end {} ", check.name);
    let mut lines = run.lines.iter().skip_while(|line| **line != begin);
    let has_begun = lines.next().is_some();
    let mut status = None;
    let mut output = Vec::new();
    for line in lines {
        if let Some(numbers) = line.strip_prefix(&end) {
            status = numbers.split(' ').next().and_then(|status| status.parse::<i32>().ok());
            break;
        }
        output.push(line.clone());
    }
    let because = match &run.end {
        End::Done => "its end is missing in the guest's output".to_owned(),
        End::OutOfTime(limit) => format!("the kernel was ended after {} s, see --limit", limit.as_secs()),
        End::Died(last) => format!("the kernel died:\n{last}"),
    };
    if !has_begun {
        // The check that the kernel ended in tells why; if there was none, each does.
        let began_any = run.lines.iter().any(|line| line.starts_with("\u{1e}begin "));
        let mark = if began_any { Mark::Skipped } else { Mark::Fail };
        return Outcome { mark, numbers: String::new(), failures: vec![because], output };
    }
    let Some(status) = status else {
        return Outcome { mark: Mark::Fail, numbers: "no end".into(), failures: vec![because], output };
    };
    let (numbers, mut failures) = match check.work {
        Work::Demo => judge_demo(&output),
        Work::Lab => judge_lab(&output),
        Work::Tests { .. } => judge_tests(&output),
    };
    if status != 0 && failures.is_empty() {
        let killed = if status == 137 { " (killed, perhaps for taking too long)" } else { "" };
        failures.push(format!("exit status {status}{killed}"));
    }
    let mark = if failures.is_empty() { Mark::Pass } else { Mark::Fail };
    Outcome { mark, numbers, failures, output }
}

fn objects(output: &[String]) -> Vec<Value> {
    output.iter().filter_map(|line| serde_json::from_str(line).ok()).filter(Value::is_object).collect()
}

/// One connection has each of these fates at least.
fn judge_demo(output: &[String]) -> (String, Vec<String>) {
    let rows = objects(output);
    let missing = ["alive", "dead", "leaked", "stalled"]
        .into_iter()
        .filter(|verdict| !rows.iter().any(|row| row["verdict"] == *verdict))
        .map(|verdict| format!("no connection is {verdict}"))
        .collect();
    (format!("{}", rows.len()), missing)
}

/// Every cell is as predicted. Left out and not applicable are so by the lab's own judgement.
fn judge_lab(output: &[String]) -> (String, Vec<String>) {
    let cells: Vec<_> = objects(output).into_iter().filter(|cell| cell["method"].is_string()).collect();
    let count = |mark: &str| cells.iter().filter(|cell| cell["mark"] == mark).count();
    let (left_out, not_applicable) = (count("left-out"), count("not-applicable"));
    let wrong: Vec<_> = cells.iter().filter(|cell| cell["as_expected"] != true).collect();
    // What would take longer than the run: nothing was seen of it.
    let longer = count("not-in-run");
    let measured = cells.len() - left_out - not_applicable - longer;
    let mut failures: Vec<String> = wrong.iter().map(|cell| describe(cell)).collect();
    if measured == 0 {
        failures.push("no cell was measured".into());
    }
    let mut numbers = format!("{}/{measured}", measured.saturating_sub(wrong.len()));
    if left_out > 0 {
        numbers += &format!(", {left_out} left out");
    }
    if longer > 0 {
        numbers += &format!(", {longer} not in this run");
    }
    (numbers, failures)
}

fn describe(cell: &Value) -> String {
    let text = |key: &str| cell[key].as_str().unwrap_or("?").to_owned();
    format!(
        "{} by {}: {} after {} ms, expected {}",
        text("fault"),
        text("method"),
        text("mark"),
        cell["median_ms"],
        cell["expected"]
    )
}

/// The last "test result: ok. 8 passed; 0 failed; …" of each program. A test that failed may have run a program
/// that printed such a line, too, but before.
fn judge_tests(output: &[String]) -> (String, Vec<String>) {
    let (mut passed, mut failed) = (0, 0);
    let mut failures = Vec::new();
    for lines in output.split(|line| line.starts_with("\u{1e}program ")).skip(1) {
        match lines.iter().rev().find_map(|line| counts(line)) {
            Some(counted) => {
                passed += counted.0;
                failed += counted.1;
            }
            None => failures.push("a test program has ended without a result".into()),
        }
        // The last list of names stands between the details and the result.
        let list = lines.iter().rposition(|line| line == "failures:").map_or(lines.len(), |at| at + 1);
        let names = lines.iter().skip(list).map_while(|line| line.strip_prefix("    "));
        failures.extend(names.map(str::to_owned));
    }
    if passed + failed == 0 {
        failures.push("no test has run".into());
    }
    (format!("{passed}/{}", passed + failed), failures)
}

/// How many tests passed and failed.
fn counts(line: &str) -> Option<(u32, u32)> {
    let mut parts = line.strip_prefix("test result: ")?.split_once(". ")?.1.split("; ");
    let mut number = |what: &str| parts.next()?.strip_suffix(what)?.trim().parse().ok();
    Some((number("passed")?, number("failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn check(name: &str) -> &'static Check {
        CHECKS.iter().find(|check| check.name == name).unwrap()
    }

    fn run(text: &str, end: End) -> Run {
        Run { lines: text.replace('^', "\u{1e}").lines().map(str::to_owned).collect(), end }
    }

    fn told(name: &str, text: &str) -> (String, Vec<String>) {
        let run = run(&format!("^begin {name}\n{text}"), End::Done);
        let outcome = judge_one(check(name), &run);
        (outcome.to_string(), outcome.failures)
    }

    #[test]
    fn tests_are_counted_over_all_programs_and_failures_have_their_names() {
        let text = "^program one\nrunning 2 tests\ntest a ... ok\ntest b ... ok\n\n\
            test result: ok. 2 passed; 0 failed; 0 ignored\n\
            ^program two\nrunning 2 tests\ntest c ... FAILED\ntest d ... ok\n\nfailures:\n\n---- c stdout ----\n\
            failures:\n    c\ntest result: FAILED. 0 passed; 1 failed; 0 ignored\n\nfailures:\n    c\n\n\
            test result: FAILED. 1 passed; 1 failed; 0 ignored\n^end lab-tests 1 1.0 2.0";
        assert_eq!(told("lab-tests", text), ("FAIL 3/4".into(), vec!["c".into()]));
    }

    #[test]
    fn tests_that_were_filtered_away_or_aborted_do_not_pass() {
        let none = "^program one\ntest result: ok. 0 passed; 0 failed; 0 ignored\n^end safety 0 1.0 2.0";
        assert_eq!(told("safety", none), ("FAIL 0/0".into(), vec!["no test has run".into()]));
        let aborted = "^program one\ntest result: ok. 3 passed; 0 failed; 0 ignored\n\
            ^program two\nrunning 5 tests\n^end safety 1 1.0 2.0";
        assert_eq!(told("safety", aborted).0, "FAIL 3/3");
    }

    #[test]
    fn a_cell_outside_its_prediction_fails_the_lab_and_is_named() {
        let cell = |fault: &str, mark: &str, as_expected: bool| {
            serde_json::json!({ "fault": fault, "method": "poll", "mark": mark, "as_expected": as_expected,
                "median_ms": 7, "expected": { "kind": "never" } })
            .to_string()
        };
        let text = format!(
            "{}\n{}\n{}\n{}\n^end lab 1 1.0 2.0",
            cell("closed", "noticed", true),
            cell("new", "left-out", true),
            cell("other", "not-applicable", true),
            cell("rebooted", "noticed", false)
        );
        let (mark, failures) = told("lab", &text);
        assert_eq!(mark, "FAIL 1/2, 1 left out");
        assert!(failures[0].starts_with("rebooted by poll: noticed after 7 ms, expected"), "{failures:?}");
        assert_eq!(told("lab", "^end lab 0 1.0 2.0").1, ["no cell was measured"]);
    }

    #[test]
    fn a_demo_that_misses_a_fate_or_fails_is_no_success() {
        let row = |verdict: &str| format!("{{\"verdict\":\"{verdict}\"}}\n");
        let all: String = ["alive", "dead", "leaked", "stalled"].map(row).concat();
        assert_eq!(told("demo", &format!("{all}^end demo 0 1.0 2.0")).0, "pass 4");
        assert_eq!(told("demo", &format!("{all}^end demo 137 1.0 2.0")).0, "FAIL 4");
        let some = format!("{}^end demo 0 1.0 2.0", row("alive"));
        assert_eq!(told("demo", &some).1.len(), 3);
    }

    #[test]
    fn what_a_guest_that_died_had_not_begun_is_skipped_and_what_it_ran_has_failed() {
        let run = run("^begin demo\nhalf a line", End::Died("Kernel panic".into()));
        let outcomes = judge(&[check("demo"), check("lab")], &run);
        assert_eq!(outcomes[0].to_string(), "FAIL no end");
        assert!(outcomes[0].evidence(false).contains("Kernel panic"));
        assert_eq!(outcomes[1].to_string(), "skipped");
    }

    #[test]
    fn a_guest_that_never_came_up_fails_every_check() {
        let run = run("", End::OutOfTime(Duration::from_secs(9)));
        let outcomes = judge(&[check("demo"), check("lab")], &run);
        assert!(outcomes.iter().all(Outcome::is_failure));
        assert!(outcomes[0].evidence(false).contains("after 9 s"));
    }
}
